//! Reads images, foreign and hostile ones included.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use crate::{BlockSize, CompressionId, Digest, Error, FileExtent, FragmentEntry, Index, Metadata, Special, Xattrs};

/// An open image. Clones share one set of caches and may be used from many threads.
#[derive(Debug, Clone)]
pub struct Reader {
    inner: Arc<Image>,
}

#[derive(Debug)]
struct Image {
    file: File,
    info: Info,
    index: Option<Index>,
}

/// What the superblock says about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The compressor of all blocks.
    pub compression: CompressionId,
    /// Bytes per data block.
    pub block_size: BlockSize,
    /// Number of inodes.
    pub inodes: u32,
    /// Number of fragment blocks.
    pub fragments: u32,
    /// Number of different user and group ids.
    pub ids: u16,
    /// Bytes of the image without padding.
    pub bytes_used: u64,
    /// When the image was made, in seconds since 1970; zero in images of this crate.
    pub created: u32,
    /// Whether the image has an export table, which network file systems need.
    pub exportable: bool,
    /// Whether extended attributes can be stored in the image.
    pub xattrs: bool,
}

impl Reader {
    /// Opens an image.
    ///
    /// # Errors
    /// Fails when the file is not a squashfs 4.0 image, is cut short, or uses a compressor that is not supported.
    pub fn open(file: File) -> Result<Self, Error> {
        Self::open_with(file, None)
    }

    /// Opens an image with its sidecar index, which spares reading content for [`Node::content_digest`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_index(file: File, index: Index) -> Result<Self, Error> {
        Self::open_with(file, Some(index))
    }

    fn open_with(_file: File, _index: Option<Index>) -> Result<Self, Error> {
        Err(Error::NotSquashfs)
    }

    /// What the superblock says.
    pub fn info(&self) -> &Info {
        &self.inner.info
    }

    /// The root directory.
    pub fn root(&self) -> Node {
        Node { image: Arc::clone(&self.inner), number: 0, nlink: 0, file_type: FileType::Directory, size: 0 }
    }

    /// The node at `path`, which is relative and without `.` and `..`; symbolic links are not followed. `b""` is the
    /// root.
    ///
    /// # Errors
    /// Fails when a directory on the way is corrupt. A path that does not exist is `None`.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Node>, Error> {
        let mut node = self.root();
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            match node.child(name)? {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    /// One entry of the fragment table; `index` counts from zero to [`Info::fragments`].
    ///
    /// # Errors
    /// Fails when the index or the entry is out of range.
    pub fn fragment_entry(&self, _index: u32) -> Result<FragmentEntry, Error> {
        Err(Error::NotSquashfs)
    }

    /// The decompressed content of a fragment block, at most one block size long. Recent ones are cached.
    ///
    /// # Errors
    /// Fails when the block is corrupt.
    pub fn fragment(&self, _index: u32) -> Result<Arc<[u8]>, Error> {
        Err(Error::NotSquashfs)
    }

    /// Reads stored bytes of the image as they are.
    ///
    /// # Errors
    /// Fails when the range is not wholly inside the image.
    pub fn read_raw(&self, _offset: u64, _buffer: &mut [u8]) -> Result<(), Error> {
        Err(Error::NotSquashfs)
    }

    /// The file that holds the image, positioned anywhere.
    pub fn file(&self) -> &File {
        &self.inner.file
    }

    /// The sidecar index given to [`open_with_index`](Self::open_with_index).
    pub fn index(&self) -> Option<&Index> {
        self.inner.index.as_ref()
    }

    /// The bytes between superblock and tables, where data and fragment blocks lie.
    pub fn data_range(&self) -> Range<u64> {
        0..0
    }
}

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
    number: u32,
    nlink: u32,
    file_type: FileType,
    size: u64,
}

impl Node {
    /// The inode number, the same for all hard links of a file.
    pub fn inode_number(&self) -> u32 {
        self.number
    }

    /// The number of names of this inode, as stored.
    pub fn nlink(&self) -> u32 {
        self.nlink
    }

    /// The type of the node.
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        self.file_type == FileType::Directory
    }

    /// Content length in bytes of a regular file, zero for everything else.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The type with what belongs to it.
    ///
    /// # Errors
    /// Fails when a link target is corrupt.
    pub fn kind(&self) -> Result<Kind, Error> {
        Ok(Kind::Directory)
    }

    /// Whether this is an overlayfs whiteout: the character device 0:0.
    pub fn is_whiteout(&self) -> bool {
        false
    }

    /// Permissions, owner, time and extended attributes.
    ///
    /// # Errors
    /// Fails when the owner or the extended attributes are corrupt.
    pub fn metadata(&self) -> Result<Metadata, Error> {
        Ok(Metadata::default())
    }

    /// The extended attributes alone.
    ///
    /// # Errors
    /// Fails when they are corrupt.
    pub fn xattrs(&self) -> Result<Xattrs, Error> {
        Ok(Xattrs::default())
    }

    /// The entries of a directory in bytewise order of their names; of another node, none.
    ///
    /// # Errors
    /// Fails when the listing is corrupt, or when a directory in it was already reached by another path: directories
    /// form a tree, so any walk ends.
    pub fn read_dir(&self) -> Result<Vec<(Vec<u8>, Self)>, Error> {
        Err(Error::NotSquashfs)
    }

    /// The entry of a directory with this name.
    ///
    /// # Errors
    /// Fails when the listing is corrupt.
    pub fn child(&self, _name: &[u8]) -> Result<Option<Self>, Error> {
        Err(Error::NotSquashfs)
    }

    /// Opens the content of a regular file; other nodes read as empty.
    ///
    /// # Errors
    /// Fails when the block list is corrupt.
    pub fn open(&self) -> Result<FileReader, Error> {
        Err(Error::NotSquashfs)
    }

    /// Where the content of a regular file is stored; of another node, an empty extent. Every offset and size in it
    /// has been checked to lie inside the data area.
    ///
    /// # Errors
    /// Fails when the block list is corrupt.
    pub fn extent(&self) -> Result<FileExtent, Error> {
        Err(Error::NotSquashfs)
    }

    /// BLAKE3 of the content: from the sidecar index where it agrees with the inode, else by reading.
    ///
    /// # Errors
    /// Fails when the content cannot be read.
    pub fn content_digest(&self) -> Result<Digest, Error> {
        Err(Error::NotSquashfs)
    }
}

/// The content of a regular file as a stream.
#[derive(Debug)]
pub struct FileReader {
    node: Node,
}

impl FileReader {
    /// Content length in bytes.
    pub fn size(&self) -> u64 {
        self.node.size
    }
}

impl Read for FileReader {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}
