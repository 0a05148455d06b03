//! From an image's name to its configuration and layers: indexes, platforms, digests, diff ids.

use std::io::Read;

use super::{
    CONFIG_LIMIT, Descriptor, Document, ImageSource, MANIFEST_LIMIT,
    document::{Parsed, check_layer},
};
use crate::{
    image::{ImageConfig, ImageError, Platform, Sha256Digest},
    store::Store,
};

/// Indexes within indexes that are followed.
const DEPTH: usize = 4;

/// An image whose configuration is known and whose layers can be fetched.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// Digest of the image's manifest, below all indexes.
    pub manifest: Sha256Digest,
    /// Digest of the configuration: the image's id.
    pub id: Sha256Digest,
    /// The configuration.
    pub config: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<ResolvedLayer>,
    /// What is odd about the image but no reason to refuse it.
    pub warnings: Vec<String>,
}

/// A layer that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedLayer {
    /// The blob.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed tar, as the configuration has it.
    pub diff_id: Sha256Digest,
}

/// Finds the image for `platform`, and keeps its manifest and configuration in `store`.
pub(crate) async fn resolve(
    source: &dyn ImageSource,
    platform: &Platform,
    store: &Store,
) -> Result<ResolvedImage, ImageError> {
    let image = source.name();
    let mut selected: Option<Descriptor> = None;
    for _ in 0..=DEPTH {
        let document = match &selected {
            None => source.document(None).await?,
            Some(descriptor) => document(source, descriptor, store).await?,
        };
        match document.parse(image)? {
            Parsed::Index(entries) => selected = Some(select(entries, platform, image)?),
            Parsed::Manifest { config, layers } => {
                let bytes = config_blob(source, &config, store).await?;
                let manifest = store_blob(store, document.bytes).await?;
                let mut resolved = assemble(image, manifest, &bytes, &config, layers)?;
                resolved.warnings.extend(mismatch(&resolved.config, platform, image));
                return Ok(resolved);
            }
        }
    }
    Err(ImageError::Malformed {
        image: image.to_owned(),
        what: "the index".to_owned(),
        reason: format!("more than {DEPTH} indexes lie within each other"),
    })
}

/// A document that an index points at: from the store if that spares a request, for it cannot have changed.
async fn document(source: &dyn ImageSource, descriptor: &Descriptor, store: &Store) -> Result<Document, ImageError> {
    if source.is_remote()
        && let Some(bytes) = stored(store, descriptor, MANIFEST_LIMIT).await
    {
        return Ok(Document { bytes, media_type: Some(descriptor.media_type.clone()) });
    }
    let document = source.document(Some(descriptor)).await?;
    verify(source.name(), "the manifest", descriptor, &document.bytes)?;
    Ok(document)
}

async fn config_blob(source: &dyn ImageSource, descriptor: &Descriptor, store: &Store) -> Result<Vec<u8>, ImageError> {
    let image = source.name();
    if descriptor.size > CONFIG_LIMIT {
        return Err(ImageError::TooLarge {
            image: image.to_owned(),
            what: "the configuration".to_owned(),
            limit: CONFIG_LIMIT,
        });
    }
    if source.is_remote()
        && let Some(bytes) = stored(store, descriptor, CONFIG_LIMIT).await
    {
        return Ok(bytes);
    }
    let reader = source.blob(descriptor).await?;
    let limit = descriptor.size + 1;
    let mut bytes = Vec::new();
    let (bytes, result) = blocking(move || {
        let result = reader.take(limit).read_to_end(&mut bytes);
        (bytes, result)
    })
    .await?;
    result.map_err(|error| unreadable(error, image, "the configuration"))?;
    verify(image, "the configuration", descriptor, &bytes)?;
    store_blob(store, bytes.clone()).await?;
    Ok(bytes)
}

/// The [`ImageError`] inside of a failed read, or one around it.
pub(crate) fn unreadable(error: std::io::Error, image: &str, what: &str) -> ImageError {
    match error.downcast::<ImageError>() {
        Ok(inner) => inner,
        Err(error) => {
            ImageError::CutOff { image: image.to_owned(), what: what.to_owned(), received: 0, source: Box::new(error) }
        }
    }
}

fn verify(image: &str, what: &str, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), ImageError> {
    let (expected, found) = (descriptor.size, bytes.len() as u64);
    if expected != found {
        return Err(ImageError::Size { image: image.to_owned(), what: what.to_owned(), expected, found });
    }
    let (expected, found) = (descriptor.digest, Sha256Digest::of(bytes));
    if expected != found {
        return Err(ImageError::Digest { image: image.to_owned(), what: what.to_owned(), expected, found });
    }
    Ok(())
}

