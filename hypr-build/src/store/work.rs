//! Work of live builds: folders in `tmp/` that are locked while their owner lives.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::{FlockOperation, OFlags};

use crate::store::{StoreError, remove_tree};

/// A folder of its own for work in progress, removed with all that is in it when dropped.
///
/// A lock on it tells other processes that its owner lives; once the owner is killed, the next one to open the store
/// removes it.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    // Closed, and with it unlocked, after `drop` has removed the folder.
    _lock: File,
    files: AtomicU64,
}

impl WorkDir {
    /// Makes `tmp/<pid>-<random>/`.
    pub(crate) fn create(tmp: &Path) -> Result<Self, StoreError> {
        loop {
            let path = tmp.join(format!("{}-{:016x}", std::process::id(), super::random()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(StoreError::io("create", path, error)),
            }
            // Until the lock is taken, somebody who cleans up may find the folder and take it for dead.
            let lock = match open_folder(&path) {
                Ok(lock) => lock,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StoreError::io("open", path, error)),
            };
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if exists(&lock).map_err(|error| StoreError::io("inspect", &path, error))? => {
                    return Ok(Self { path, _lock: lock, files: AtomicU64::new(0) });
                }
                Ok(()) | Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => return Err(StoreError::io("lock", path, error)),
            }
        }
    }

    /// The folder's path; absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the file `name` for reading and writing.
    ///
    /// # Errors
    /// Fails when there is such a file already, or the disk is full.
    pub fn file(&self, name: &str) -> Result<File, StoreError> {
        let path = self.path.join(name);
        create_file(&path).map_err(|error| StoreError::io("create", path, error))
    }

    /// Creates a file for reading and writing that has no name and vanishes when it is closed.
    ///
    /// # Errors
    /// Fails when the disk is full.
    pub fn unnamed_file(&self) -> Result<File, StoreError> {
        let path = self.unused();
        let file = create_file(&path).map_err(|error| StoreError::io("create", &path, error))?;
        fs::remove_file(&path).map_err(|error| StoreError::io("remove", &path, error))?;
        Ok(file)
    }

    /// A path in the folder that was not given out before.
    pub fn unused(&self) -> PathBuf {
        self.path.join(self.files.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a work folder");
        }
    }
}

/// A file that is being written in a [`WorkDir`] and either gets its name in the store or vanishes.
#[derive(Debug)]
pub(super) struct PendingFile {
    path: PathBuf,
    file: File,
    named: bool,
    _work: Arc<WorkDir>,
}

impl PendingFile {
    pub(super) fn create(work: Arc<WorkDir>) -> Result<Self, StoreError> {
        let path = work.unused();
        let file = create_file(&path).map_err(|error| StoreError::io("create", &path, error))?;
        Ok(Self { path, file, named: false, _work: work })
    }

    /// Takes an open file of the store that has the name `from` out of its place, to be written anew.
    pub(super) fn take(work: Arc<WorkDir>, file: File, from: &Path) -> Result<Self, StoreError> {
        let path = work.unused();
        super::rename(from, &path)?;
        Ok(Self { path, file, named: false, _work: work })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Makes the content durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        rustix::fs::fdatasync(&self.file).map_err(|error| StoreError::io("write", &self.path, error))
    }

    /// Gives the file its name, replacing what has that name. The name is durable once its folder is synced.
    pub(super) fn rename(mut self, to: &Path) -> Result<(), StoreError> {
        super::rename(&self.path, to)?;
        self.named = true;
        Ok(())
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.named {
            // Its folder will take it along if this fails.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what dead processes left in `tmp`, and returns what could not be removed.
///
/// Files that belong to ids of a user namespace, for one, can only be removed from inside such a namespace.
pub(crate) fn clean(tmp: &Path) -> io::Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    for entry in fs::read_dir(tmp)? {
        let path = entry?.path();
        if let Err(error) = clean_entry(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove what a killed build left");
            left.push(path);
        }
    }
    Ok(left)
}

fn clean_entry(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let file = match metadata.is_dir() {
        true => match open_folder(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                fs::set_permissions(path, Permissions::from_mode(0o700))?;
                open_folder(path)?
            }
            result => result?,
        },
        false if metadata.is_file() => {
            OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)?
        }
        // Nothing of ours.
        false => return fs::remove_file(path),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => remove_tree(path),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(path)
}

/// Whether the file still has a name, or a folder has not been removed.
pub(super) fn exists(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.nlink() > 0)
}
