//! A folder as a tree to copy from.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use cap_std::{ambient_authority, fs::Dir};
use hypr_squash::{Kind, Xattrs};
use rayon::prelude::*;
use rustix::{fs::OFlags, io::Errno};

use super::{
    ContextError, Entries, Entry, Tree, attributes, beneath,
    error::text,
    index::{Index, Known},
    tree::Identity,
    walk::{self, Filter, Scope},
    walks::Walks,
};
use crate::{Digest, store::Store};

/// Bytes read at once for hashing.
const CHUNK: usize = 1 << 17;

/// A folder of the user's, without what a [`Filter`] leaves out.
#[derive(Debug)]
pub(crate) struct Directory {
    folder: Dir,
    filter: Option<Arc<dyn Filter>>,
    index: Index,
    /// Where the index is kept.
    kept: Option<(Store, Digest)>,
    walks: Walks,
    warned_of_lists: AtomicBool,
}

impl Directory {
    /// Opens the folder at `path`. What is learnt of its files is kept in `store`, once [`save`](Tree::save) is called.
    pub(crate) fn open(path: &Path, store: Option<&Store>) -> Result<Self, ContextError> {
        let error = |source| ContextError::Open { path: path.to_owned(), source };
        let kept = match store {
            Some(store) => {
                let path = path.canonicalize().map_err(error)?;
                Some((store.clone(), Digest::of(path.as_os_str().as_bytes())))
            }
            None => None,
        };
        let earlier = kept.as_ref().and_then(|(store, id)| store.context_index(id));
        // Before the first look at a file.
        let index = Index::new(earlier);
        let folder = Dir::open_ambient_dir(path, ambient_authority()).map_err(error)?;
        Ok(Self { folder, filter: None, index, kept, walks: Walks::default(), warned_of_lists: AtomicBool::new(false) })
    }

    /// This folder without what `filter` leaves out.
    #[must_use]
    pub(crate) fn filtered(mut self, filter: Arc<dyn Filter>) -> Self {
        self.filter = Some(filter);
        self.walks = Walks::default();
        self
    }

    /// The digest of a regular file if it is known without reading.
    pub(super) fn known_digest(&self, file: &Entry) -> Option<Digest> {
        self.known(file).map(|known| known.digest)
    }

    fn known(&self, entry: &Entry) -> Option<Known> {
        entry.known.or_else(|| self.index.get(&entry.identity))
    }

    /// Opens a regular file and makes sure that it is the one that was seen.
    fn open_file(&self, entry: &Entry) -> Result<SteadyFile, ContextError> {
        let file = self.open_as(entry, OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let found = identity(&file).map_err(|error| ContextError::io("look at", &entry.path, error))?;
        let content = |of: &Identity| (of.device, of.inode, of.size, of.mtime);
        if content(&found) != content(&entry.identity) {
            return Err(ContextError::Changed { path: text(&entry.path) });
        }
        Ok(SteadyFile { file, path: entry.path.clone(), rest: found.size, before: found })
    }

    fn open_as(&self, entry: &Entry, flags: OFlags) -> Result<File, ContextError> {
        match beneath::open(self.folder.as_fd(), &entry.path, OFlags::RDONLY | flags) {
            Ok(file) => Ok(OwnedFd::into(file)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => {
                Err(ContextError::Changed { path: text(&entry.path) })
            }
            Err(error) => Err(ContextError::io("open", &entry.path, error)),
        }
    }

    /// Reads a file or directory for what the index holds of it.
    fn read(&self, entry: &Entry) -> Result<(Known, Xattrs), ContextError> {
        let mut hasher = blake3::Hasher::new();
        let file = if entry.is_directory() {
            self.open_as(entry, OFlags::DIRECTORY)?
        } else {
            let mut reader = self.open_file(entry)?;
            let mut buffer = vec![0; CHUNK.min(usize::try_from(entry.identity.size).unwrap_or(CHUNK)) + 1];
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => drop(hasher.update(&buffer[..length])),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(unwrap(error, &entry.path)),
                }
            }
            reader.file
        };
        let xattrs = attributes::read(file.as_fd(), &self.warned_of_lists)
            .map_err(|error| ContextError::io("read the attributes of", &entry.path, error))?;
        let known = Known { digest: hasher.finalize().into(), has_xattrs: !xattrs.is_empty() };
        self.index.insert(&entry.identity, known);
        Ok((known, xattrs))
    }
}

