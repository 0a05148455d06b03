//! What a store holds, what of it is needed, and how much room each kind of thing takes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::Serialize;

use super::{Store, StoreError, caches, manifests::entries, steps};
use crate::Digest;

/// A kind of thing in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UsageKind {
    /// Squashfs files of images.
    Images,
    /// Layers that images were merged from; a build on such an image needs them.
    ImageLayers,
    /// What steps came to, for the next build.
    BuildCache,
    /// What `RUN --mount=type=cache` keeps.
    CacheMounts,
    /// What came from registries, as it came, and configurations of images.
    Blobs,
    /// What else builds left: layers as directories, files to be written over, logs.
    Helpers,
}

/// How much there is of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct UsageRow {
    /// The kind.
    pub kind: UsageKind,
    /// Things of it.
    pub count: usize,
    /// Bytes of them.
    pub size: u64,
    /// Bytes that pruning would give back, images with a name kept.
    pub reclaimable: u64,
}

/// What pruning removes as a whole.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) what: What,
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// When it was last of use.
    pub(super) used: SystemTime,
    /// The layers that are there because of it.
    pub(super) layers: Vec<Digest>,
}

/// What a [`Unit`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A manifest: an image under one name, or under none.
    Image { name: Option<String>, file: Digest },
    /// A step's record.
    Step,
    /// The record of what a cache mount holds.
    CacheMount,
    /// The digests of a context's files.
    Context,
    /// Something that came from a registry, or a configuration.
    Blob,
    /// A file to be written over.
    Spare(Digest),
    /// The output of a step.
    Log,
    /// A layer as a directory, or a merged one.
    Tree,
}

/// A file, and bytes of it and of what lies beside it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) size: u64,
    pub(super) used: SystemTime,
}

/// Everything in a store.
#[derive(Debug)]
pub(super) struct Inventory {
    pub(super) units: Vec<Unit>,
    /// The files of layers.
    pub(super) layers: HashMap<Digest, Stored>,
    /// The squashfs files of images.
    pub(super) images: HashMap<Digest, Stored>,
    /// Blobs that images need.
    pub(super) needed_blobs: HashSet<PathBuf>,
    /// Whether there are manifests that cannot be read: what they need is not known.
    pub(super) incomplete: bool,
}

impl Store {
    /// How much room everything takes.
    ///
    /// # Errors
    /// Fails when a folder of the store cannot be read.
    pub fn usage(&self) -> Result<Vec<UsageRow>, StoreError> {
        Ok(self.inventory()?.usage())
    }

    pub(super) fn inventory(&self) -> Result<Inventory, StoreError> {
        let layout = self.layout();
        let (manifests, incomplete) = self.all_manifests()?;
        let mut units = Vec::new();
        let mut needed_blobs = HashSet::new();
        for (path, image) in manifests {
            let layers = image.manifest.layers.iter().map(|layer| layer.id.file).collect();
            needed_blobs.insert(layout.blob(&image.manifest.id));
            for origin in image.manifest.layers.iter().filter_map(|layer| layer.origin.as_ref()) {
                needed_blobs.insert(layout.blob(&origin.digest));
            }
            let name = image.name.map(|name| name.familiar());
            let what = What::Image { name, file: image.manifest.squashfs.digest };
            units.extend(unit(what, path, layers));
        }
        for (_, path) in entries(&layout.folder("cache/steps"))? {
            // A record that cannot be read is of no use to anybody.
            let layer = steps::read_record(&path).and_then(|record| record.layer);
            units.extend(unit(What::Step, path, layer.iter().map(|layer| layer.file).collect()));
        }
        for (_, path) in entries(&layout.folder("cache/mounts"))? {
            let layers = caches::read_record(&path).map(|cache| cache.layers).unwrap_or_default();
            units.extend(unit(What::CacheMount, path, layers.iter().map(|layer| layer.file).collect()));
        }
        for (folder, what) in [("cache/context", What::Context), ("blobs/sha256", What::Blob), ("logs", What::Log)] {
            for (_, path) in entries(&layout.folder(folder))? {
                units.extend(unit(what.clone(), path, Vec::new()));
            }
        }
        for folder in ["unpacked", "merged"] {
            for (_, path) in entries(&layout.folder(folder))? {
                units.extend(unit(What::Tree, path, Vec::new()));
            }
        }
        for digest in self.spares()? {
            units.extend(unit(What::Spare(digest), layout.spare(&digest), Vec::new()));
        }
        let layers = files(&layout.folder("layers"))?;
        Ok(Inventory { units, layers, images: files(&layout.folder("images"))?, needed_blobs, incomplete })
    }
}

