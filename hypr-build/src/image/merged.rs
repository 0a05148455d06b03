//! From a stack of layers to the one squashfs file of an image.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use hypr_squash::MergeOptions;

use super::{ImageError, SquashfsFile, source::blocking};
use crate::{
    digest::Digest,
    snapshot::{Layer, Snapshot},
    store::{ImageFile, Key, StepRecord, Store, StoreError, Timestamp, is_full},
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
/// the same way. `image` names it in errors.
///
/// # Errors
/// Fails when a layer is gone or damaged, or the disk is full.
pub async fn merge_image(
    store: &Store,
    image: &str,
    snapshot: &Snapshot,
    encoder: &hypr_squash::Options,
) -> Result<MergedImage, ImageError> {
    let key = key(snapshot, encoder);
    let _lock = store.lock_step(&key).await?;
    let (store, image, snapshot, encoder) = (store.clone(), image.to_owned(), snapshot.clone(), encoder.clone());
    blocking(move || match known(&store, &key)? {
        Some(merged) => Ok(merged),
        None => merge(&store, key, &image, snapshot.layers(), encoder),
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
    layers: &[Layer],
    options: hypr_squash::Options,
) -> Result<MergedImage, ImageError> {
    let failed = |source| match is_full(&source) {
        true => ImageError::Full { image: image.to_owned(), source: Box::new(source) },
        false => ImageError::Merge { image: image.to_owned(), source: Box::new(source) },
    };
    let started = Instant::now();
    let readers = layers.iter().map(|layer| store.open_layer(layer).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    let pending = store.new_image()?;
    let out = pending.file().try_clone().map_err(|error| StoreError::io("write", pending.path(), error))?;
    let summary =
        hypr_squash::merge(&readers, out, &MergeOptions { options, keep_whiteouts: false }).map_err(failed)?;
    let file = pending.publish(summary.file_digest.into())?;
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
