//! Inodes of an open image.

use std::sync::Arc;

use super::cursor::Cursor;
use super::directory::{Listed, Listing};
use super::file::{self, FileReader};
use super::image::{Image, lock};
use crate::format::{Body, DirectoryBody, DirectoryIndex, Inode, InodeType, NAME_MAX, NO_XATTRS, Position};
use crate::{Digest, Error, FileExtent, Metadata, Special, Table, Xattrs};

/// Longest link target that is read; no kernel follows longer ones than 4,095 bytes.
const TARGET_READ_MAX: u32 = 65_535;

/// The type of a node, without what belongs to the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

/// The type of a node with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Content length in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as stored.
        target: Vec<u8>,
    },
    /// A device, pipe or socket.
    Special(Special),
}

/// One inode of an image. It keeps the image open.
#[derive(Debug, Clone)]
pub struct Node {
    image: Arc<Image>,
    parsed: Parsed,
}

/// An inode and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    pub(super) inode: Inode,
    pub(super) position: Position,
    /// Where the part without a fixed size begins.
    pub(super) tail: Position,
}

impl Node {
    pub(super) fn root(image: &Arc<Image>) -> Self {
        Self { image: Arc::clone(image), parsed: image.root.clone() }
    }

    /// The inode that a reference of another table leads to.
    pub(super) fn at(image: &Arc<Image>, reference: u64) -> Result<Self, Error> {
        Ok(Self { image: Arc::clone(image), parsed: Parsed::read(image, Position::from_reference(reference))? })
    }

    /// The inode number, the same for all hard links of a file; 1 to [`Info::inodes`](crate::Info::inodes).
    pub fn inode_number(&self) -> u32 {
        self.parsed.inode.number
    }

    /// The number of names of this inode, as stored.
    pub fn nlink(&self) -> u32 {
        self.parsed.inode.nlink
    }