impl Tree for Directory {
    fn lookup(&self, path: &[u8]) -> Result<Option<Entry>, ContextError> {
        if let Some(entries) = self.walks.covering(path) {
            return Ok(entries.get(path).cloned());
        }
        match &self.filter {
            // Whether a directory that is left out is there depends on what is in it.
            Some(filter) if !path.is_empty() && filter.excludes(path) => Ok(self.walk(path)?.get(path).cloned()),
            _ => walk::look(self.folder.as_fd(), path),
        }
    }

    fn walk(&self, path: &[u8]) -> Result<Entries, ContextError> {
        self.walks.get(path, || {
            let scope = Scope { root: self.folder.as_fd(), filter: self.filter.as_deref(), index: &self.index };
            walk::walk(&scope, path)
        })
    }

    fn open(&self, entry: &Entry) -> Result<Box<dyn Read + Send>, ContextError> {
        Ok(Box::new(self.open_file(entry)?))
    }

    fn xattrs(&self, entry: &Entry) -> Result<Xattrs, ContextError> {
        match (&entry.kind, self.known(entry)) {
            (Kind::Directory | Kind::File { .. }, Some(Known { has_xattrs: true, .. })) => {
                let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
                let file = self.open_as(entry, flags)?;
                attributes::read(file.as_fd(), &self.warned_of_lists)
                    .map_err(|error| ContextError::io("read the attributes of", &entry.path, error))
            }
            (Kind::Directory | Kind::File { .. }, None) => Ok(self.read(entry)?.1),
            // Links and special files have none that a layer may hold.
            _ => Ok(Xattrs::new()),
        }
    }

    fn digests(&self, files: &[&Entry]) -> Result<Vec<Digest>, ContextError> {
        let known: Vec<Option<Digest>> = files.iter().map(|file| self.known_digest(file)).collect();
        if let Some(digests) = known.iter().copied().collect() {
            return Ok(digests);
        }
        let digest = |(known, file): (Option<Digest>, &&Entry)| known.map_or_else(|| Ok(self.read(file)?.0.digest), Ok);
        known.into_par_iter().zip(files).map(digest).collect()
    }

    fn name(&self) -> Option<String> {
        self.kept.as_ref().map(|(_, id)| id.to_string())
    }

    fn save(&self) -> Result<(), ContextError> {
        let Some((store, id)) = &self.kept else { return Ok(()) };
        let Some(bytes) = self.index.to_bytes() else { return Ok(()) };
        store.publish_context_index(id, &bytes).map_err(ContextError::Store)
    }

    fn is_ignored(&self, path: &[u8]) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.excludes(path))
            && matches!(walk::look(self.folder.as_fd(), path), Ok(Some(_)))
    }
}

/// A file that must not change while it is read: reading fails at its end if it did.
#[derive(Debug)]
struct SteadyFile {
    file: File,
    path: Arc<[u8]>,
    before: Identity,
    rest: u64,
}

impl SteadyFile {
    fn changed(&self) -> io::Error {
        io::Error::other(ContextError::Changed { path: text(&self.path) })
    }
}

impl Read for SteadyFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        if length == 0 && !buffer.is_empty() {
            return match self.rest == 0 && identity(&self.file)? == self.before {
                true => Ok(0),
                false => Err(self.changed()),
            };
        }
        // What grows while it is read might never end.
        self.rest = self.rest.checked_sub(length as u64).ok_or_else(|| self.changed())?;
        Ok(length)
    }
}

fn identity(file: &File) -> Result<Identity, Errno> {
    rustix::fs::fstat(file).map(|stat| walk::identity(&stat))
}

/// The error that a reader of ours wrapped, or one that says what was being read.
fn unwrap(error: io::Error, path: &[u8]) -> ContextError {
    match error.downcast::<ContextError>() {
        Ok(error) => error,
        Err(error) => ContextError::io("read", path, error),
    }
}
