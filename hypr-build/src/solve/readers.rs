//! Open layers: each squashfs file is opened and its tables are read once a build.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use hypr_squash::{Overlay, Reader};

use super::error::StepError;
use crate::{
    digest::Digest,
    snapshot::{Layer, Snapshot},
    store::Store,
};

/// The layers that a build has opened.
#[derive(Debug)]
pub(crate) struct Readers {
    store: Store,
    open: Mutex<HashMap<Digest, Arc<Reader>>>,
}

impl Readers {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, open: Mutex::default() }
    }

    /// The layer, opened now or before.
    pub(crate) fn layer(&self, layer: &Layer) -> Result<Arc<Reader>, StepError> {
        if let Some(reader) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&layer.id.file) {
            return Ok(reader.clone());
        }
        let reader = Arc::new(self.store.open_layer(layer)?);
        // Two threads may have opened it at once; either reader will do.
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(layer.id.file, reader.clone());
        Ok(reader)
    }

    /// The layers of a snapshot, lowest first.
    pub(crate) fn layers(&self, snapshot: &Snapshot) -> Result<Vec<Arc<Reader>>, StepError> {
        snapshot.layers().into_iter().map(|layer| self.layer(layer)).collect()
    }

    /// What a process would see as `/`.
    pub(crate) fn overlay(&self, snapshot: &Snapshot) -> Result<Overlay, StepError> {
        Ok(Overlay::new(self.layers(snapshot)?))
    }
}
