//! What a layer will hold, decided before any file is read.
//!
//! COPY, ADD and WORKDIR first arrange: they look at the metadata of their sources and at what they stand on, and note
//! one entry a path. The arrangement is the step's cache key, because it is all that the layer depends on; only when
//! the cache does not have it are files opened.

use std::collections::BTreeMap;

use hypr_squash::{Metadata, Special};

use crate::digest::Digest;

/// One entry a path, relative to the root of the image, in bytewise order: a directory comes before what is in it.
#[derive(Debug, Default)]
pub(crate) struct Arrangement {
    entries: BTreeMap<Vec<u8>, Entry>,
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
    Tree(usize, Vec<u8>),
    /// Here.
    Inline(std::sync::Arc<[u8]>),
}

impl Arrangement {
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.entries.get(path)
    }

    pub(crate) fn insert(&mut self, path: Vec<u8>, entry: Entry) {
        self.entries.insert(path, entry);
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_slice(), entry))
    }

    /// Whether nothing but directories that exist below would be in the layer is for the caller to say; this is whether
    /// there is no entry at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A digest of all that the layer depends on, times left out: a touched file is the same file.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("hypr arrangement v1");
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for (path, Entry { metadata, content }) in &self.entries {
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
    fn a_touched_file_is_the_same_and_anything_else_is_not() {
        let base = digest(b"a", file(b"x", 1, 0o644));
        assert_eq!(base, digest(b"a", file(b"x", 2, 0o644)));
        assert_ne!(base, digest(b"a", file(b"y", 1, 0o644)));
        assert_ne!(base, digest(b"a", file(b"x", 1, 0o755)));
        assert_ne!(base, digest(b"b", file(b"x", 1, 0o644)));
    }
}
