//! Archives of images: `docker save`, `skopeo copy docker-archive:` and `oci-archive:`, compressed or not.
//!
//! An archive is read once, as a stream, and the contents of its files go one behind the other into a file without a
//! name in the store's work folder. Nothing is unpacked under a name, so no path in an archive can do harm.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;
use hypr_squash::tar::{Archive, EndMarker, EntryKind};
use serde::Deserialize;
use sha2::Digest as _;

use super::{
    BlobReader, Descriptor, Document, ImageSource, LayoutLocation, LayoutSource, MANIFEST_LIMIT,
    document::Parsed,
    files::Files,
    layout::{entry_name, matches_tag},
    resolve::blocking,
};
use crate::{
    image::{
        ImageError, Sha256Digest,
        decompress::{self, Compression, GrowthLimit},
    },
    store::StoreError,
};

/// Files that an archive may have.
const ENTRIES_LIMIT: usize = 1 << 20;

/// Links within an archive that are followed.
const LINKS_LIMIT: usize = 8;

/// An image in an archive.
#[derive(Debug)]
pub enum ArchiveSource {
    /// An OCI layout in a tar; Docker writes one as well since version 25.
    Oci(LayoutSource),
    /// What Docker wrote before that.
    Docker(DockerArchive),
}

/// An image in an archive that has a `manifest.json` at its top.
#[derive(Debug)]
pub struct DockerArchive {
    name: String,
    spool: Arc<Spool>,
    manifest: Vec<u8>,
    blobs: HashMap<Sha256Digest, Section>,
}

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl ArchiveSource {
    /// Reads the archive at `location` into `spool`, which must be an empty file open for reading and writing, and
    /// finds out of what kind it is. Returns the names as well that the archive has for the image.
    ///
    /// # Errors
    /// Fails when the archive cannot be read, is none, or does not hold the image.
    pub async fn open(location: LayoutLocation, spool: File) -> Result<(Self, Vec<String>), ImageError> {
        blocking(move || Self::open_blocking(location, spool)).await?
    }

    fn open_blocking(location: LayoutLocation, spool: File) -> Result<(Self, Vec<String>), ImageError> {
        let path = &location.path;
        let unusable = |reason: String| ImageError::Path { path: path.clone(), reason };
        let input = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => unusable("there is no such file or directory".to_owned()),
            _ => ImageError::Read { path: path.clone(), source },
        })?;
        let spool = Arc::new(Spool::fill(input, spool, path)?);
        if spool.entries.contains_key("index.json") {
            let names = layout_names(&spool, location.tag.as_deref());
            return Ok((Self::Oci(LayoutSource::new("oci-archive", location, spool)), names));
        }
        if !spool.entries.contains_key("manifest.json") {
            let reason = "it is no image archive, as it holds neither index.json nor manifest.json";
            return Err(unusable(reason.to_owned()));
        }
        let (archive, names) = DockerArchive::new(&location, spool)?;
        Ok((Self::Docker(archive), names))
    }

    fn inner(&self) -> &dyn ImageSource {
        match self {
            Self::Oci(layout) => layout,
            Self::Docker(archive) => archive,
        }
    }
}

#[async_trait]
impl ImageSource for ArchiveSource {
    fn name(&self) -> &str {
        self.inner().name()
    }

    fn is_remote(&self) -> bool {
        false
    }