impl Inventory {
    fn usage(&self) -> Vec<UsageRow> {
        let mut rows: BTreeMap<UsageKind, UsageRow> = BTreeMap::new();
        let mut add = |kind, size, reclaimable| {
            let row = rows.entry(kind).or_insert(UsageRow { kind, count: 0, size: 0, reclaimable: 0 });
            row.count += 1;
            row.size += size;
            row.reclaimable += if reclaimable { size } else { 0 };
        };
        let mut named = HashSet::new();
        let mut holders: HashMap<Digest, UsageKind> = HashMap::new();
        let mut needed = HashSet::new();
        for unit in &self.units {
            let kind = match &unit.what {
                What::Image { name, file } => {
                    if name.is_some() {
                        named.insert(*file);
                        needed.extend(unit.layers.iter().copied());
                    }
                    UsageKind::ImageLayers
                }
                What::CacheMount => UsageKind::CacheMounts,
                What::Step | What::Context => UsageKind::BuildCache,
                What::Blob => UsageKind::Blobs,
                What::Spare(_) | What::Tree | What::Log => UsageKind::Helpers,
            };
            for layer in &unit.layers {
                let holder = holders.entry(*layer).or_insert(kind);
                // An image's claim goes before that of a cache mount, and that before a step's.
                let rank = |kind: UsageKind| {
                    [UsageKind::ImageLayers, UsageKind::CacheMounts].iter().position(|k| *k == kind).unwrap_or(2)
                };
                if rank(kind) < rank(*holder) {
                    *holder = kind;
                }
            }
            if !matches!(unit.what, What::Image { .. }) {
                add(kind, unit.size, !self.needed_blobs.contains(&unit.path));
            }
        }
        for (digest, file) in &self.images {
            add(UsageKind::Images, file.size, !named.contains(digest));
        }
        for (digest, file) in &self.layers {
            let kind = holders.get(digest).copied().unwrap_or(UsageKind::BuildCache);
            add(kind, file.size, !needed.contains(digest));
        }
        rows.into_values().collect()
    }
}

/// The squashfs files in a folder, each with what lies beside it.
fn files(folder: &Path) -> Result<HashMap<Digest, Stored>, StoreError> {
    let mut found: HashMap<Digest, Stored> = HashMap::new();
    for (name, path) in entries(folder)? {
        let Some((stem, _)) = name.split_once('.') else { continue };
        let (Ok(digest), Ok(metadata)) = (stem.parse(), fs::symlink_metadata(&path)) else { continue };
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let stored = found.entry(digest).or_insert(Stored { size: 0, used });
        stored.size += metadata.len();
        stored.used = stored.used.max(used);
    }
    Ok(found)
}

/// A file or tree; `None` when it has gone.
fn unit(what: What, path: PathBuf, layers: Vec<Digest>) -> Option<Unit> {
    let metadata = fs::symlink_metadata(&path).ok()?;
    let size = if metadata.is_dir() { tree_size(&path) } else { metadata.len() };
    Some(Unit { what, path, size, used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), layers })
}

/// Bytes of the files in a tree, as far as this process may look.
fn tree_size(top: &Path) -> u64 {
    let mut folders = vec![top.to_owned()];
    let mut size = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => size += metadata.len(),
                Err(_) => {}
            }
        }
    }
    size
}
