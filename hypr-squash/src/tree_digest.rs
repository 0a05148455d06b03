//! The content digest: what a tree means, whatever the bytes of its image.
//!
//! It is BLAKE3, keyed to this purpose, over the entries of the tree in walk order: a directory before what is in it,
//! siblings in bytewise order of their names. Every field has a fixed size or its length before it. Modification
//! times at or after a given second count as zero, so that two runs of one command can mean the same.

use std::collections::HashMap;

use crate::{Digest, Error, Kind, Reader, Special, Xattrs};

/// The content digest of an image.
///
/// With the `volatile_from` that the image was written with it is [`Summary::content_digest`].
///
/// # Errors
/// Fails when the image is corrupt.
///
/// [`Summary::content_digest`]: crate::Summary::content_digest
pub fn content_digest(reader: &Reader, volatile_from: Option<i64>) -> Result<Digest, Error> {
    let mut hasher = TreeHasher::new(volatile_from);
    let mut first_names: HashMap<u32, Vec<u8>> = HashMap::new();
    for entry in reader.walk() {
        let (path, node) = entry?;
        if !node.is_directory() && node.nlink() > 1 {
            if let Some(first) = first_names.get(&node.inode_number()) {
                hasher.hard_link(&path, first);
                continue;
            }
            first_names.insert(node.inode_number(), path.clone());
        }
        let metadata = node.metadata()?;
        let attributes = Attributes {
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: metadata.mtime,
            xattrs: &metadata.xattrs,
        };
        match node.kind()? {
            Kind::Directory => hasher.entry(&path, &attributes, &Item::Directory),
            Kind::File { size } => {
                hasher.entry(&path, &attributes, &Item::File { size, digest: node.content_digest()? });
            }
            Kind::Symlink { target } => hasher.entry(&path, &attributes, &Item::Symlink(&target)),
            Kind::Special(special) => hasher.entry(&path, &attributes, &Item::Special(special)),
        }
    }
    Ok(hasher.finish())
}

/// Bytes that are hashed at once.
const GATHERED: usize = 64 << 10;

/// Takes the entries of a tree in walk order.
#[derive(Debug)]
pub(crate) struct TreeHasher {
    hasher: blake3::Hasher,
    volatile_from: Option<i64>,
    buffer: Vec<u8>,
}

/// What all inodes have.
#[derive(Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) xattrs: &'a Xattrs,
}

/// What an inode is.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    Directory,
    File { size: u64, digest: Digest },
    Symlink(&'a [u8]),
    Special(Special),
}

impl TreeHasher {
    pub(crate) fn new(volatile_from: Option<i64>) -> Self {
        let hasher = blake3::Hasher::new_derive_key("hypr-squash 2026 content digest 1");
        Self { hasher, volatile_from, buffer: Vec::new() }
    }

    pub(crate) fn entry(&mut self, path: &[u8], attributes: &Attributes<'_>, item: &Item<'_>) {
        self.bytes(path);
        let is_volatile = self.volatile_from.is_some_and(|from| attributes.mtime >= from);
        let mtime = if is_volatile { 0 } else { attributes.mtime };
        let (kind, major, minor) = match item {
            Item::Directory => (b'd', 0, 0),
            Item::File { .. } => (b'f', 0, 0),
            Item::Symlink(_) => (b'l', 0, 0),
            Item::Special(Special::BlockDevice { major, minor }) => (b'b', *major, *minor),
            Item::Special(Special::CharDevice { major, minor }) => (b'c', *major, *minor),
            Item::Special(Special::Fifo) => (b'p', 0, 0),
            Item::Special(Special::Socket) => (b's', 0, 0),
        };
        self.buffer.push(kind);
        self.buffer.extend_from_slice(&attributes.mode.to_le_bytes());
        for number in [attributes.uid, attributes.gid] {
            self.buffer.extend_from_slice(&number.to_le_bytes());
        }
        self.buffer.extend_from_slice(&mtime.to_le_bytes());
        self.buffer.extend_from_slice(&(attributes.xattrs.len() as u64).to_le_bytes());
        for (name, value) in attributes.xattrs {
            self.bytes(name);
            self.bytes(value);
        }
        match item {
            Item::Directory => {}
            Item::File { size, digest } => {
                self.buffer.extend_from_slice(&size.to_le_bytes());
                self.buffer.extend_from_slice(digest.as_bytes());
            }
            Item::Symlink(target) => self.bytes(target),
            Item::Special(_) => {
                self.buffer.extend_from_slice(&major.to_le_bytes());
                self.buffer.extend_from_slice(&minor.to_le_bytes());
            }
        }
        self.flush();
    }

    /// One more name of an inode, and the name it had first.
    pub(crate) fn hard_link(&mut self, path: &[u8], first: &[u8]) {
        self.bytes(path);
        self.buffer.push(b'h');
        self.bytes(first);
        self.flush();
    }

    pub(crate) fn finish(mut self) -> Digest {
        self.hasher.update(&self.buffer);
        self.hasher.finalize()
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.buffer.extend_from_slice(bytes);
    }

    /// Hashes what has gathered once it is enough to be hashed many chunks at a time.
    fn flush(&mut self) {
        if self.buffer.len() >= GATHERED {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }
}
