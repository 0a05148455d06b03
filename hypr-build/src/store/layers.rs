//! Layers: `layers/<blake3>.squashfs`, each with its index beside it.

use std::{
    fs::{self, File},
    io::{self, Write},
};

use crate::{
    Digest, Layer, LayerId,
    store::{Store, StoreError, sync_folder, work::PendingFile},
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
        (metadata.is_file() && metadata.len() == id.size).then(|| Layer { id: *id, path })
    }

    /// The bytes of the index beside the layer whose file has the digest `file`, if there is one.
    ///
    /// # Errors
    /// Fails when there is one that cannot be read.
    pub fn layer_index(&self, file: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.layout().layer_index(file);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", path, error)),
        }
    }
}

impl PendingLayer {
    /// The file, open for reading and writing; what is written through clones of it is part of the layer.
    pub fn file(&self) -> &File {
        self.file.file()
    }

    /// Makes the layer durable and gives it its name. `index` is kept beside it.
    ///
    /// A layer that is in the store already, because another build made the same, is used instead; publishing the
    /// same layer from several processes at once is safe.
    ///
    /// # Errors
    /// Fails when the disk is full; nothing half-written is left then.
    pub fn publish(self, id: LayerId, index: &[u8]) -> Result<Layer, StoreError> {
        let Self { store, file } = self;
        let folder = store.layout().folder("layers");
        let layer = match store.layer(&id) {
            Some(layer) => layer,
            None => {
                let path = store.layout().layer(&id.file);
                file.sync()?;
                // The index comes first, so that a layer never lacks one. It can be made anew from the layer and has
                // a digest of its own: no sync.
                let sidecar = store.pending_file()?;
                let written = sidecar.file().write_all(index);
                written.map_err(|error| StoreError::io("write", sidecar.path(), error))?;
                sidecar.rename(&store.layout().layer_index(&id.file))?;
                file.rename(&path)?;
                Layer { id, path }
            }
        };
        // Also for a layer that was there: its publisher may not have got this far yet.
        sync_folder(&folder)?;
        Ok(layer)
    }
}
