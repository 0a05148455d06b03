//! OCI layout directories: `index.json`, `oci-layout` and `blobs/sha256/`.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use cap_std::{ambient_authority, fs::Dir};

use super::{
    BlobReader, Descriptor, Document, ImageSource, MANIFEST_LIMIT, document::Parsed, files::Files, resolve::blocking,
};
use crate::image::{ImageError, Reference, Sha256Digest};

/// The annotation that names an entry of `index.json`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The same, as containerd and Docker write it: with the repository.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// Where an image is on this machine: `PATH[:TAG][@sha256:DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutLocation {
    /// The layout's directory, or an archive.
    pub path: PathBuf,
    /// Which of its images.
    pub tag: Option<String>,
    /// Which of its manifests.
    pub digest: Option<Sha256Digest>,
}

impl LayoutLocation {
    /// Takes `text` apart. A colon with a slash behind it belongs to the path, and so does one in a path that exists.
    ///
    /// # Errors
    /// Fails on a digest that is none, and on an empty path.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let unusable = |reason: String| ImageError::Path { path: text.into(), reason };
        if !text.is_empty() && Path::new(text).exists() {
            return Ok(Self { path: text.into(), tag: None, digest: None });
        }
        let (rest, digest) = match text.rsplit_once('@') {
            Some((rest, digest)) if !digest.contains('/') => {
                (rest, Some(digest.parse().map_err(|error| unusable(format!("{error}")))?))
            }
            _ => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        if path.is_empty() {
            return Err(unusable("the path is empty".to_owned()));
        }
        if tag == Some("") {
            return Err(unusable("the tag is empty".to_owned()));
        }
        Ok(Self { path: path.into(), tag: tag.map(Into::into), digest })
    }
}

impl fmt::Display for LayoutLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))?;
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// An image in an OCI layout.
#[derive(Debug)]
pub struct LayoutSource {
    name: String,
    location: LayoutLocation,
    files: Arc<dyn Files>,
}

impl LayoutSource {
    /// Opens a layout directory. Nothing outside of it is read, whatever links it holds.
    ///
    /// # Errors
    /// Fails when there is no such directory or it is no layout.
    pub fn open(location: LayoutLocation) -> Result<Self, ImageError> {
        let path = &location.path;
        let unusable = |reason: &str| ImageError::Path { path: path.clone(), reason: reason.to_owned() };
        let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => unusable("there is no such directory"),
            io::ErrorKind::NotADirectory => unusable("it is not a directory"),
            _ => ImageError::Read { path: path.clone(), source },
        })?;
        if !dir.exists("index.json") {
            return Err(unusable("it is no OCI layout, as it holds no index.json"));
        }
        Ok(Self::new("oci-layout", location, Arc::new(dir)))
    }

    /// A layout whose files come from elsewhere.
    pub(crate) fn new(scheme: &str, location: LayoutLocation, files: Arc<dyn Files>) -> Self {
        Self { name: format!("{scheme}://{location}"), location, files }
    }

    async fn read(&self, path: String, limit: u64, what: String) -> Result<Vec<u8>, ImageError> {
        let files = Arc::clone(&self.files);
        let result = blocking(move || files.read(&path, limit)).await?;
        result.map_err(|error| self.error(error, what, limit))
    }

    fn error(&self, source: io::Error, what: String, limit: u64) -> ImageError {
        let image = self.name.clone();
        match source.kind() {
            io::ErrorKind::NotFound => {
                ImageError::Malformed { image, what, reason: "the layout does not hold it".to_owned() }
            }
            io::ErrorKind::FileTooLarge => ImageError::TooLarge { image, what, limit },
            io::ErrorKind::InvalidInput => {
                ImageError::Malformed { image, what, reason: "it is not a regular file".to_owned() }
            }
            _ => ImageError::Read { path: self.location.path.clone(), source },
        }
    }

    /// The entries of `index.json` that tag and digest select, as an index of their own.
    async fn root(&self) -> Result<Document, ImageError> {
        let bytes = self.read("index.json".into(), MANIFEST_LIMIT, "index.json".into()).await?;
        let index = Document { bytes, media_type: None };
        let Parsed::Index(entries) = index.parse(&self.name)? else {
            return Err(ImageError::Malformed {
                image: self.name.clone(),
                what: "index.json".to_owned(),
                reason: "it is not an index".to_owned(),
            });
        };
        let entries = match self.location.digest {
            Some(digest) => match entries.into_iter().find(|entry| entry.digest == digest) {
                Some(entry) => vec![Descriptor { platform: None, ..entry }],
                // A manifest below an index of the layout.
                None => return self.by_digest(&digest).await,
            },
            None => self.tagged(entries)?,
        };
        let bytes = serde_json::to_vec(&serde_json::json!({ "schemaVersion": 2, "manifests": entries }));
        Ok(Document { bytes: bytes.expect("descriptors always serialise"), media_type: None })
    }

    async fn by_digest(&self, digest: &Sha256Digest) -> Result<Document, ImageError> {
        let what = format!("manifest {digest}");
        let bytes = self.read(blob_path(digest), MANIFEST_LIMIT, what.clone()).await?;
        let found = Sha256Digest::of(&bytes);
        if found != *digest {
            return Err(ImageError::Digest { image: self.name.clone(), what, expected: *digest, found });
        }
        Ok(Document { bytes, media_type: None })
    }

    fn tagged(&self, entries: Vec<Descriptor>) -> Result<Vec<Descriptor>, ImageError> {
        let names: Vec<_> = entries.iter().map(entry_name).collect();
        let has_tag = |tag: &str| -> Vec<Descriptor> {
            let named = entries.iter().zip(&names);
            named.filter(|(_, name)| name.is_some_and(|name| matches_tag(name, tag))).map(|(e, _)| e.clone()).collect()
        };
        let nameless = names.iter().all(Option::is_none);
        let distinct = names.iter().collect::<std::collections::BTreeSet<_>>().len();
        let selected = match &self.location.tag {
            Some(tag) => has_tag(tag),
            None if nameless || distinct == 1 => entries.clone(),
            None => has_tag("latest"),
        };
        match (selected.is_empty(), &self.location.tag) {
            (false, _) => Ok(selected),
            // Who gave the only image no name cannot mean another one.
            (true, Some(_)) if nameless && entries.len() == 1 => Ok(entries),
            (true, tag) => {
                let mut known: Vec<_> = names.iter().flatten().map(|name| name.escape_debug().to_string()).collect();
                known.dedup();
                known.truncate(20);
                let wanted = tag.as_ref().map_or_else(String::new, |tag| format!(" {tag:?}"));
                let found = if known.is_empty() { "none with a name".to_owned() } else { known.join(", ") };
                Err(ImageError::NotFound {
                    image: self.name.clone(),
                    tried: vec![format!("the layout has no image{wanted}, it has {found}; name one as PATH:TAG")],
                })
            }
        }
    }
}