/// Picks the entry that suits `platform` best.
fn select(entries: Vec<Descriptor>, platform: &Platform, image: &str) -> Result<Descriptor, ImageError> {
    let mut available = Vec::new();
    let mut best: Option<(u32, Descriptor)> = None;
    let mut nameless = Vec::new();
    for entry in entries {
        if entry.is_attestation() {
            continue;
        }
        let Some(offered) = entry.known_platform() else {
            nameless.push(entry);
            continue;
        };
        available.push(offered.to_string());
        if let Some(fit) = platform.fit(&offered)
            && best.as_ref().is_none_or(|(least, _)| fit < *least)
        {
            best = Some((fit, entry));
        }
    }
    match (best, nameless.len()) {
        (Some((_, entry)), _) => Ok(entry),
        // Layouts often leave the platform out; if there is one image, that is it.
        (None, 1) if available.is_empty() => Ok(nameless.remove(0)),
        (None, 0) if available.is_empty() => Err(malformed_index(image, "it lists no image")),
        (None, _) if available.is_empty() => {
            Err(malformed_index(image, "it lists several images without saying what they run on"))
        }
        (None, _) => {
            available.dedup();
            Err(ImageError::Platform { image: image.to_owned(), platform: platform.clone(), available })
        }
    }
}

fn malformed_index(image: &str, reason: &str) -> ImageError {
    ImageError::Malformed { image: image.to_owned(), what: "the index".to_owned(), reason: reason.to_owned() }
}

fn assemble(
    image: &str,
    manifest: Sha256Digest,
    bytes: &[u8],
    descriptor: &Descriptor,
    layers: Vec<Descriptor>,
) -> Result<ResolvedImage, ImageError> {
    let malformed = |reason: String| ImageError::Malformed {
        image: image.to_owned(),
        what: "the configuration".to_owned(),
        reason,
    };
    let config = ImageConfig::from_slice(bytes).map_err(|error| {
        malformed(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
    })?;
    if !matches!(config.os.as_str(), "" | "linux") {
        let reason = format!("it is for {}, hypr builds on linux", config.platform());
        return Err(ImageError::Unsupported { image: image.to_owned(), reason });
    }
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != layers.len() {
        let (layers, ids) = (layers.len(), diff_ids.len());
        return Err(malformed(format!("it has {ids} diff ids, but the manifest has {layers} layers")));
    }
    let layers = layers
        .into_iter()
        .zip(diff_ids)
        .map(|(descriptor, diff_id)| {
            check_layer(&descriptor, image)?;
            let diff_id = diff_id.parse().map_err(|error| malformed(format!("{error}")))?;
            Ok(ResolvedLayer { descriptor, diff_id })
        })
        .collect::<Result<_, ImageError>>()?;
    Ok(ResolvedImage { manifest, id: descriptor.digest, config, layers, warnings: Vec::new() })
}

/// An image that is alone under its name is taken whatever it runs on, as Docker does, but not silently.
fn mismatch(config: &ImageConfig, platform: &Platform, image: &str) -> Option<String> {
    let offered = config.platform();
    let is_known = !offered.os().is_empty() && !offered.architecture().is_empty();
    (is_known && platform.fit(&offered).is_none())
        .then(|| format!("image {image} is for {offered}, not for {platform}"))
}

async fn stored(store: &Store, descriptor: &Descriptor, limit: u64) -> Option<Vec<u8>> {
    if descriptor.size > limit {
        return None;
    }
    let path = store.blob(&descriptor.digest)?;
    let bytes = blocking(move || std::fs::read(path)).await.ok()?.ok()?;
    (Sha256Digest::of(&bytes) == descriptor.digest && bytes.len() as u64 == descriptor.size).then_some(bytes)
}

async fn store_blob(store: &Store, bytes: Vec<u8>) -> Result<Sha256Digest, ImageError> {
    let store = store.clone();
    Ok(blocking(move || store.put_blob(&bytes)).await??)
}

/// Runs what may block on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is being shut down.
        Err(_) => Err(ImageError::Cancelled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::source::document::DescriptorPlatform;

    fn entry(platform: Option<(&str, &str, &str)>, content: &str) -> Descriptor {
        let mut entry = Descriptor::new("", Sha256Digest::of(content.as_bytes()), 1);
        entry.platform = platform.map(|(os, architecture, variant)| DescriptorPlatform {
            os: os.into(),
            architecture: architecture.into(),
            variant: Some(variant.into()),
        });
        entry
    }

    #[test]
    fn index_gives_the_best_fit_and_names_what_there_is() {
        let amd64 = "linux/amd64".parse().unwrap();
        let entries = vec![
            entry(Some(("linux", "386", "")), "386"),
            entry(Some(("linux", "amd64", "v3")), "v3"),
            entry(Some(("linux", "amd64", "")), "amd64"),
            entry(Some(("unknown", "unknown", "")), "attestation"),
        ];
        assert_eq!(select(entries.clone(), &amd64, "x").unwrap().digest, Sha256Digest::of(b"amd64"));
        let error = select(entries, &"linux/s390x".parse().unwrap(), "x").unwrap_err().to_string();
        assert_eq!(error, "image x has no variant for linux/s390x, only for linux/386, linux/amd64/v3, linux/amd64");
    }

    #[test]
    fn lone_entry_without_platform_is_taken() {
        let amd64 = "linux/amd64".parse().unwrap();
        assert!(select(vec![entry(None, "a")], &amd64, "x").is_ok());
        assert!(matches!(
            select(vec![entry(None, "a"), entry(None, "b")], &amd64, "x"),
            Err(ImageError::Malformed { .. })
        ));
        assert!(matches!(select(vec![], &amd64, "x"), Err(ImageError::Malformed { .. })));
    }
}