    async fn document(&self, descriptor: Option<&Descriptor>) -> Result<Document, ImageError> {
        self.inner().document(descriptor).await
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, ImageError> {
        self.inner().blob(descriptor).await
    }
}

/// The whole names that `index.json` has for the images that are meant by `tag`.
fn layout_names(spool: &Spool, tag: Option<&str>) -> Vec<String> {
    let Ok(bytes) = spool.read("index.json", MANIFEST_LIMIT) else { return Vec::new() };
    let Ok(Parsed::Index(entries)) = (Document { bytes, media_type: None }).parse("") else { return Vec::new() };
    let names = entries.iter().filter_map(entry_name).filter(|name| tag.is_none_or(|tag| matches_tag(name, tag)));
    // A bare tag names nothing outside of its layout.
    names.filter(|name| name.contains([':', '/'])).map(str::to_owned).collect()
}

impl DockerArchive {
    fn new(location: &LayoutLocation, spool: Arc<Spool>) -> Result<(Self, Vec<String>), ImageError> {
        let name = format!("docker-archive://{location}");
        let malformed =
            |what: &str, reason: String| ImageError::Malformed { image: name.clone(), what: what.to_owned(), reason };
        let bytes = spool.read("manifest.json", MANIFEST_LIMIT).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => {
                ImageError::TooLarge { image: name.clone(), what: "manifest.json".to_owned(), limit: MANIFEST_LIMIT }
            }
            _ => malformed("manifest.json", error.to_string()),
        })?;
        let images: Vec<SavedImage> =
            serde_json::from_slice(&bytes).map_err(|error| malformed("manifest.json", error.to_string()))?;
        let image = select(images, location, &name)?;
        let mut blobs = HashMap::new();
        let mut descriptor = |path: &str, kind: &str| {
            let section =
                *spool.section(path).ok_or_else(|| malformed(path, "the archive does not hold it".to_owned()))?;
            // A file that is called like a digest must have it.
            if let Some(expected) = digest_in_name(path)
                && expected != section.digest
            {
                let (what, found) = (path.to_owned(), section.digest);
                return Err(ImageError::Digest { image: name.clone(), what, expected, found });
            }
            let suffix = match Compression::of(&section.start) {
                _ if kind == CONFIG => "",
                Compression::Gzip => ".gzip",
                Compression::Zstd => ".zstd",
                // What it is shows when it is read.
                Compression::Bzip2 | Compression::Xz | Compression::Plain => "",
            };
            blobs.insert(section.digest, section);
            Ok(Descriptor::new(format!("{kind}{suffix}"), section.digest, section.size))
        };
        let config = descriptor(&image.config, CONFIG)?;
        let layers: Vec<_> = image.layers.unwrap_or_default();
        let layers = layers.iter().map(|path| descriptor(path, LAYER)).collect::<Result<Vec<_>, _>>()?;
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": config,
            "layers": layers,
        });
        let manifest = serde_json::to_vec(&manifest).expect("descriptors always serialise");
        Ok((Self { name, spool, manifest, blobs }, image.repo_tags.unwrap_or_default()))
    }
}

const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

fn select(images: Vec<SavedImage>, location: &LayoutLocation, name: &str) -> Result<SavedImage, ImageError> {
    let not_found = |reason: String| Err(ImageError::NotFound { image: name.to_owned(), tried: vec![reason] });
    if location.digest.is_some() {
        return not_found("a docker archive has no digests to find images by; name one as PATH:TAG".to_owned());
    }
    let known: Vec<_> = images.iter().flat_map(|image| image.repo_tags.iter().flatten()).cloned().collect();
    let known = if known.is_empty() { "images without names".to_owned() } else { known.join(", ") };
    let mut selected: Vec<_> = match &location.tag {
        Some(tag) => {
            let is_meant = |name: &String| matches_tag(name, tag);
            images.into_iter().filter(|image| image.repo_tags.iter().flatten().any(is_meant)).collect()
        }
        None => images,
    };
    match (selected.len(), &location.tag) {
        (1, _) => Ok(selected.remove(0)),
        (0, Some(tag)) => not_found(format!("the archive has no image {tag:?}, it has {known}")),
        (0, None) => not_found("the archive holds no image".to_owned()),
        _ => not_found(format!("the archive holds several images, {known}; name one as PATH:TAG")),
    }
}

/// The digest in `<hex>.json`, `<hex>.tar` and `blobs/sha256/<hex>`.
fn digest_in_name(path: &str) -> Option<Sha256Digest> {
    let file = path.rsplit('/').next()?;
    let stem = file.strip_suffix(".json").or_else(|| path.starts_with("blobs/sha256/").then_some(file))?;
    format!("sha256:{stem}").parse().ok()
}

#[async_trait]
impl ImageSource for DockerArchive {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_remote(&self) -> bool {
        false
    }