#[async_trait]
impl ImageSource for LayoutSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_remote(&self) -> bool {
        false
    }

    async fn document(&self, descriptor: Option<&Descriptor>) -> Result<Document, ImageError> {
        match descriptor {
            None => self.root().await,
            Some(descriptor) => {
                let what = format!("manifest {}", descriptor.digest);
                let bytes = self.read(blob_path(&descriptor.digest), MANIFEST_LIMIT, what).await?;
                Ok(Document { bytes, media_type: Some(descriptor.media_type.clone()) })
            }
        }
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, ImageError> {
        let files = Arc::clone(&self.files);
        let path = blob_path(&descriptor.digest);
        let result = blocking(move || files.open(&path)).await?;
        result.map_err(|error| self.error(error, format!("blob {}", descriptor.digest), 0))
    }
}

fn blob_path(digest: &Sha256Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// What an entry of `index.json` is called.
pub(crate) fn entry_name(entry: &Descriptor) -> Option<&str> {
    entry.annotation(IMAGE_NAME).or_else(|| entry.annotation(REF_NAME))
}

/// Whether `name`, a tag or a whole reference, is meant by `tag`.
pub(crate) fn matches_tag(name: &str, tag: &str) -> bool {
    let parse = |text: &str| text.parse::<Reference>().ok();
    name == tag
        || parse(name).is_some_and(|name| name.tag() == Some(tag) || parse(tag).is_some_and(|tag| tag == name))
            && name.contains([':', '/'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn location_is_taken_apart_from_the_right() {
        let sha = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (text, path, tag, digest) in [
            ("/no/where", "/no/where", None, false),
            ("/no/where:1.2", "/no/where", Some("1.2"), false),
            ("no/a:b/c", "no/a:b/c", None, false),
            (&format!("/no/where@{sha}"), "/no/where", None, true),
            (&format!("/no/where:x@{sha}"), "/no/where", Some("x"), true),
            ("/no@x/where", "/no@x/where", None, false),
        ] {
            let location = LayoutLocation::parse(text).unwrap();
            let tag = tag.map(str::to_owned);
            assert_eq!((location.path.to_str(), &location.tag, location.digest.is_some()), (Some(path), &tag, digest));
            assert_eq!(location.to_string(), text);
        }
        for bad in ["", ":x", "/no/where:", "/no/where@sha256:12"] {
            assert!(LayoutLocation::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tags_match_names_with_and_without_repository() {
        for (name, tag, expected) in [
            ("1", "1", true),
            ("docker.io/library/app:1", "1", true),
            ("docker.io/library/app:1", "app:1", true),
            ("docker.io/library/app:1", "2", false),
            ("app", "latest", false),
        ] {
            assert_eq!(matches_tag(name, tag), expected, "{name} {tag}");
        }
    }
}
