//! Layers: `layers/<blake3>.squashfs`, each with its index beside it.

use std::{
    fs::{self, File},
    io::Write,
};

use crate::{
    Layer, LayerId,
    store::{Store, StoreError, work::PendingFile},
};

/// A layer that is being written. It vanishes when dropped unpublished.
#[derive(Debug)]
pub struct PendingLayer {
    store: Store,
    file: PendingFile,
}

impl Store {
    /// Starts a layer: an empty file to be filled through [`PendingLayer::file`].
    ///
    /// # Errors
    /// Fails when the store cannot be written to.
    pub fn new_layer(&self) -> Result<PendingLayer, StoreError> {
        Ok(PendingLayer { store: self.clone(), file: self.pending_file()? })
    }

    /// The layer `id`, or `None` if its file is gone or has another size.
    pub fn layer(&self, id: &LayerId) -> Option<Layer> {
        let path = self.layout().layer(&id.file);
        let metadata = fs::symlink_metadata(&path).ok()?;
        (metadata.is_file() && metadata.len() == id.size).then_some(Layer { id: *id, path })
    }

    /// Opens the layer's squashfs file; the index beside it is read when it is first needed.
    ///
    /// # Errors
    /// Fails when the file cannot be opened or is not an image.
    pub fn open_layer(&self, layer: &Layer) -> Result<hypr_squash::Reader, StoreError> {
        let file = File::open(&layer.path).map_err(|error| StoreError::io("open", &layer.path, error))?;
        let index = self.layout().layer_index(&layer.id.file);
        let load = move || match hypr_squash::Index::from_bytes(&fs::read(&index).ok()?) {
            Ok(index) => Some(index),
            Err(error) => {
                tracing::warn!(index = %index.display(), %error, "ignoring an unreadable index");
                None
            }
        };
        hypr_squash::Reader::open_with_index_from(file, load)
            .map_err(|source| StoreError::Layer { path: layer.path.clone(), source })
    }
}

impl PendingLayer {
    /// The file, open for reading and writing; what is written through clones of it is part of the layer.
    pub fn file(&self) -> &File {
        self.file.file()
    }

    /// Makes the layer that `summary` tells of durable and gives it its name, which is durable with the next manifest.
    ///
    /// A layer that is in the store already, because another build made the same, is used instead; publishing the
    /// same layer from several processes at once is safe.
    ///
    /// # Errors
    /// Fails when the disk is full; nothing half-written is left then.
    pub fn publish(self, summary: &hypr_squash::Summary) -> Result<Layer, StoreError> {
        let id =
            LayerId { file: summary.file_digest.into(), content: summary.content_digest.into(), size: summary.bytes };
        self.publish_as(id, &summary.index.to_bytes())
    }

    pub(super) fn publish_as(self, id: LayerId, index: &[u8]) -> Result<Layer, StoreError> {
        let Self { store, file } = self;
        if let Some(layer) = store.layer(&id) {
            return Ok(layer);
        }
        let path = store.layout().layer(&id.file);
        file.sync()?;
        // The index comes first, so that a layer never lacks one. It can be made anew from the layer and has
        // a digest of its own: no sync.
        let sidecar = store.pending_file()?;
        let written = sidecar.file().write_all(index);
        written.map_err(|error| StoreError::io("write", sidecar.path(), error))?;
        sidecar.rename(&store.layout().layer_index(&id.file))?;
        file.rename(&path)?;
        Ok(Layer { id, path })
    }
}
