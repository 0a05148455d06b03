//! What `RUN --mount=type=cache` keeps: `cache/mounts/<id>`.

use std::{io::Write, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    Digest, LayerId,
    store::{
        Store, StoreError,
        key::Key,
        lock::KeyLock,
        record::{self, Format},
    },
};

const FORMAT: Format = Format { name: "cache mount", version: 1 };

/// What a cache holds: part of a stack of layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheMount {
    /// The cache's id.
    pub id: String,
    /// The layers, lowest first.
    pub layers: Vec<LayerId>,
    /// Which directory of the stack the cache is; empty for all of it.
    pub source: String,
}

/// The record in this file, if it can be read.
pub(super) fn read_record(path: &Path) -> Option<CacheMount> {
    record::read(FORMAT, path).ok()?
}

impl Store {
    /// What the cache holds; `None` when there is none yet, or a layer of it is gone.
    ///
    /// # Errors
    /// Fails when there is a record that may not be read.
    pub fn cache_mount(&self, id: &str) -> Result<Option<CacheMount>, StoreError> {
        let record: Option<CacheMount> = record::read(FORMAT, &self.layout().cache_mount(&Digest::of(id.as_bytes())))?;
        let is_whole = |cache: &CacheMount| cache.layers.iter().all(|layer| self.layer(layer).is_some());
        Ok(record.filter(|cache| cache.id == id && is_whole(cache)))
    }

    /// Remembers what a cache holds now. Its layers must be published before, and whoever calls has its
    /// [lock](Self::lock_cache_mount).
    ///
    /// # Errors
    /// Fails when the disk is full; what the cache held before stays then.
    pub fn publish_cache_mount(&self, cache: &CacheMount) -> Result<(), StoreError> {
        let path = self.layout().cache_mount(&Digest::of(cache.id.as_bytes()));
        let pending = self.pending_file()?;
        let bytes = record::encode(FORMAT, cache, &path)?;
        pending.file().write_all(&bytes).map_err(|error| StoreError::io("write", &path, error))?;
        // No sync: a cache whose record a power failure cuts off is empty again.
        pending.rename(&path)
    }

    /// Waits until no one else has the lock on the cache, and takes it.
    ///
    /// # Errors
    /// Fails when the store cannot be written to.
    pub async fn lock_cache_mount(&self, id: &str) -> Result<KeyLock, StoreError> {
        self.lock_step(&cache_key(id)).await
    }

    /// Takes the lock on the cache if no one has it.
    ///
    /// # Errors
    /// Fails when the store cannot be written to.
    pub fn try_lock_cache_mount(&self, id: &str) -> Result<Option<KeyLock>, StoreError> {
        self.try_lock_step(&cache_key(id))
    }
}

fn cache_key(id: &str) -> Key {
    Key::new("cache mount").input("id", id)
}
