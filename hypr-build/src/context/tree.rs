//! What a `COPY` reads from, whatever that is: a folder, a tar stream, the files of another stage.

use std::{
    cmp::Ordering,
    fmt,
    io::Read,
    ops::{Deref, Range},
    sync::Arc,
};

use hypr_squash::{Kind, Metadata, Reader, Xattrs};

use super::{ContextError, index::Known};
use crate::Digest;

/// A tree of files to copy from.
///
/// Paths are relative to its root, `/`-separated, without `.`, `..` and slashes at the ends; `b""` is the root. No
/// method follows a symbolic link, wherever in a path it is: [`resolve`](super::resolve) does that, and cannot leave the
/// tree. What a `.dockerignore` excludes is not there. Methods block.
pub(crate) trait Tree: Send + Sync + fmt::Debug {
    /// The entry at `path`; `None` if there is none, or a parent is not a directory.
    fn lookup(&self, path: &[u8]) -> Result<Option<Entry>, ContextError>;

    /// The entry at `path` and all beneath it, ordered part by part of their paths, so that what is in a directory
    /// follows it at once; none if nothing is there. Asking again costs nothing.
    fn walk(&self, path: &[u8]) -> Result<Entries, ContextError>;

    /// The content of a regular file of this tree. Reading fails if the file is no longer the one that `entry` is of.
    fn open(&self, entry: &Entry) -> Result<Box<dyn Read + Send>, ContextError>;

    /// The extended attributes of an entry that a layer may hold.
    fn xattrs(&self, entry: &Entry) -> Result<Xattrs, ContextError>;

    /// BLAKE3 of the contents of regular files, in their order. Files that are known cost nothing, others are read,
    /// several at once.
    fn digests(&self, files: &[&Entry]) -> Result<Vec<Digest>, ContextError>;

    /// Whether `path` is not there because a `.dockerignore` says so.
    fn is_ignored(&self, _path: &[u8]) -> bool {
        false
    }

    /// What tells this tree from others that other builds copy from; `None` where that cannot be told.
    fn name(&self) -> Option<String> {
        None
    }

    /// Layers that hold the contents of files of this tree.
    fn layers(&self) -> &[Arc<Reader>] {
        &[]
    }

    /// Keeps what was learnt of the files for later builds.
    fn save(&self) -> Result<(), ContextError> {
        Ok(())
    }

    /// The digest of one regular file.
    fn digest(&self, file: &Entry) -> Result<Digest, ContextError> {
        Ok(self.digests(&[file])?[0])
    }
}

/// A file, directory, link or special file of a [`Tree`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it is in the tree.
    pub(crate) path: Arc<[u8]>,
    /// What it is; never a socket.
    pub(crate) kind: Kind,
    /// Permission bits, `0o0000` to `0o7777`.
    pub(crate) mode: u16,
    /// Owner; 0 in a context, whose files belong to nobody of the image.
    pub(crate) uid: u32,
    /// Group; 0 in a context.
    pub(crate) gid: u32,
    /// Modification time in seconds since 1970.
    pub(crate) mtime: i64,
    /// What tells one version of a file from another.
    pub(super) identity: Identity,
    /// What the index of the context had on this version when it was seen in a walk.
    pub(super) known: Option<Known>,
}

/// The numbers by which a tree knows one version of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) links: u32,
    pub(super) size: u64,
    /// Seconds since 1970 and nanoseconds.
    pub(super) mtime: (i64, u32),
    /// Seconds since 1970 and nanoseconds.
    pub(super) ctime: (i64, u32),
}

impl Entry {
    /// Whether this is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }

    /// The size in bytes of a regular file; `None` for everything else.
    pub(crate) fn file_size(&self) -> Option<u64> {
        match self.kind {
            Kind::File { size } => Some(size),
            _ => None,
        }
    }

    /// The same for all names of one regular file; `None` for a file with one name, and for everything else.
    pub(crate) fn link_group(&self) -> Option<(u64, u64)> {
        let linked = self.identity.links > 1 && self.file_size().is_some();
        linked.then_some((self.identity.device, self.identity.inode))
    }

    /// Permissions, owner and time as a layer holds them.
    pub(crate) fn metadata(&self, xattrs: Xattrs) -> Metadata {
        Metadata { mode: self.mode, uid: self.uid, gid: self.gid, mtime: self.mtime, xattrs }
    }
}

/// A part of a walked tree; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Entries {
    all: Arc<Vec<Entry>>,
    range: Range<usize>,
}

impl Entries {
    /// All of `entries`, which are in order.
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        debug_assert!(entries.is_sorted_by(|a, b| compare(&a.path, &b.path).is_lt()));
        let range = 0..entries.len();
        Self { all: Arc::new(entries), range }
    }

    /// The entry at `path`.
    pub(super) fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.binary_search_by(|entry| compare(&entry.path, path)).ok().map(|index| &self[index])
    }

    /// Those at and beneath `path`.
    pub(super) fn beneath(&self, path: &[u8]) -> Self {
        let start = self.partition_point(|entry| compare(&entry.path, path).is_lt());
        let length = self[start..].partition_point(|entry| is_beneath(&entry.path, path));
        let start = self.range.start + start;
        Self { all: Arc::clone(&self.all), range: start..start + length }
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.all[self.range.clone()]
    }
}

/// The order of paths in a walk: part by part, as if the separator came before every other byte.
pub(super) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    match a.iter().zip(b).position(|(a, b)| a != b) {
        None => a.len().cmp(&b.len()),
        Some(at) if a[at] == b'/' => Ordering::Less,
        Some(at) if b[at] == b'/' => Ordering::Greater,
        Some(at) => a[at].cmp(&b[at]),
    }
}

/// Whether `path` is `directory` or in it, at any depth.
pub(super) fn is_beneath(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// `name` in `directory`.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry {
            path: path.as_bytes().into(),
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            identity: Identity::default(),
            known: None,
        }
    }

    #[test]
    fn what_is_in_a_directory_follows_it_at_once() {
        let paths = ["", "a", "a/b", "a/b/c", "a/b-c", "a b", "a-b", "a0", "b"];
        assert!(paths.is_sorted_by(|a, b| compare(a.as_bytes(), b.as_bytes()).is_lt()));
        let entries = Entries::new(paths.iter().map(|path| entry(path)).collect());
        let beneath = |path: &str| {
            let found = entries.beneath(path.as_bytes());
            found.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(beneath("a"), ["a", "a/b", "a/b/c", "a/b-c"]);
        assert_eq!(entries.beneath(b"a").beneath(b"a/b").len(), 2);
        assert_eq!(beneath("a0"), ["a0"]);
        assert_eq!(beneath("none"), [""; 0]);
        assert_eq!(beneath("").len(), paths.len());
        assert_eq!(entries.get(b"a/b-c").map(|entry| &entry.path[..]), Some(&b"a/b-c"[..]));
        assert_eq!(entries.get(b"a/c"), None);
    }
}