    /// The type of the node.
    pub fn file_type(&self) -> FileType {
        match self.parsed.inode.kind() {
            InodeType::Directory => FileType::Directory,
            InodeType::File => FileType::File,
            InodeType::Symlink => FileType::Symlink,
            InodeType::BlockDevice => FileType::BlockDevice,
            InodeType::CharDevice => FileType::CharDevice,
            InodeType::Fifo => FileType::Fifo,
            InodeType::Socket => FileType::Socket,
        }
    }

    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        self.parsed.is_directory()
    }

    /// Whether this is an overlayfs whiteout: the character device 0:0.
    pub fn is_whiteout(&self) -> bool {
        self.parsed.inode.body == Body::CharDevice(0)
    }

    /// Content length in bytes of a regular file, zero for everything else.
    pub fn size(&self) -> u64 {
        match &self.parsed.inode.body {
            Body::File(file) => file.size,
            _ => 0,
        }
    }

    /// The type with what belongs to it.
    ///
    /// # Errors
    /// Fails when a link target is corrupt.
    pub fn kind(&self) -> Result<Kind, Error> {
        Ok(match &self.parsed.inode.body {
            Body::Directory(_) => Kind::Directory,
            Body::File(file) => Kind::File { size: file.size },
            Body::Symlink(length) => {
                let mut cursor = Cursor::new(&self.image, Table::Inodes, self.image.inodes.clone(), self.parsed.tail)?;
                let target = cursor.bytes(*length as usize)?;
                if target.is_empty() || target.contains(&0) {
                    return Err(Error::corrupt(Table::Inodes, cursor.offset(), "a link target is not one"));
                }
                Kind::Symlink { target }
            }
            Body::BlockDevice(device) => {
                let (major, minor) = unpack_device(*device);
                Kind::Special(Special::BlockDevice { major, minor })
            }
            Body::CharDevice(device) => {
                let (major, minor) = unpack_device(*device);
                Kind::Special(Special::CharDevice { major, minor })
            }
            Body::Fifo => Kind::Special(Special::Fifo),
            Body::Socket => Kind::Special(Special::Socket),
        })
    }

    /// Permissions, owner, time and extended attributes.
    ///
    /// # Errors
    /// Fails when the owner or the extended attributes are corrupt.
    pub fn metadata(&self) -> Result<Metadata, Error> {
        let inode = &self.parsed.inode;
        Ok(Metadata {
            mode: inode.mode,
            uid: self.id(inode.uid_index)?,
            gid: self.id(inode.gid_index)?,
            mtime: i64::from(inode.mtime),
            xattrs: self.xattrs()?,
        })
    }

    /// The extended attributes alone.
    ///
    /// # Errors
    /// Fails when they are corrupt.
    pub fn xattrs(&self) -> Result<Xattrs, Error> {
        match (self.parsed.inode.xattr, &self.image.xattrs) {
            (NO_XATTRS, _) => Ok(Xattrs::new()),
            (index, Some(table)) => {
                if let Some(known) = lock(&self.image.xattr_sets).get(u64::from(index)) {
                    return Ok(known);
                }
                let set = table.read(&self.image, index)?;
                lock(&self.image.xattr_sets).insert(u64::from(index), set.clone());
                Ok(set)
            }
            (_, None) => Err(self.corrupt("an inode has extended attributes, the image has none")),
        }
    }

    /// The entries of a directory in bytewise order of their names; of another node, none.
    ///
    /// # Errors
    /// Fails when the listing is corrupt, or when a directory in it was already reached by another path: directories
    /// form a tree, so any walk ends.
    pub fn read_dir(&self) -> Result<Vec<(Vec<u8>, Self)>, Error> {
        let mut entries = Vec::new();
        let Some(mut listing) = self.listing()? else { return Ok(entries) };
        let start = listing.position();
        let corrupt = |offset, reason| Err(Error::corrupt(Table::Directories, offset, reason));
        let mut number = 0;
        while let Some(listed) = listing.next()? {
            let child = self.node(&listed)?;
            if child.is_directory() {
                let fresh = lock(&self.image.claims).claim_child(listed.inode, self.parsed.position, number);
                if !fresh {
                    return corrupt(listing.offset(), "a directory is in two places");
                }
            }
            number += 1;
            entries.push((listed.name, child));
        }
        if lock(&self.image.claims).claim_listing(self.parsed.position, start, listing.position()) {
            Ok(entries)
        } else {
            corrupt(listing.offset(), "two directories share entries")
        }
    }

    /// The entry of a directory with this name.
    ///
    /// # Errors
    /// Fails when the listing is corrupt.
    pub fn child(&self, name: &[u8]) -> Result<Option<Self>, Error> {
        let Some(mut listing) = self.listing_from(name)? else { return Ok(None) };
        while let Some(listed) = listing.next()? {
            if listed.name == name {
                return self.node(&listed).map(Some);
            }
            if listed.name.as_slice() > name {
                break;
            }
        }
        Ok(None)
    }

    /// Opens the content of a regular file; other nodes read as empty.
    ///
    /// # Errors
    /// Fails when the block list is corrupt.
    pub fn open(&self) -> Result<FileReader, Error> {
        Ok(FileReader::open(Arc::clone(&self.image), self.extent()?))
    }

    /// Where the content of a regular file is stored; of another node, an empty extent. Every offset and size in it
    /// has been checked to lie inside the data area.
    ///
    /// # Errors
    /// Fails when the block list is corrupt.
    pub fn extent(&self) -> Result<FileExtent, Error> {
        file::extent(&self.image, &self.parsed)
    }

    /// BLAKE3 of the content: from the sidecar index where it agrees with the inode, else by reading.
    ///
    /// # Errors
    /// Fails when the content cannot be read.
    pub fn content_digest(&self) -> Result<Digest, Error> {
        self.digest_of(&self.extent()?)
    }

    /// As [`content_digest`](Self::content_digest), for a caller who knows the extent already.
    pub(crate) fn digest_of(&self, extent: &FileExtent) -> Result<Digest, Error> {
        if let Some(digest) = self.indexed_digest(extent) {
            return Ok(digest);
        }
        let mut reader = FileReader::open(Arc::clone(&self.image), extent.clone());
        let mut hasher = blake3::Hasher::new();
        let mut zeros = Vec::new();
        while let Some(piece) = reader.next_piece()? {
            match piece {
                super::Piece::Bytes(bytes) => hasher.update(bytes),
                super::Piece::Hole(length) => {
                    zeros.resize(length, 0);
                    hasher.update(&zeros)
                }
            };
        }
        Ok(hasher.finalize())
    }

    /// The content's digest as far as the sidecar index knows it.
    pub(crate) fn indexed_digest(&self, extent: &FileExtent) -> Option<Digest> {
        self.image.sidecar.digest(self.inode_number(), extent)
    }

    /// The position of the inode as other tables have it.
    pub(crate) fn reference(&self) -> u64 {
        self.parsed.position.reference()
    }

    /// An error about this inode, which names the block of the table that it is in.
    pub(crate) fn corrupt(&self, reason: &'static str) -> Error {
        Error::corrupt(Table::Inodes, self.image.inodes.start + self.parsed.position.block, reason)
    }

    fn id(&self, index: u16) -> Result<u32, Error> {
        self.image.id(index).ok_or_else(|| self.corrupt("an inode refers to an id that is not there"))
    }

    /// Checks that the index of a long directory leads to the entries that it names.
    pub(crate) fn check_index(&self) -> Result<(), Error> {
        let Body::Directory(directory) = &self.parsed.inode.body else { return Ok(()) };
        let mut entries = Vec::new();
        self.search_index(|name, index| entries.push((name, index)))?;
        for (name, index) in entries {
            let first = Listing::open_at(&self.image, directory, index)?.next()?;
            if first.is_none_or(|first| first.name != name) {
                return Err(self.corrupt("the index of a directory names an entry that is not there"));
            }
        }
        Ok(())
    }

    /// The listing, from the last indexed place at or before `name`.
    fn listing_from(&self, name: &[u8]) -> Result<Option<Listing<'_>>, Error> {
        let mut found = None;
        self.search_index(|indexed, index| {
            if indexed.as_slice() <= name {
                found = Some(index);
            }
        })?;
        match (&self.parsed.inode.body, found) {
            (Body::Directory(directory), Some(index)) => Listing::open_at(&self.image, directory, index).map(Some),
            _ => self.listing(),
        }
    }

    fn search_index(&self, mut visit: impl FnMut(Vec<u8>, DirectoryIndex)) -> Result<(), Error> {
        let Body::Directory(directory) = &self.parsed.inode.body else { return Ok(()) };
        if directory.index_count == 0 {
            return Ok(());
        }
        let mut cursor = Cursor::new(&self.image, Table::Inodes, self.image.inodes.clone(), self.parsed.tail)?;
        for _ in 0..directory.index_count {
            let index = DirectoryIndex::from_bytes(&cursor.array()?);
            let index = index.filter(|index| index.name_length as usize <= NAME_MAX);
            let corrupt = Error::corrupt(Table::Inodes, cursor.offset(), "a directory index has an impossible name");
            let index = index.ok_or(corrupt)?;
            visit(cursor.bytes(index.name_length as usize)?, index);
        }
        if lock(&self.image.claims).claim_tail(self.parsed.position, self.parsed.tail, cursor.position()) {
            Ok(())
        } else {
            Err(self.corrupt("two inodes share a directory index"))
        }
    }

    fn listing(&self) -> Result<Option<Listing<'_>>, Error> {
        match &self.parsed.inode.body {
            Body::Directory(directory) => Listing::open(&self.image, directory),
            _ => Ok(None),
        }
    }

    fn node(&self, listed: &Listed) -> Result<Self, Error> {
        let parsed = Parsed::read(&self.image, listed.inode)?;
        if parsed.inode.number != listed.number || parsed.inode.kind() != listed.kind {
            let offset = self.image.inodes.start + listed.inode.block;
            return Err(Error::corrupt(Table::Inodes, offset, "an inode is not the one its entry names"));
        }
        Ok(Self { image: Arc::clone(&self.image), parsed })
    }
}

