//! Layers and the stacks of them that a step sees as `/`.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The two digests and the size of a layer; what records and manifests hold of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LayerId {
    /// BLAKE3 of the squashfs file's bytes. It names the file.
    pub file: Digest,
    /// BLAKE3 of the canonical tree. It is what keys and snapshots are made of.
    pub content: Digest,
    /// Bytes of the squashfs file.
    pub size: u64,
}

/// An immutable squashfs file that holds one step's changes in overlayfs notation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digests and size.
    pub id: LayerId,
    /// Where the store keeps the file.
    pub path: PathBuf,
}

impl Layer {
    /// The squashfs file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// An ordered stack of layers, lowest first; cheap to clone, and cheap to add to: it shares what it stands on.
#[derive(Clone, Default)]
pub struct Snapshot {
    top: Option<Arc<Floor>>,
}

/// The highest layer of a stack, and the stack below it.
struct Floor {
    layer: Layer,
    below: Snapshot,
    /// How many layers there are, this one included.
    height: usize,
    /// What [`Snapshot::content`] hashes, up to here.
    hasher: blake3::Hasher,
    /// What [`Snapshot::identity`] is.
    identity: Digest,
}

impl Snapshot {
    /// The snapshot of `FROM scratch`: no layers.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A snapshot of `layers`, lowest first.
    pub fn new(layers: Vec<Layer>) -> Self {
        layers.into_iter().collect()
    }

    /// This snapshot with `layer` on top.
    #[must_use]
    pub fn with(&self, layer: Layer) -> Self {
        let mut hasher = self.hasher();
        hasher.update(layer.id.content.as_bytes());
        let below = self.identity();
        let identity = Digest::of(&[below.as_bytes().as_slice(), layer.id.file.as_bytes()].concat());
        let floor = Floor { layer, below: self.clone(), height: self.height() + 1, hasher, identity };
        Self { top: Some(Arc::new(floor)) }
    }

    /// How many layers there are.
    pub fn height(&self) -> usize {
        self.top.as_ref().map_or(0, |floor| floor.height)
    }

    /// The layers, lowest first.
    pub fn layers(&self) -> Vec<&Layer> {
        let mut layers = Vec::with_capacity(self.height());
        layers.extend(self.floors().map(|floor| &floor.layer));
        layers.reverse();
        layers
    }

    /// A digest over the content digests of the layers in order.
    pub fn content(&self) -> Digest {
        self.hasher().finalize().into()
    }

    /// A digest over the files of the layers in order: equal stacks of the very same files, times included.
    pub(crate) fn identity(&self) -> Digest {
        self.top.as_ref().map_or_else(|| Digest::of(b""), |floor| floor.identity)
    }

    /// The highest layer and the stack below it.
    pub(crate) fn top(&self) -> Option<(&Layer, &Self)> {
        self.top.as_ref().map(|floor| (&floor.layer, &floor.below))
    }

    fn hasher(&self) -> blake3::Hasher {
        let new = || blake3::Hasher::new_derive_key("hypr snapshot content v1");
        self.top.as_ref().map_or_else(new, |floor| floor.hasher.clone())
    }

    /// From the top.
    fn floors(&self) -> impl Iterator<Item = &Arc<Floor>> {
        std::iter::successors(self.top.as_ref(), |floor| floor.below.top.as_ref())
    }
}

impl Drop for Floor {
    /// Takes down what nobody else stands on, floor by floor: thousands of calls inside one another are too many.
    fn drop(&mut self) {
        let mut below = self.below.top.take();
        while let Some(mut floor) = below.and_then(Arc::into_inner) {
            below = floor.below.top.take();
        }
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        if self.height() != other.height() {
            return false;
        }
        for (ours, theirs) in self.floors().zip(other.floors()) {
            if Arc::ptr_eq(ours, theirs) {
                return true;
            }
            if ours.layer != theirs.layer {
                return false;
            }
        }
        true
    }
}

impl Eq for Snapshot {}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.layers()).finish()
    }
}

impl FromIterator<Layer> for Snapshot {
    fn from_iter<I: IntoIterator<Item = Layer>>(layers: I) -> Self {
        layers.into_iter().fold(Self::empty(), |below, layer| below.with(layer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(number: usize) -> Layer {
        let digest = Digest::of(&number.to_le_bytes());
        Layer { id: LayerId { file: digest, content: digest, size: 1 }, path: PathBuf::from(number.to_string()) }
    }

    #[test]
    fn layers_are_listed_from_the_lowest() {
        let snapshot = Snapshot::new((0..3).map(layer).collect());
        assert_eq!(snapshot.layers(), [&layer(0), &layer(1), &layer(2)]);
        assert_eq!(snapshot.height(), 3);
        assert!(Snapshot::empty().layers().is_empty());
    }

    #[test]
    fn stacks_of_the_same_layers_are_equal_however_they_came_about() {
        let below = Snapshot::new((0..2).map(layer).collect());
        let grown = below.with(layer(2));
        let anew: Snapshot = (0..3).map(layer).collect();
        assert_eq!(grown, anew);
        assert_eq!(grown.content(), anew.content());
        assert_ne!(grown, below);
        assert_ne!(grown, below.with(layer(3)));
        assert_ne!(grown.content(), below.content());
    }

    #[test]
    fn a_stack_as_deep_as_a_plan_allows_is_shared_and_taken_down() {
        // Copies of every stack below would take gigabytes, calls inside one another the thread's memory.
        let mut stacks = vec![Snapshot::empty()];
        for number in 0..20_000 {
            stacks.push(stacks[number].with(layer(number)));
        }
        let highest = stacks.pop().unwrap();
        drop(stacks);
        assert_eq!(highest.height(), 20_000);
        drop(highest);
    }
}
