//! Blobs of registries: `blobs/sha256/<hex>`, kept only if they are what their digest promises.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

use sha2::{Digest as _, Sha256};

use crate::{
    image::Sha256Digest,
    store::{Store, StoreError, work::PendingFile},
};

/// A blob that is being written. It vanishes when dropped unpublished.
#[derive(Debug)]
pub struct PendingBlob {
    store: Store,
    file: PendingFile,
    hasher: Sha256,
    digest: Sha256Digest,
    size: Option<u64>,
    written: u64,
}

impl Store {
    /// Where the blob is kept, if it is.
    pub fn blob(&self, digest: &Sha256Digest) -> Option<PathBuf> {
        let path = self.layout().blob(digest);
        fs::symlink_metadata(&path).ok()?.is_file().then_some(path)
    }

    /// Starts a blob that must turn out to have this digest, and this size in bytes if one is given.
    ///
    /// # Errors
    /// Fails when the store cannot be written to.
    pub fn new_blob(&self, digest: &Sha256Digest, size: Option<u64>) -> Result<PendingBlob, StoreError> {
        Ok(PendingBlob {
            store: self.clone(),
            file: self.pending_file()?,
            hasher: Sha256::new(),
            digest: *digest,
            size,
            written: 0,
        })
    }

    /// Keeps `bytes`, which can be had again, as a blob and returns its digest. A power failure may cut it off.
    ///
    /// # Errors
    /// Fails when the disk is full; nothing is left then.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Sha256Digest, StoreError> {
        let digest = Sha256Digest::of(bytes);
        let path = self.layout().blob(&digest);
        if !fs::read(&path).is_ok_and(|present| present == bytes) {
            let pending = self.pending_file()?;
            pending.file().write_all(bytes).map_err(|error| StoreError::io("write", &path, error))?;
            pending.rename(&path)?;
        }
        Ok(digest)
    }
}

impl PendingBlob {
    /// What was written so far, for reading.
    pub fn file(&self) -> &File {
        self.file.file()
    }

    /// Checks digest and size, makes the blob durable and returns its path; its name is durable with the next manifest.
    ///
    /// # Errors
    /// [`StoreError::BlobDigest`] or [`StoreError::BlobSize`] when the bytes are not what was promised; nothing is
    /// left then.
    pub fn publish(self) -> Result<PathBuf, StoreError> {
        let Self { store, file, hasher, digest, size, written } = self;
        if let Some(expected) = size
            && expected != written
        {
            return Err(StoreError::BlobSize { digest, expected, found: written });
        }
        let found = Sha256Digest::from(<[u8; 32]>::from(hasher.finalize()));
        if found != digest {
            return Err(StoreError::BlobDigest { expected: digest, found });
        }
        let path = store.layout().blob(&digest);
        if store.blob(&digest).is_none() {
            file.sync()?;
            file.rename(&path)?;
        }
        Ok(path)
    }
}

impl Write for PendingBlob {
    /// Fails with [`StoreError::BlobSize`] inside as soon as there is more than promised, so that a source without
    /// end does not fill the disk.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let total = self.written.saturating_add(bytes.len() as u64);
        if let Some(expected) = self.size
            && total > expected
        {
            return Err(io::Error::other(StoreError::BlobSize { digest: self.digest, expected, found: total }));
        }
        let count = self.file.file().write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