impl Parsed {
    pub(super) fn read(image: &Image, position: Position) -> Result<Self, Error> {
        let mut cursor = Cursor::new(image, Table::Inodes, image.inodes.clone(), position)?;
        let corrupt = |reason| Error::corrupt(Table::Inodes, image.inodes.start + position.block, reason);
        let header: [u8; Inode::HEADER_SIZE] = cursor.array()?;
        let (kind, extended) = InodeType::from_number(u16::from_le_bytes([header[0], header[1]]))
            .ok_or(corrupt("an inode has an unknown type"))?;
        let mut fixed = [0; 40];
        let fixed = &mut fixed[..kind.fixed_size(extended)];
        cursor.read(fixed)?;
        let mut inode = Inode::from_bytes(&header, fixed).ok_or(corrupt("an inode has an unknown type"))?;
        let tail = cursor.position();
        if let Body::Symlink(length) = inode.body {
            if length > TARGET_READ_MAX {
                return Err(corrupt("a link target is longer than 65,535 bytes"));
            }
            if extended {
                cursor.skip(length as usize)?;
                inode.xattr = u32::from_le_bytes(cursor.array()?);
            }
        }
        if inode.number == 0 || inode.number > image.info.inodes {
            return Err(corrupt("an inode number is out of range"));
        }
        Ok(Self { inode, position, tail })
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self.inode.body, Body::Directory(_))
    }
}

impl Default for Parsed {
    fn default() -> Self {
        let body = Body::Directory(DirectoryBody { start: 0, offset: 0, size: 0, parent: 0, index_count: 0 });
        let inode =
            Inode { mode: 0, uid_index: 0, gid_index: 0, mtime: 0, number: 0, nlink: 0, xattr: NO_XATTRS, body };
        Self { inode, position: Position::default(), tail: Position::default() }
    }
}

/// Major and minor number as the kernel packs them into 32 bits.
fn unpack_device(device: u32) -> (u32, u32) {
    ((device >> 8) & 0xfff, (device & 0xff) | (device >> 12 & 0xf_ff00))
}
