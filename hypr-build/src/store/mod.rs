//! The store: one directory tree that holds layers, images, cache records and locks, shared by many processes.
//!
//! ```text
//! <root>/lock                           the layout's version; builds lock it shared, pruning alone
//!   layers/<blake3>.squashfs            immutable, with <blake3>.index beside it
//!   images/<blake3>.squashfs            immutable
//!   images/<name>/_tags/<tag>.json      what a name points at
//!   images/_ids/<sha256>.json           images without a name
//!   logs/<random>.log                   output of steps that was too long to be shown
//!   spare/<blake3>.squashfs             images that nothing names, to be overwritten by the next that begin alike
//!   cache/steps/<key>.json              what a step produced
//!   cache/context/<id>                  digests of the files of a build context
//!   cache/mounts/<id>/                  contents of cache mounts
//!   blobs/sha256/<sha256>               configurations, manifests and layers of registries
//!   unpacked/ merged/ kernels/          of the executors
//!   tmp/<pid>-<random>/ tmp/<key>.lock  work of live builds
//! ```
//!
//! Everything is written in `tmp/` and then renamed, data before the names that point at it, so that a process may be
//! killed at any time: what it leaves is in `tmp/`, unlocked, and the next one to open the store removes it.

mod blobs;
mod caches;
mod error;
mod images;
mod key;
mod layers;
mod layout;
mod lease;
mod lock;
mod manifests;
mod prune;
mod record;
mod remove;
mod spare;
mod steps;
#[cfg(test)]
mod tests;
mod usage;
mod work;

use std::{
    collections::hash_map::RandomState,
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{BuildHasher, Hasher},
    io::{self, Read, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

pub(crate) use self::error::is_full;
pub(crate) use self::work::clean as clean_work;
pub use self::{
    blobs::PendingBlob,
    caches::CacheMount,
    error::StoreError,
    images::{ImageFile, PendingImage},
    key::{Difference, Input, Key},
    layers::PendingLayer,
    layout::resolve_root,
    lock::KeyLock,
    manifests::{Removed, StoredImage},
    prune::{PruneOptions, Pruned, prune},
    remove::remove_tree,
    steps::{StepRecord, Timestamp},
    usage::{UsageKind, UsageRow},
    work::WorkDir,
};
use self::{layout::Layout, lock::FileLock, work::PendingFile};
use crate::Digest;

/// The content of the lock file.
const VERSION: &str = "hypr store 1\n";

/// An open store; cheap to clone. While one is open, [`Store::open_alone`] waits outside.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    leftovers: Vec<PathBuf>,
    // Where files are written before they get their names; made when first needed.
    work: Mutex<Option<Arc<WorkDir>>>,
    _lock: FileLock,
}

impl Store {
    /// Opens the store at `root`, making it if need be, and removes what killed builds left there.
    ///
    /// Waits, blocking, while another process has the store alone.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the folder cannot be created or written to, [`StoreError::Version`] when it was
    /// made by a version of hypr with another layout.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, FileLock::shared)
    }

    /// Opens the store to look at what it holds; `None` when there is none. Nothing is written, so that a store on a
    /// read-only file system, or of somebody else, will do; what wants to write fails.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_to_look(root: &Path) -> Result<Option<Self>, StoreError> {
        let unusable = |source| StoreError::Unusable { root: root.to_owned(), source };
        let layout = Layout::new(std::path::absolute(root).map_err(unusable)?);
        let path = layout.lock();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(error)),
        };
        check_version(&file, root)?;
        let lock = FileLock::shared(file, &path)?;
        let (leftovers, work) = (Vec::new(), Mutex::new(None));
        Ok(Some(Self { inner: Arc::new(Inner { layout, leftovers, work, _lock: lock }) }))
    }

    /// Opens the store for an operation that no build may see half-done, such as pruning.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when others have it open, and as [`Store::open`].
    pub fn open_alone(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, |file, path| {
            FileLock::try_exclusive(file, path)?.ok_or_else(|| StoreError::Busy { root: root.to_owned() })
        })
    }

    fn open_with(
        root: &Path,
        lock: impl FnOnce(File, &Path) -> Result<FileLock, StoreError>,
    ) -> Result<Self, StoreError> {
        let unusable = |source| StoreError::Unusable { root: root.to_owned(), source };
        let layout = Layout::new(std::path::absolute(root).map_err(unusable)?);
        let path = layout.lock();
        let file = match open_lock(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(&layout).and_then(|()| open_lock(&path)).map_err(unusable)?
            }
            Err(error) => return Err(unusable(error)),
        };
        check_version(&file, root)?;
        let lock = lock(file, &path)?;
        let leftovers = match work::clean(&layout.folder("tmp")) {
            Ok(leftovers) => leftovers,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folders(&layout).map_err(unusable)?;
                Vec::new()
            }
            Err(error) => return Err(unusable(error)),
        };
        Ok(Self { inner: Arc::new(Inner { layout, leftovers, work: Mutex::new(None), _lock: lock }) })
    }

    /// The root; absolute.
    pub fn root(&self) -> &Path {
        self.layout().root()
    }

    /// A folder below the root for an executor's helpers: `unpacked`, `merged`, `kernels`, `cache/mounts`.
    ///
    /// # Errors
    /// Fails when it is not there and cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.layout().folder(name);
        let mode = Layout::FOLDERS.iter().find(|(folder, _)| *folder == name).map_or(0o755, |(_, mode)| *mode);
        match DirBuilder::new().mode(mode).recursive(true).create(&path) {
            Ok(()) => Ok(path),
            Err(error) => Err(StoreError::io("create", path, error)),
        }
    }

    /// What killed builds left in `tmp/` and this process may not remove; files of subordinate ids need a user
    /// namespace for that.
    pub fn leftovers(&self) -> &[PathBuf] {
        &self.inner.leftovers
    }

    /// Makes a folder for work in progress.
    ///
    /// # Errors
    /// Fails when the store cannot be written to.
    pub fn work_dir(&self) -> Result<WorkDir, StoreError> {
        WorkDir::create(&self.folder("tmp")?)
    }

    /// A path for the output of a step.
    pub(crate) fn new_log(&self) -> Result<PathBuf, StoreError> {
        Ok(self.folder("logs")?.join(format!("{:016x}.log", random())))
    }

    /// The digest index of the build context `id`: the file's bytes, if there is one.
    pub(crate) fn context_index(&self, id: &Digest) -> Option<Vec<u8>> {
        fs::read(self.layout().context_index(id)).ok()
    }

    /// Replaces the digest index of the build context `id`. It carries a digest of its own: no sync.
    pub(crate) fn publish_context_index(&self, id: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.layout().context_index(id);
        let pending = self.pending_file()?;
        pending.file().write_all(bytes).map_err(|error| StoreError::io("write", &path, error))?;
        pending.rename(&path)
    }

    fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    fn pending_file(&self) -> Result<PendingFile, StoreError> {
        PendingFile::create(self.pending_folder()?)
    }

    /// The folder where files are written before they get their names.
    fn pending_folder(&self) -> Result<Arc<WorkDir>, StoreError> {
        let mut work = self.inner.work.lock().unwrap_or_else(PoisonError::into_inner);
        let work = match &mut *work {
            Some(work) => work,
            empty => empty.insert(Arc::new(self.work_dir()?)),
        };
        Ok(Arc::clone(work))
    }
}