    async fn document(&self, _: Option<&Descriptor>) -> Result<Document, ImageError> {
        Ok(Document { bytes: self.manifest.clone(), media_type: None })
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, ImageError> {
        match self.blobs.get(&descriptor.digest) {
            Some(section) => Ok(self.spool.open_section(section)),
            None => Err(ImageError::Malformed {
                image: self.name.clone(),
                what: format!("blob {}", descriptor.digest),
                reason: "the archive does not hold it".to_owned(),
            }),
        }
    }
}

/// The files of an archive, one behind the other in a file without a name.
#[derive(Debug)]
struct Spool {
    file: Arc<File>,
    entries: HashMap<String, SpoolEntry>,
}

#[derive(Debug)]
enum SpoolEntry {
    File(Section),
    Link(String),
}

/// Where a file of the archive is.
#[derive(Debug, Clone, Copy)]
struct Section {
    offset: u64,
    size: u64,
    digest: Sha256Digest,
    /// The first bytes, zeros where there are none.
    start: [u8; 6],
}

impl Spool {
    fn fill(input: File, file: File, path: &Path) -> Result<Self, ImageError> {
        let read = |source| ImageError::Read { path: path.to_owned(), source };
        let unusable = |reason: String| ImageError::Path { path: path.to_owned(), reason };
        let metadata = input.metadata().map_err(read)?;
        let allowed = GrowthLimit::default().allowed(metadata.len());
        let input = decompress::reader(input).map_err(read)?;
        let mut archive = Archive::new(input, EndMarker::Optional);
        let mut entries = HashMap::new();
        let mut end = 0;
        loop {
            let entry = match archive.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    return Err(unusable(format!("it is no image archive: {error}: {}", error.fault)));
                }
            };
            let Ok(name) = String::from_utf8(entry.path) else { continue };
            let found = match entry.kind {
                EntryKind::File { .. } => {
                    let mut section = SectionWriter { file: &file, offset: end, size: 0, start: [0; 6] };
                    let mut hasher = sha2::Sha256::new();
                    let left = allowed.saturating_sub(end);
                    let mut data = archive.data().take(left.saturating_add(1));
                    let mut buffer = vec![0; 128 << 10];
                    loop {
                        match data.read(&mut buffer) {
                            Ok(0) => break,
                            Ok(count) => {
                                hasher.update(&buffer[..count]);
                                section
                                    .write_all(&buffer[..count])
                                    .map_err(|error| StoreError::io("write", "the store's work folder", error))?;
                            }
                            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                            Err(error) => return Err(unusable(format!("it is no image archive: {error}"))),
                        }
                    }
                    let SectionWriter { offset, size, start, .. } = section;
                    if size > left {
                        return Err(unusable(format!("it holds more than the allowed {allowed} bytes")));
                    }
                    end += size;
                    let digest = <[u8; 32]>::from(hasher.finalize()).into();
                    SpoolEntry::File(Section { offset, size, digest, start })
                }
                EntryKind::Symlink { target } => match link_target(&name, &target) {
                    Some(target) => SpoolEntry::Link(target),
                    None => continue,
                },
                EntryKind::HardLink { target } => match String::from_utf8(target) {
                    Ok(target) => SpoolEntry::Link(target),
                    Err(_) => continue,
                },
                _ => continue,
            };
            entries.insert(name, found);
            if entries.len() > ENTRIES_LIMIT {
                return Err(unusable(format!("it holds more than {ENTRIES_LIMIT} files")));
            }
        }
        Ok(Self { file: Arc::new(file), entries })
    }

    fn section(&self, path: &str) -> Option<&Section> {
        let mut path = path.strip_prefix("./").unwrap_or(path);
        for _ in 0..LINKS_LIMIT {
            match self.entries.get(path)? {
                SpoolEntry::File(section) => return Some(section),
                SpoolEntry::Link(target) => path = target,
            }
        }
        None
    }

    fn open_section(&self, section: &Section) -> BlobReader {
        let (offset, end) = (section.offset, section.offset + section.size);
        Box::new(SectionReader { file: Arc::clone(&self.file), offset, end })
    }
}

impl Files for Spool {
    fn open(&self, path: &str) -> io::Result<BlobReader> {
        let section = self.section(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.open_section(section))
    }
}

/// Where a symbolic link leads, within the archive. Old archives have layers that others share as links.
fn link_target(link: &str, target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok()?;
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<_> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

struct SectionWriter<'a> {
    file: &'a File,
    offset: u64,
    size: u64,
    start: [u8; 6],
}

impl Write for SectionWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write_at(bytes, self.offset + self.size)?;
        let at = usize::try_from(self.size).unwrap_or(usize::MAX);
        if at < self.start.len() {
            let head = count.min(self.start.len() - at);
            self.start[at..at + head].copy_from_slice(&bytes[..head]);
        }
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct SectionReader {
    file: Arc<File>,
    offset: u64,
    end: u64,
}

impl Read for SectionReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..length], self.offset)?;
        if count == 0 && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_the_archive() {
        for (link, target, expected) in [
            ("a/layer.tar", "../b/layer.tar", Some("b/layer.tar")),
            ("layer.tar", "b/./layer.tar", Some("b/layer.tar")),
            ("a/layer.tar", "../../etc/passwd", None),
            ("a/layer.tar", "/etc/passwd", None),
        ] {
            assert_eq!(link_target(link, target.as_bytes()).as_deref(), expected, "{link} -> {target}");
        }
    }

    #[test]
    fn digests_are_found_in_names() {
        let hex = Sha256Digest::of(b"x").hex();
        for path in [format!("{hex}.json"), format!("blobs/sha256/{hex}")] {
            assert_eq!(digest_in_name(&path), Some(Sha256Digest::of(b"x")), "{path}");
        }
        // Old archives call layers by ids that are no digests.
        for path in [format!("{hex}/layer.tar"), format!("{hex}.tar"), "x.json".to_owned()] {
            assert_eq!(digest_in_name(&path), None, "{path}");
        }
    }
}
