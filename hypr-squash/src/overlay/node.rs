//! One entry of the union: an inode of one layer, or directories of several that merge.

use std::collections::BTreeMap;

use super::{View, Walk};
use crate::read::Node as Inode;
use crate::{Digest, Error, FileReader, FileType, Kind, Metadata, Xattrs};

/// Marks a directory that hides what lower layers have in it.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// Attributes with these prefixes are notes of overlayfs to itself.
const PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// A file, directory, link or device of a stack of layers.
#[derive(Debug, Clone)]
pub struct Node {
    /// With its layer, the inode that is seen, then the directories below it that merge with it. Only the root of
    /// no layers at all has none.
    inodes: Vec<(usize, Inode)>,
    /// Whether a directory hides what layers below all of these have in it.
    opaque: bool,
    view: View,
}

/// Which inode of which layer a node shows: equal for the hard links of a file, which never span layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Index of the layer, counted from the lowest.
    pub layer: usize,
    /// Inode number in that layer.
    pub inode: u32,
}

impl Node {
    pub(super) fn root(roots: impl Iterator<Item = (usize, Inode)>, view: View) -> Result<Self, Error> {
        let mut union = Union::default();
        for (layer, inode) in roots {
            union.offer(layer, inode)?;
        }
        Ok(Self { inodes: union.inodes, opaque: union.opaque, view })
    }

    /// The type of the node.
    pub fn file_type(&self) -> FileType {
        self.inodes.first().map_or(FileType::Directory, |(_, inode)| inode.file_type())
    }

    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    /// Whether this is the deletion of something in lower layers; those show in [`Overlay::part`] only.
    ///
    /// [`Overlay::part`]: super::Overlay::part
    pub fn is_whiteout(&self) -> bool {
        self.inodes.first().is_some_and(|(_, inode)| inode.is_whiteout())
    }

    /// Whether this is a directory that hides what lies below all layers of the stack.
    pub fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// The type with what belongs to it.
    ///
    /// # Errors
    /// Fails when a link target is corrupt.
    pub fn kind(&self) -> Result<Kind, Error> {
        self.inodes.first().map_or(Ok(Kind::Directory), |(_, inode)| inode.kind())
    }

    /// Content length in bytes of a regular file, zero for everything else.
    pub fn size(&self) -> u64 {
        self.inodes.first().map_or(0, |(_, inode)| inode.size())
    }