fn check_version(mut file: &File, root: &Path) -> Result<(), StoreError> {
    let mut version = [0; 64];
    let length = file.read(&mut version).map_err(|source| StoreError::Unusable { root: root.to_owned(), source })?;
    if &version[..length] == VERSION.as_bytes() {
        return Ok(());
    }
    Err(StoreError::Version {
        root: root.to_owned(),
        found: String::from_utf8_lossy(&version[..length]).trim_end().to_owned(),
        expected: VERSION.trim_end(),
    })
}

fn open_lock(path: &Path) -> io::Result<File> {
    // Writable, so that a store on a read-only file system is noticed now and not at the end of the first step.
    OpenOptions::new().read(true).write(true).open(path)
}

/// Makes the folders and, last, the lock file, whose presence tells that they are there.
fn create(layout: &Layout) -> io::Result<()> {
    make_folders(layout)?;
    let work = WorkDir::create(&layout.folder("tmp")).map_err(io::Error::other)?;
    let path = work.path().join("lock");
    fs::write(&path, VERSION)?;
    match fs::hard_link(&path, layout.lock()) {
        // Another process was first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn make_folders(layout: &Layout) -> io::Result<()> {
    let root = layout.root();
    if let Some(parent) = root.parent() {
        DirBuilder::new().recursive(true).create(parent)?;
    }
    // Layers hold whatever the images hold, secrets of its owner included; a folder that was there keeps its mode.
    DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    for (folder, mode) in Layout::FOLDERS {
        DirBuilder::new().recursive(true).mode(mode).create(layout.folder(folder))?;
    }
    Ok(())
}

/// Renames, and makes the folder of the new name if it is not there.
fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    let result = match (fs::rename(from, to), to.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o755).create(parent).and_then(|()| fs::rename(from, to))
        }
        (result, _) => result,
    };
    result.map_err(|error| StoreError::io("write", to, error))
}

/// Makes the names in a folder durable.
fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let synced = File::open(path).and_then(|folder| Ok(rustix::fs::fsync(folder)?));
    synced.map_err(|error| StoreError::io("write", path, error))
}

/// A number that others cannot foresee.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
