//! Removing what nobody needs, the longest unused first.
//!
//! Names go before what they point at, each file in one step: a prune that is killed leaves files that nothing names, and
//! the next one removes them. It has the store alone, so no build sees a layer vanish.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    Store, StoreError,
    manifests::remove_if_there,
    remove_tree,
    usage::{Inventory, Unit, What},
};
use crate::Digest;

/// What [`prune`] removes.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PruneOptions {
    /// Images with a name too.
    pub images: bool,
    /// Only what has not been used since then.
    pub unused_since: Option<SystemTime>,
    /// Only as much, the longest unused first, as leaves no more than these bytes of what could be removed.
    pub keep: Option<u64>,
}

/// What [`prune`] removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// Names of images.
    pub untagged: Vec<String>,
    /// Squashfs files of images.
    pub images: usize,
    /// Layers.
    pub layers: usize,
    /// Steps that the cache no longer knows.
    pub steps: usize,
    /// Bytes in all.
    pub bytes: u64,
    /// Trees that were taken out of their place, but hold files that only a user namespace can remove.
    pub left: Vec<PathBuf>,
}

/// Removes what nobody needs from the store at `root`: the cache, images without a name, and what is left of what was
/// removed before. Images with a name and what a build on them needs stay, unless the options say otherwise.
///
/// # Errors
/// [`StoreError::Busy`] when a build uses the store, and when something cannot be removed.
pub fn prune(root: &Path, options: &PruneOptions) -> Result<Pruned, StoreError> {
    let store = Store::open_alone(root)?;
    let Inventory { units, layers, images, needed_blobs, incomplete } = store.inventory()?;
    let mut work = Prune { store: &store, holders: HashMap::new(), files: HashMap::new(), pruned: Pruned::default() };
    for unit in &units {
        for layer in &unit.layers {
            *work.holders.entry(*layer).or_default() += 1;
        }
        if let What::Image { file, .. } = &unit.what {
            *work.files.entry(*file).or_default() += 1;
        }
    }
    let is_kept = |unit: &Unit| match &unit.what {
        What::Image { name, .. } => name.is_some() && !options.images,
        What::Blob => needed_blobs.contains(&unit.path) && (!options.images || incomplete),
        _ => false,
    };
    let needed: HashSet<Digest> =
        units.iter().filter(|unit| is_kept(unit)).flat_map(|unit| unit.layers.iter().copied()).collect();
    let mut removable: Vec<&Unit> = units.iter().filter(|unit| !is_kept(unit)).collect();
    removable.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
    // What could be given back, everything counted once.
    let mut left = removable.iter().map(|unit| unit.size).sum::<u64>();
    left += layers.iter().filter(|(digest, _)| !needed.contains(digest)).map(|(_, file)| file.size).sum::<u64>();
    let of_images: HashSet<&Digest> = removable.iter().filter_map(|unit| unit.file()).collect();
    left += images.iter().filter(|(digest, _)| of_images.contains(digest)).map(|(_, file)| file.size).sum::<u64>();
    let total = left;

    let is_old = |used: SystemTime| options.unused_since.is_none_or(|since| used < since);
    // Files that nothing names: merged into others, or left by a prune that was killed.
    if !incomplete {
        for (digest, file) in &layers {
            if !work.holders.contains_key(digest) && is_old(file.used) {
                work.remove_layer(digest, file.size)?;
            }
        }
        for (digest, file) in &images {
            if !work.files.contains_key(digest) && is_old(file.used) {
                work.remove_image(digest, file.size)?;
            }
        }
    }
    for unit in removable {
        left = total.saturating_sub(work.pruned.bytes);
        if options.keep.is_some_and(|keep| left <= keep) {
            break;
        }
        if !is_old(unit.used) {
            continue;
        }
        work.remove(unit)?;
        if incomplete {
            continue;
        }
        for layer in &unit.layers {
            if let Some(file) = layers.get(layer).filter(|_| work.let_go(layer)) {
                work.remove_layer(layer, file.size)?;
            }
        }
        if let Some(digest) = unit.file()
            && let Some(file) = images.get(digest)
            && work.let_go_of_image(digest)
        {
            work.remove_image(digest, file.size)?;
        }
    }
    Ok(work.pruned)
}

struct Prune<'a> {
    store: &'a Store,
    /// How many hold each layer.
    holders: HashMap<Digest, usize>,
    /// How many manifests name each image's file.
    files: HashMap<Digest, usize>,
    pruned: Pruned,
}

impl Prune<'_> {
    /// Removes the unit itself, not what it holds.
    fn remove(&mut self, unit: &Unit) -> Result<(), StoreError> {
        match &unit.what {
            What::Image { name, .. } => {
                self.store.remove_manifest(&unit.path)?;
                self.pruned.untagged.extend(name.clone());
            }
            What::Spare(digest) => self.store.remove_spare(digest)?,
            What::Tree => {
                let place = self.store.folder("tmp")?.join(format!("pruned-{:016x}", super::random()));
                super::rename(&unit.path, &place)?;
                if let Err(error) = remove_tree(&place) {
                    tracing::info!(path = %place.display(), %error, "a tree needs a user namespace to be removed");
                    self.pruned.left.push(place);
                }
            }
            What::Step => {
                remove_if_there(&unit.path)?;
                self.pruned.steps += 1;
            }
            What::CacheMount | What::Context | What::Blob | What::Log => match fs::symlink_metadata(&unit.path) {
                Ok(metadata) if metadata.is_dir() => {
                    remove_tree(&unit.path).map_err(|error| StoreError::io("remove", &unit.path, error))?;
                }
                _ => remove_if_there(&unit.path)?,
            },
        }
        self.pruned.bytes += unit.size;
        Ok(())
    }

    fn remove_layer(&mut self, digest: &Digest, size: u64) -> Result<(), StoreError> {
        let layout = self.store.layout();
        remove_if_there(&layout.layer(digest))?;
        remove_if_there(&layout.layer_index(digest))?;
        self.pruned.layers += 1;
        self.pruned.bytes += size;
        Ok(())
    }

    fn remove_image(&mut self, digest: &Digest, size: u64) -> Result<(), StoreError> {
        let layout = self.store.layout();
        remove_if_there(&layout.image(digest))?;
        remove_if_there(&layout.image_prefix(digest))?;
        self.pruned.images += 1;
        self.pruned.bytes += size;
        Ok(())
    }

    /// One holder less; whether that was the last.
    fn let_go(&mut self, layer: &Digest) -> bool {
        release(&mut self.holders, layer)
    }

    fn let_go_of_image(&mut self, file: &Digest) -> bool {
        release(&mut self.files, file)
    }
}

fn release(holders: &mut HashMap<Digest, usize>, digest: &Digest) -> bool {
    let Some(count) = holders.get_mut(digest) else { return true };
    *count -= 1;
    *count == 0
}

impl Unit {
    /// The image's file that it names.
    fn file(&self) -> Option<&Digest> {
        match &self.what {
            What::Image { file, .. } => Some(file),
            _ => None,
        }
    }
}
