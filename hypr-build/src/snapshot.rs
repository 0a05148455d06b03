//! Layers and the stacks of them that a step sees as `/`.

use std::{
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

/// An ordered stack of layers, lowest first; cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    layers: Arc<[Layer]>,
}

impl Snapshot {
    /// The snapshot of `FROM scratch`: no layers.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A snapshot of `layers`, lowest first.
    pub fn new(layers: Vec<Layer>) -> Self {
        Self { layers: layers.into() }
    }

    /// This snapshot with `layer` on top.
    #[must_use]
    pub fn with(&self, layer: Layer) -> Self {
        self.layers.iter().cloned().chain([layer]).collect()
    }

    /// The layers, lowest first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// A digest over the content digests of the layers in order.
    pub fn content(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("hypr snapshot content v1");
        for layer in &*self.layers {
            hasher.update(layer.id.content.as_bytes());
        }
        hasher.finalize().into()
    }
}

impl FromIterator<Layer> for Snapshot {
    fn from_iter<I: IntoIterator<Item = Layer>>(layers: I) -> Self {
        Self { layers: layers.into_iter().collect() }
    }
}
