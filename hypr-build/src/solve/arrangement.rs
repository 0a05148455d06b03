//! What a layer will hold, decided before any file is read.
//!
//! COPY, ADD and WORKDIR first arrange: they look at the metadata of their sources and at what they stand on, and note
//! one entry a path. The arrangement is the step's cache key, because it is all that the layer depends on; only when
//! the cache does not have it are files opened.

use std::{collections::BTreeMap, sync::Arc};

use hypr_squash::{Metadata, Special};

use crate::digest::Digest;

/// Bytes that are hashed at once, about.
const HASHED_AT_ONCE: usize = 1 << 16;

/// What one entry takes of them, mostly.
const ROOM: usize = 1 << 10;

/// One entry a path, relative to the root of the image, in bytewise order: a directory comes before what is in it.
#[derive(Debug, Default)]
pub(crate) struct Arrangement {
    /// What came in order, which is most, in order.
    entries: Vec<(Box<[u8]>, Entry)>,
    /// What came after something that it goes before. No path is in both.
    inserted: BTreeMap<Box<[u8]>, Entry>,
}

/// One inode of the layer, or another name for one.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) metadata: Metadata,
    pub(crate) content: Content,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Directory,
    Symlink(Vec<u8>),
    Special(Special),
    /// Another name of the file at this path, which is arranged as well.
    HardLink(Vec<u8>),
    File {
        digest: Digest,
        size: u64,
        source: FileSource,
    },
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileSource {
    /// At this path of the step's `n`th source tree.
    Tree(usize, Arc<[u8]>),
    /// Here.
    Inline(Arc<[u8]>),
}

impl Arrangement {
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Entry> {
        match self.place(path) {
            Ok(place) => Some(&self.entries[place].1),
            Err(_) => self.inserted.get(path),
        }
    }

    pub(crate) fn insert(&mut self, path: Vec<u8>, entry: Entry) {
        let path = path.into_boxed_slice();
        match self.place(&path) {
            Ok(place) => self.entries[place].1 = entry,
            Err(place) if place == self.entries.len() && !self.inserted.contains_key(&path) => {
                self.entries.push((path, entry));
            }
            Err(_) => drop(self.inserted.insert(path, entry)),
        }
    }

    /// Where `path` is, or would be, among those that came in order.
    fn place(&self, path: &[u8]) -> Result<usize, usize> {
        match self.entries.last() {
            Some((last, _)) if **last < *path => Err(self.entries.len()),
            _ => self.entries.binary_search_by(|(other, _)| (**other).cmp(path)),
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        let mut inserted = self.inserted.iter().map(|(path, entry)| (&**path, entry)).peekable();
        let mut entries = self.entries.iter().map(|(path, entry)| (&**path, entry)).peekable();
        std::iter::from_fn(move || match (entries.peek(), inserted.peek()) {
            (Some((next, _)), Some((other, _))) if other < next => inserted.next(),
            (Some(_), _) => entries.next(),
            (None, _) => inserted.next(),
        })
    }

    /// Whether nothing but directories that exist below would be in the layer is for the caller to say; this is whether
    /// there is no entry at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.inserted.is_empty()
    }

    /// A digest of all that the layer depends on, times left out: a touched file is the same file.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("hypr arrangement v1");
        // Hashing much at once is several times faster than hashing each field.
        let mut pending = Vec::with_capacity(HASHED_AT_ONCE);
        for (path, Entry { metadata, content }) in self.entries() {
            if pending.len() >= HASHED_AT_ONCE - ROOM {
                hasher.update(&pending);
                pending.clear();
            }
            let mut field = |bytes: &[u8]| {
                pending.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
                pending.extend_from_slice(bytes);
            };
            field(path);
            field(&metadata.mode.to_le_bytes());
            field(&metadata.uid.to_le_bytes());
            field(&metadata.gid.to_le_bytes());
            field(&(metadata.xattrs.len() as u64).to_le_bytes());
            for (name, value) in &metadata.xattrs {
                field(name);
                field(value);
            }
            match content {
                Content::Directory => field(b"directory"),
                Content::Symlink(target) => {
                    field(b"symlink");
                    field(target);
                }
                Content::Special(special) => {
                    let (kind, major, minor) = match special {
                        Special::CharDevice { major, minor } => ("character device", *major, *minor),
                        Special::BlockDevice { major, minor } => ("block device", *major, *minor),
                        Special::Fifo => ("fifo", 0, 0),
                        Special::Socket => ("socket", 0, 0),
                    };
                    field(kind.as_bytes());
                    field(&major.to_le_bytes());
                    field(&minor.to_le_bytes());
                }
                Content::HardLink(target) => {
                    field(b"hard link");
                    field(target);
                }
                Content::File { digest, size, .. } => {
                    field(b"file");
                    field(digest.as_bytes());
                    field(&size.to_le_bytes());
                }
            }
        }
        hasher.update(&pending);
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8], mtime: i64, mode: u16) -> Entry {
        let digest = Digest::of(content);
        let source = FileSource::Inline(content.into());
        Entry {
            metadata: Metadata { mode, mtime, ..Metadata::default() },
            content: Content::File { digest, size: content.len() as u64, source },
        }
    }

    fn digest(path: &[u8], entry: Entry) -> Digest {
        let mut arrangement = Arrangement::default();
        arrangement.insert(path.to_vec(), entry);
        arrangement.digest()
    }

    #[test]
    fn entries_are_in_order_however_they_come() {
        let paths = ["b", "", "a", "a/b", "a-b", "c", "a/a", "b", "a-b", "a/b"];
        let mut arrangement = Arrangement::default();
        for (number, path) in paths.iter().enumerate() {
            arrangement.insert(path.as_bytes().to_vec(), file(b"x", i64::try_from(number).unwrap(), 0o644));
        }
        let times: Vec<_> = arrangement.entries().map(|(path, entry)| (path, entry.metadata.mtime)).collect();
        let expected: [(&[u8], i64); 7] =
            [(b"", 1), (b"a", 2), (b"a-b", 8), (b"a/a", 6), (b"a/b", 9), (b"b", 7), (b"c", 5)];
        assert_eq!(times, expected);
        for (path, time) in expected {
            assert_eq!(arrangement.get(path).map(|entry| entry.metadata.mtime), Some(time));
        }
        assert!(arrangement.get(b"a/c").is_none() && arrangement.get(b"d").is_none());
    }

    #[test]
    fn a_touched_file_is_the_same_and_anything_else_is_not() {
        let base = digest(b"a", file(b"x", 1, 0o644));
        assert_eq!(base, digest(b"a", file(b"x", 2, 0o644)));
        assert_ne!(base, digest(b"a", file(b"y", 1, 0o644)));
        assert_ne!(base, digest(b"a", file(b"x", 1, 0o755)));
        assert_ne!(base, digest(b"b", file(b"x", 1, 0o644)));
    }
}
