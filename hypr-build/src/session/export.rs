//! From a solved graph to an image in the store: one squashfs file, a configuration, a manifest, names.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use hypr_squash::Options;

use super::blocking;
use crate::{
    digest::Digest,
    error::Error,
    image::{self, History, ImageConfig, ImageLayer, LayerOrigin, Manifest, MergedImage, Platform, Reference, RootFs},
    plan::{ImageRequest, Origin},
    progress::{Event, ProgressSink},
    snapshot::Snapshot,
    solve::Solved,
    store::{Store, Timestamp},
};

/// What a solved graph leaves to be put together.
pub(crate) struct Export {
    pub(super) store: Store,
    pub(super) solved: Vec<Solved>,
    pub(super) target: Origin,
    pub(super) config: ImageConfig,
    /// For each entry that this build added to the history: the step that made its layer.
    pub(super) history: Vec<Option<usize>>,
    /// Where the layers of base images came from, by the digest of their files.
    pub(super) origins: BTreeMap<Digest, LayerOrigin>,
    pub(super) bases: BTreeMap<ImageRequest, Snapshot>,
    pub(super) epoch: Option<i64>,
    pub(super) tags: Vec<Reference>,
    pub(super) platform: Platform,
    pub(super) sink: Arc<dyn ProgressSink>,
}

/// A finished image: in the store, durable, under all its names.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltImage {
    manifest: Manifest,
    names: Vec<String>,
}

impl BuiltImage {
    pub(super) fn new(manifest: Manifest, names: &[Reference]) -> Self {
        Self { manifest, names: names.iter().map(Reference::familiar).collect() }
    }

    /// The image's id: `sha256:` and the digest of its configuration.
    pub fn id(&self) -> String {
        self.manifest.id.to_string()
    }

    /// BLAKE3 of the squashfs file.
    pub fn digest(&self) -> Digest {
        self.manifest.squashfs.digest
    }

    /// The squashfs file.
    pub fn path(&self) -> &Path {
        &self.manifest.squashfs.path
    }

    /// Everything else there is to know about it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The names it was given.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

pub(super) async fn export(export: Export) -> Result<BuiltImage, Error> {
    let snapshot = match &export.target {
        Origin::Scratch => Snapshot::empty(),
        Origin::Image(image) => export.bases.get(image).cloned().unwrap_or_default(),
        Origin::Step(step) => export.solved[*step].snapshot.clone(),
    };
    let clamp_mtime = export.epoch.map(|seconds| u32::try_from(seconds.max(0)).unwrap_or(u32::MAX));
    let options = Options { clamp_mtime, ..Options::default() };
    let name = export.tags.first().map_or_else(|| "the image".to_owned(), Reference::familiar);
    let mut earlier = Vec::new();
    for tag in &export.tags {
        earlier.extend(export.store.resolve(tag)?.map(|manifest| manifest.squashfs.digest));
    }
    let merged = image::merge_image(&export.store, &name, &snapshot, &options, &earlier).await?;
    blocking(move || export.name(&snapshot, merged)).await
}

impl Export {
    /// Writes configuration and manifest of the merged image and lets its names point at them.
    fn name(mut self, snapshot: &Snapshot, merged: MergedImage) -> Result<BuiltImage, Error> {
        let squashfs = merged.squashfs.clone();
        let created = self.times();
        self.config.created.clone_from(&created);
        self.config.set_platform(&self.platform);
        self.config.rootfs = RootFs::squashfs(squashfs.digest);
        self.store.put_blob(&self.config.to_bytes())?;
        let layers = snapshot.layers().into_iter().map(|layer| {
            let origin = self.origins.get(&layer.id.file).cloned();
            ImageLayer { id: layer.id, origin }
        });
        let mut manifest = Manifest {
            version: Manifest::VERSION,
            name: None,
            id: self.config.id(),
            created,
            platform: self.platform.clone(),
            layers: layers.collect(),
            history: self.config.history.clone(),
            config: self.config.clone(),
            squashfs,
        };
        let mut replaced = Vec::new();
        if self.tags.is_empty() {
            self.store.keep(&manifest)?;
        }
        for tag in &self.tags {
            manifest.name = Some(tag.to_string());
            replaced.extend(self.store.tag(tag, &manifest)?);
        }
        let names: Vec<String> = self.tags.iter().map(Reference::familiar).collect();
        self.sink.event(Event::Exported {
            digest: manifest.squashfs.digest,
            size: manifest.squashfs.size,
            id: manifest.id.to_string(),
            names,
        });
        // The names hold the file from here on; files that no name holds any more can go.
        drop(merged);
        for old in replaced.iter().filter(|old| old.squashfs.digest != manifest.squashfs.digest) {
            self.store.retire_image(&old.squashfs.digest)?;
        }
        Ok(BuiltImage::new(manifest, &self.tags))
    }

    /// Dates the configuration's history and returns when the image was created: at the given epoch, else when its
    /// newest layer was first made, so that a build from the cache gives the same image.
    fn times(&mut self) -> Option<String> {
        let newest = self.history.iter().flatten().map(|step| self.solved[*step].created.0).max();
        let created = self.epoch.or(newest);
        let base = self.config.history.len() - self.history.len();
        let (inherited, own) = self.config.history.split_at_mut(base);
        if let Some(epoch) = self.epoch {
            let is_later = |time: &str| time.parse::<Timestamp>().is_ok_and(|time| time.0 > epoch);
            for entry in inherited.iter_mut().filter(|entry| entry.created.as_deref().is_some_and(is_later)) {
                entry.created = Some(Timestamp(epoch).to_string());
            }
        }
        let latest_inherited = inherited.iter().rev().find_map(|entry: &History| entry.created.clone());
        let mut time = created.map(|seconds| Timestamp(seconds).to_string()).or(latest_inherited);
        for (entry, step) in own.iter_mut().zip(&self.history) {
            let made = step.map(|step| self.solved[step].created.0);
            entry.created = match (self.epoch, made) {
                (None, Some(made)) => Some(Timestamp(made).to_string()),
                _ => time.clone(),
            };
            // The configuration names a step without a layer as one.
            if let Some(step) = step {
                entry.empty_layer = self.solved[*step].layer.is_none();
            }
        }
        // An image of configuration alone, on scratch, was made at no particular time.
        time.get_or_insert_with(|| Timestamp(0).to_string());
        time
    }
}
