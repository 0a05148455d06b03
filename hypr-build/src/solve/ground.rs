//! What a layer stands on while it is being arranged: the tree below, and what the layer itself has so far.

use std::cell::RefCell;

use hypr_squash::{FileType, Kind, Metadata, Overlay, overlay::Node};

use super::{
    arrangement::{Arrangement, Content, Entry},
    error::StepError,
};

/// The tree below and the arrangement above it.
#[derive(Debug)]
pub(super) struct Ground {
    below: Overlay,
    arrangement: Arrangement,
    /// The directory of the tree below that was looked into last: what is placed comes in the order of a walk.
    looked: RefCell<Option<(Vec<u8>, Option<Node>)>>,
}

/// What a path of the image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Directory,
    Other,
}

/// Owner of what is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Owner {
    pub(super) const ROOT: Self = Self { uid: 0, gid: 0 };
}

impl Ground {
    pub(super) fn new(below: Overlay) -> Self {
        Self { below, arrangement: Arrangement::default(), looked: RefCell::default() }
    }

    pub(super) fn below(&self) -> &Overlay {
        &self.below
    }

    pub(super) fn arranged(&self, path: &[u8]) -> Option<&Entry> {
        self.arrangement.get(path)
    }

    /// Arranges `entry` at `path`, in place of what is there.
    pub(super) fn insert(&mut self, path: Vec<u8>, entry: Entry) {
        self.arrangement.insert(path, entry);
    }

    /// `path` (absolute, as text) with the image's own symbolic links followed, relative to the root.
    pub(super) fn resolve(&self, path: &str) -> Result<Vec<u8>, StepError> {
        self.resolve_bytes(path.as_bytes())
    }

    /// Like [`resolve`](Self::resolve), for a path that is no text.
    pub(super) fn resolve_bytes(&self, path: &[u8]) -> Result<Vec<u8>, StepError> {
        match self.below.resolve(path, b"") {
            Ok(resolved) => Ok(resolved.path),
            Err(hypr_squash::Error::Path { path, reason }) => Err(StepError::Path { path: shown(&path), reason }),
            Err(error) => Err(error.into()),
        }
    }

    /// What is at `path`, links not followed.
    pub(super) fn find(&self, path: &[u8]) -> Result<Found, StepError> {
        if path.is_empty() {
            return Ok(Found::Directory);
        }
        if let Some(entry) = self.arrangement.get(path) {
            return Ok(match entry.content {
                Content::Directory => Found::Directory,
                _ => Found::Other,
            });
        }
        Ok(match self.look(path)? {
            None => Found::Nothing,
            Some(node) if node.file_type() == FileType::Directory => Found::Directory,
            Some(_) => Found::Other,
        })
    }

    /// Makes `path` and what is missing above it directories; new ones are the owner's, mode 0755, without a time.
    ///
    /// A directory that is there already is arranged as it is: in a stack, the entry of the upper layer counts.
    pub(super) fn directory(&mut self, path: &[u8], owner: Owner) -> Result<(), StepError> {
        for end in ends(path) {
            let path = &path[..end];
            match self.find(path)? {
                Found::Directory => self.keep(path)?,
                Found::Nothing => self.make(path, owner),
                Found::Other => return Err(StepError::NotDirectory(shown(path))),
            }
        }
        Ok(())
    }

    /// Like [`directory`](Self::directory), but what is there and is no directory is replaced.
    pub(super) fn directory_replacing(&mut self, path: &[u8], owner: Owner) -> Result<(), StepError> {
        for end in ends(path) {
            let path = &path[..end];
            match self.find(path)? {
                Found::Directory => self.keep(path)?,
                Found::Nothing | Found::Other => self.make(path, owner),
            }
        }
        Ok(())
    }

    /// What the tree below has at `path`.
    fn look(&self, path: &[u8]) -> Result<Option<Node>, StepError> {
        if path.is_empty() {
            return Ok(Some(self.below.root()?));
        }
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(end) => (&path[..end], &path[end + 1..]),
            None => (&b""[..], path),
        };
        let mut looked = self.looked.borrow_mut();
        if let Some((directory, node)) = &*looked
            && directory == parent
        {
            return Ok(node.as_ref().map(|node| node.child(name)).transpose()?.flatten());
        }
        let node = self.below.lookup(parent)?;
        let found = node.as_ref().map(|node| node.child(name)).transpose()?.flatten();
        *looked = Some((parent.to_vec(), node));
        Ok(found)
    }

    fn make(&mut self, path: &[u8], owner: Owner) {
        let metadata = Metadata { mode: 0o755, uid: owner.uid, gid: owner.gid, ..Metadata::default() };
        self.arrangement.insert(path.to_vec(), Entry { metadata, content: Content::Directory });
    }

    /// The finished arrangement. One that holds anything also holds the root as it is below: a layer without it would
    /// give the root anew.
    pub(super) fn finish(mut self) -> Result<Arrangement, StepError> {
        if !self.arrangement.is_empty() {
            self.keep(b"")?;
        }
        Ok(self.arrangement)
    }

    /// Arranges a directory of the tree below as it is there.
    fn keep(&mut self, path: &[u8]) -> Result<(), StepError> {
        if self.arrangement.get(path).is_some() {
            return Ok(());
        }
        if let Some(node) = self.look(path)?
            && matches!(node.kind()?, Kind::Directory)
        {
            let mut metadata = node.metadata()?;
            metadata.xattrs.retain(|name, _| !name.starts_with(b"trusted.overlay."));
            self.arrangement.insert(path.to_vec(), Entry { metadata, content: Content::Directory });
        }
        Ok(())
    }
}

/// Where each directory on the way to `path` ends, `path` itself last.
fn ends(path: &[u8]) -> impl Iterator<Item = usize> {
    let inner = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    inner.chain((!path.is_empty()).then_some(path.len()))
}

/// A path of the image for messages.
pub(super) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}