    /// Permissions, owner, time and extended attributes, without those of overlayfs except for the mark of an opaque
    /// directory in [`Overlay::part`].
    ///
    /// # Errors
    /// Fails when they are corrupt, or when they say that the inode's data is elsewhere.
    ///
    /// [`Overlay::part`]: super::Overlay::part
    pub fn metadata(&self) -> Result<Metadata, Error> {
        let Some((_, inode)) = self.inodes.first() else {
            return Ok(Metadata { mode: 0o755, ..Metadata::default() });
        };
        let mut metadata = inode.metadata()?;
        check(&metadata.xattrs)?;
        metadata.xattrs.keep_if(|name| !PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
        if self.opaque && self.view == View::Part {
            metadata.xattrs.insert(OPAQUE.to_vec(), b"y".to_vec());
        }
        Ok(metadata)
    }

    /// Opens the content of a regular file; other nodes read as empty.
    ///
    /// # Errors
    /// Fails when the block list is corrupt, and with [`Error::Path`] for the root of no layers.
    pub fn open(&self) -> Result<FileReader, Error> {
        self.inode().ok_or(Error::path(b"", "it is a directory"))?.open()
    }

    /// BLAKE3 of a regular file's content.
    ///
    /// # Errors
    /// Fails when the content cannot be read, and with [`Error::Path`] for the root of no layers.
    pub fn content_digest(&self) -> Result<Digest, Error> {
        self.inode().ok_or(Error::path(b"", "it is a directory"))?.content_digest()
    }

    /// Which inode of which layer is seen; `None` for the root of no layers.
    pub fn identity(&self) -> Option<Identity> {
        self.inodes.first().map(|(layer, inode)| Identity { layer: *layer, inode: inode.inode_number() })
    }

    /// Index of the layer that the inode is from, counted from the lowest; `None` for the root of no layers.
    pub fn layer(&self) -> Option<usize> {
        self.inodes.first().map(|(layer, _)| *layer)
    }

    /// The inode that is seen, as its layer has it; `None` for the root of no layers.
    pub fn inode(&self) -> Option<&Inode> {
        self.inodes.first().map(|(_, inode)| inode)
    }

    /// The entries of a directory in bytewise order of their names; of another node, none.
    ///
    /// # Errors
    /// Fails when the listing of a layer is corrupt.
    pub fn read_dir(&self) -> Result<Vec<(Vec<u8>, Self)>, Error> {
        if !self.is_directory() {
            return Ok(Vec::new());
        }
        if let [(layer, directory)] = &self.inodes[..] {
            let seen = |(name, inode)| {
                let mut union = Union::default();
                union.offer(*layer, inode).map(|()| union.seen(self.view).map(|node| (name, node))).transpose()
            };
            return directory.read_dir()?.into_iter().filter_map(seen).collect();
        }
        let mut entries: BTreeMap<Vec<u8>, Union> = BTreeMap::new();
        for (layer, directory) in &self.inodes {
            for (name, inode) in directory.read_dir()? {
                entries.entry(name).or_default().offer(*layer, inode)?;
            }
        }
        Ok(entries.into_iter().filter_map(|(name, union)| Some((name, union.seen(self.view)?))).collect())
    }

    /// This node as `path` and everything below it, in the order of [`Overlay::walk`].
    ///
    /// [`Overlay::walk`]: super::Overlay::walk
    pub fn walk(&self, path: &[u8]) -> Walk {
        Walk::new(path, Ok(self.clone()))
    }

    /// The entry of a directory with this name.
    ///
    /// # Errors
    /// Fails when the listing of a layer is corrupt.
    pub fn child(&self, name: &[u8]) -> Result<Option<Self>, Error> {
        if !self.is_directory() {
            return Ok(None);
        }
        let mut union = Union::default();
        for (layer, directory) in &self.inodes {
            if union.closed {
                break;
            }
            if let Some(inode) = directory.child(name)? {
                union.offer(*layer, inode)?;
            }
        }
        Ok(union.seen(self.view))
    }
}

/// What layers have at one path, offered from the highest to the lowest.
#[derive(Default)]
struct Union {
    inodes: Vec<(usize, Inode)>,
    opaque: bool,
    /// Whether lower layers have no say any more.
    closed: bool,
}

impl Union {
    fn offer(&mut self, layer: usize, inode: Inode) -> Result<(), Error> {
        if self.closed {
            return Ok(());
        }
        let first = self.inodes.is_empty();
        if inode.is_directory() {
            let xattrs = inode.xattrs()?;
            check(&xattrs)?;
            self.opaque = is_opaque(&xattrs);
            self.closed = self.opaque;
            self.inodes.push((layer, inode));
        } else {
            // Below a directory, it still ends what the directory merges with.
            self.closed = true;
            self.opaque = !first;
            if first {
                self.inodes.push((layer, inode));
            }
        }
        Ok(())
    }

    fn seen(self, view: View) -> Option<Node> {
        let (_, top) = self.inodes.first()?;
        let hidden = view == View::Whole && top.is_whiteout();
        (!hidden).then_some(Node { inodes: self.inodes, opaque: self.opaque, view })
    }
}

fn is_opaque(xattrs: &Xattrs) -> bool {
    PREFIXES.iter().any(|prefix| xattrs.get(&[prefix, &b"opaque"[..]].concat()).is_some_and(|value| value == b"y"))
}

/// Refuses notes of overlayfs that change what an inode means.
fn check(xattrs: &Xattrs) -> Result<(), Error> {
    for (name, value) in xattrs {
        let Some(note) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(*prefix)) else { continue };
        let reason = match note {
            b"redirect" => "it is a renamed directory of overlayfs (redirect_dir)",
            b"metacopy" => "it is a file of overlayfs without its data (metacopy)",
            b"whiteout" => "it is a whiteout of overlayfs in the form of a file",
            b"opaque" if value == b"x" => "it is a directory of overlayfs with whiteouts in the form of files",
            _ => continue,
        };
        return Err(Error::Merge { path: Vec::new(), reason });
    }
    Ok(())
}
