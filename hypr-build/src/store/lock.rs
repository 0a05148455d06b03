//! Locks between processes that share a store; all of them end with the process that holds them.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, OFlags},
    io::Errno,
};

use crate::store::{StoreError, work};

/// The lock on one step: who holds it is the only one to run the step, in all processes. Dropping unlocks.
///
/// It is a file in `tmp/` that goes away with the lock; one left by a killed process is taken over or removed.
#[derive(Debug)]
pub struct KeyLock {
    path: PathBuf,
    // Closed, and with it unlocked, after `drop` has removed the name.
    _file: File,
}

impl KeyLock {
    /// Takes the lock if nobody has it.
    pub(super) fn try_acquire(path: &Path) -> Result<Option<Self>, StoreError> {
        let error = |action, error: io::Error| StoreError::io(action, path, error);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(path)
                .map_err(|e| error("create", e))?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(e) => return Err(error("lock", e.into())),
            }
            // The last owner may have removed the name between our opening and locking; then this lock keeps
            // nobody out.
            if work::exists(&file).map_err(|e| error("inspect", e))? {
                return Ok(Some(Self { path: path.to_owned(), _file: file }));
            }
        }
    }

    /// Waits for the lock. Asks again and again instead of blocking, so that no thread is held and dropping the
    /// future ends the wait.
    pub(super) async fn acquire(path: &Path) -> Result<Self, StoreError> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(lock);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a lock file");
        }
    }
}

/// A lock on a file or folder of the store that all who use it share, or one has alone.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits, blocking, for a shared lock.
    pub(super) fn shared(file: File, path: &Path) -> Result<Self, StoreError> {
        Self::wait(file, path, FlockOperation::NonBlockingLockShared, FlockOperation::LockShared)
    }

    /// Waits, blocking, until nobody else has the lock.
    pub(super) fn exclusive(file: File, path: &Path) -> Result<Self, StoreError> {
        Self::wait(file, path, FlockOperation::NonBlockingLockExclusive, FlockOperation::LockExclusive)
    }

    /// Takes the lock alone if nobody else has it.
    pub(super) fn try_exclusive(file: File, path: &Path) -> Result<Option<Self>, StoreError> {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(StoreError::io("lock", path, error)),
        }
    }

    fn wait(file: File, path: &Path, once: FlockOperation, block: FlockOperation) -> Result<Self, StoreError> {
        let mut result = rustix::fs::flock(&file, once);
        if result == Err(Errno::WOULDBLOCK) {
            tracing::info!(path = %path.display(), "waiting for another process to release the store");
            result = rustix::io::retry_on_intr(|| rustix::fs::flock(&file, block));
        }
        result.map_err(|error| StoreError::io("lock", path, error))?;
        Ok(Self { _file: file })
    }
}
