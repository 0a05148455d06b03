//! Layers as directory trees, for users who may not mount squashfs.
//!
//! A tree is unpacked beside its place, under a name that is locked as long as somebody works on it, and takes its
//! place when it is whole and on disk. Whatever has another name and no lock was left by a process that was killed.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hypr_squash::{
    Overlay, Reader,
    tar::{Whiteouts, WriteOptions},
};
use rustix::fs::FlockOperation;

use super::user::UserNamespaces;
use crate::executor::agent::Agent;
use crate::{Digest, executor::ExecutorError, snapshot::Layer};

/// The tree in a layer's directory, which itself is of this user and closed to all others.
const TREE: &str = "tree";

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// The trees in one directory.
#[derive(Debug)]
pub(crate) struct Unpacked {
    directory: PathBuf,
    /// A lock for each layer in use here, which holds whether its tree is in place.
    ready: Mutex<HashMap<Digest, Arc<Mutex<bool>>>>,
}

impl Unpacked {
    /// The trees in `directory`, which is made, for this user alone, if it is not there. Removes what killed processes
    /// left in it.
    ///
    /// # Errors
    /// Fails when the directory cannot be made or read.
    pub(crate) fn open(directory: PathBuf, agent: &Agent, user: &UserNamespaces) -> Result<Self, ExecutorError> {
        let failed = |source| ExecutorError::Setup { action: format!("open {}", directory.display()), source };
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&directory).map_err(failed)?;
        // The agent is told of it by its whole path.
        let directory = directory.canonicalize().map_err(failed)?;
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if let Some(_lock) = lock_abandoned(&path)
                && let Err(error) = user.remove(agent, &path)
            {
                tracing::warn!("cannot remove the abandoned tree {}: {error}", path.display());
            }
        }
        Ok(Self { directory, ready: Mutex::default() })
    }

    /// Where the trees are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The tree of each of `layers`, in their order.
    ///
    /// # Errors
    /// Fails when a layer's file is gone or damaged, and when it holds what this user cannot have.
    pub(crate) fn trees(
        &self,
        layers: &[&Layer],
        agent: &Agent,
        user: &UserNamespaces,
    ) -> Result<Vec<PathBuf>, ExecutorError> {
        layers.iter().map(|layer| self.tree(layer, agent, user)).collect()
    }

    fn tree(&self, layer: &Layer, agent: &Agent, user: &UserNamespaces) -> Result<PathBuf, ExecutorError> {
        let place = self.directory.join(layer.id.file.to_string());
        let lock = {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(ready.entry(layer.id.file).or_default())
        };
        let mut ready = lock.lock().unwrap_or_else(PoisonError::into_inner);
        if !*ready {
            if !place.exists() {
                self.unpack(layer, &place, agent, user)?;
            }
            *ready = true;
        }
        Ok(place.join(TREE))
    }

    fn unpack(&self, layer: &Layer, place: &Path, agent: &Agent, user: &UserNamespaces) -> Result<(), ExecutorError> {
        let what = format!("the layer {}", layer.path.display());
        let failed = |source| ExecutorError::Setup { action: format!("unpack {what}"), source };
        let (work, lock) = self.work_directory().map_err(failed)?;
        let tree = work.join(TREE);
        fs::DirBuilder::new().mode(0o700).create(&tree).map_err(failed)?;
        let result = user.unpack(agent, &tree, &what, |out| write_archive(layer, out)).and_then(|()| {
            // A tree under its final name is whole even after a crash of the machine.
            rustix::fs::syncfs(&lock).map_err(|errno| failed(errno.into()))?;
            match fs::rename(&work, place) {
                // Another process was faster.
                Err(_) if place.exists() => user.remove(agent, &work),
                other => other.map_err(failed),
            }
        });
        if result.is_err() {
            let _ = user.remove(agent, &work);
        }
        result
    }

    /// Makes a directory to work in, with a lock on it.
    fn work_directory(&self) -> io::Result<(PathBuf, File)> {
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = self.directory.join(format!("work-{}-{number}", std::process::id()));
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            // Until it is locked, another process may find it and take it for abandoned.
            let Ok(lock) = File::open(&path) else { continue };
            let locked = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
            if locked && fs::metadata(&path).ok().map(id) == Some(id(lock.metadata()?)) {
                return Ok((path, lock));
            }
        }
    }
}

/// Writes `layer` as a tar archive in overlayfs notation.
fn write_archive(layer: &Layer, out: &mut dyn Write) -> io::Result<()> {
    let reader = Reader::open(File::open(&layer.path)?).map_err(io::Error::other)?;
    let options = WriteOptions { whiteouts: Whiteouts::Overlay, ..WriteOptions::default() };
    let out = BufWriter::with_capacity(256 * 1024, out);
    hypr_squash::tar::write(&Overlay::part(vec![Arc::new(reader)]), out, &options).map_err(io::Error::other)
}

/// A lock on what is at `path`, if that is no layer's and nobody else has one. What cannot be opened was never locked.
fn lock_abandoned(path: &Path) -> Option<Option<File>> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    if name.len() == 64 && name.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let Ok(file) = File::open(path) else { return Some(None) };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => None,
        _ => Some(Some(file)),
    }
}
