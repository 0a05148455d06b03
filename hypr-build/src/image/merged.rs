//! From a stack of layers to the one squashfs file of an image.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use hypr_squash::{MergeOptions, Prefix};

use super::{ImageError, SquashfsFile, source::blocking};
use crate::{
    digest::Digest,
    snapshot::{Layer, Snapshot},
    store::{ImageFile, Key, PendingImage, StepRecord, Store, Timestamp, is_full},
};

/// Raised when the same layers would give another file than before.
const VERSION: &str = "1";

/// An image's file that no one can remove while this is held: until a manifest names it.
#[derive(Debug)]
pub struct MergedImage {
    /// What the manifest says about the file.
    pub squashfs: SquashfsFile,
    file: ImageFile,
}

impl MergedImage {
    /// The file, and with it the hold on it.
    pub fn into_file(self) -> ImageFile {
        self.file
    }
}

/// Merges the layers of `snapshot` into an image of the store, or finds the one that was made of the same layers in
/// the same way. `image` names it in errors; `earlier` are images that it may begin like, and need not be there.
///
/// # Errors
/// Fails when a layer is gone or damaged, or the disk is full.
pub async fn merge_image(
    store: &Store,
    image: &str,
    snapshot: &Snapshot,
    encoder: &hypr_squash::Options,
    earlier: &[Digest],
) -> Result<MergedImage, ImageError> {
    let key = key(snapshot, encoder);
    let _lock = store.lock_step(&key).await?;
    let (store, image, snapshot, encoder) = (store.clone(), image.to_owned(), snapshot.clone(), encoder.clone());
    let earlier = earlier.to_vec();
    blocking(move || match known(&store, &key)? {
        Some(merged) => Ok(merged),
        None => merge(&store, key, &image, &snapshot.layers(), encoder, &earlier),
    })
    .await?
}

fn key(snapshot: &Snapshot, encoder: &hypr_squash::Options) -> Key {
    let hypr_squash::Options { codec, block_size, clamp_mtime, volatile_from, .. } = encoder;
    let times = format!("{clamp_mtime:?} {volatile_from:?}");
    let encoder = format!("{codec:?} {}", block_size.bytes());
    let mut key = Key::new("merge").input("version", VERSION).input("encoder", encoder).input("times", times);
    for layer in snapshot.layers() {
        key.push("layer", layer.id.file.to_string());
    }
    key
}

fn known(store: &Store, key: &Key) -> Result<Option<MergedImage>, ImageError> {
    let Some(record) = store.step(key)? else { return Ok(None) };
    let digest = |name: &str| record.data.get(name).and_then(|text| text.parse::<Digest>().ok());
    let (Some(file), Some(content)) = (digest("file"), digest("content")) else { return Ok(None) };
    Ok(store.image_file(&file)?.map(|file| merged(file, content)))
}

fn merge(
    store: &Store,
    key: Key,
    image: &str,
    layers: &[&Layer],
    options: hypr_squash::Options,
    earlier: &[Digest],
) -> Result<MergedImage, ImageError> {
    let failed = |source| match is_full(&source) {
        true => ImageError::Full { image: image.to_owned(), source: Box::new(source) },
        false => ImageError::Merge { image: image.to_owned(), source: Box::new(source) },
    };
    let started = Instant::now();
    let readers = layers.iter().map(|layer| store.open_layer(layer).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<_> = layers.iter().map(|layer| layer.id.file).collect();
    let digests: Vec<_> = names.iter().map(|name| hypr_squash::Digest::from_bytes(*name.as_bytes())).collect();
    let options = MergeOptions { options, keep_whiteouts: false };
    let write = |pending: &PendingImage, prefix: Option<&Prefix>| {
        let out = pending.file().try_clone().map_err(|source| hypr_squash::Error::Io { action: "open", source })?;
        hypr_squash::merge_over(&readers, &digests, out, prefix, &options)
    };
    let over_earlier = store.image_like(&names, earlier)?.and_then(|(pending, prefix)| {
        let written = write(&pending, Some(&prefix));
        let written = written.inspect_err(|error| tracing::info!(%error, "an earlier image cannot be written over"));
        Some((pending, written.ok()?))
    });
    let (pending, (summary, prefix)) = match over_earlier {
        Some(written) => written,
        None => {
            let pending = store.new_image()?;
            let written = write(&pending, None).map_err(failed)?;
            (pending, written)
        }
    };
    let file = pending.publish(summary.file_digest.into(), Some(&prefix))?;
    let content = Digest::from(summary.content_digest);
    let data = [("file", file.digest.to_string()), ("content", content.to_string())];
    store.publish_step(&StepRecord {
        key,
        layer: None,
        created: Timestamp::now(),
        duration: started.elapsed(),
        executor: None,
        data: data.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>(),
    })?;
    Ok(merged(file, content))
}

fn merged(file: ImageFile, content: Digest) -> MergedImage {
    let squashfs = SquashfsFile { path: file.path.clone(), digest: file.digest, content, size: file.size };
    MergedImage { squashfs, file }
}
