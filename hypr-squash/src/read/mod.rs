//! Reads images, foreign and hostile ones included.

mod cache;
mod claims;
mod cursor;
mod directory;
mod file;
mod image;
mod lookup_table;
mod node;
mod sidecar;
mod walk;
mod xattrs;

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use file::{FileReader, Piece};
use image::Image;
pub use node::{FileType, Kind, Node};
use sidecar::Sidecar;

pub use walk::Walk;

use zstd::zstd_safe;

use crate::{BlockSize, CompressionId, Error, FileExtent, FragmentEntry, Index, Table};

/// An open image. Clones share one set of caches and may be used from many threads.
#[derive(Debug, Clone)]
pub struct Reader {
    image: Arc<Image>,
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
    /// Whether the image has a table of extended attributes.
    pub xattrs: bool,
}

impl Reader {
    /// Opens an image.
    ///
    /// # Errors
    /// Fails when the file is not a squashfs 4.0 image, is cut short, or uses a compressor that is not supported.
    pub fn open(file: File) -> Result<Self, Error> {
        Image::open(file, Sidecar::of(None)).map(|image| Self { image })
    }

    /// Opens an image with its sidecar index, which spares reading content for [`Node::content_digest`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_index(file: File, index: Index) -> Result<Self, Error> {
        Image::open(file, Sidecar::of(Some(index))).map(|image| Self { image })
    }

    /// As [`open_with_index`](Self::open_with_index), with an index that is fetched when it is first needed; `load`
    /// returns `None` when it cannot be had.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_index_from(
        file: File,
        load: impl Fn() -> Option<Index> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Image::open(file, Sidecar::new(Box::new(load))).map(|image| Self { image })
    }

    /// What the superblock says.
    pub fn info(&self) -> &Info {
        &self.image.info
    }

    /// The root directory.
    pub fn root(&self) -> Node {
        Node::root(&self.image)
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

    /// All entries in walk order, the root first.
    pub fn walk(&self) -> Walk {
        Walk::new(self.root())
    }

    /// One entry of the fragment table; `index` counts from zero to [`Info::fragments`].
    ///
    /// # Errors
    /// Fails when the index or the entry is out of range.
    pub fn fragment_entry(&self, index: u32) -> Result<FragmentEntry, Error> {
        self.image.fragment_entry(index)
    }

    /// The decompressed content of a fragment block, at most one block size long. Recent ones are cached.
    ///
    /// # Errors
    /// Fails when the block is corrupt.
    pub fn fragment(&self, index: u32) -> Result<Arc<Vec<u8>>, Error> {
        self.image.fragment(index)
    }

    /// Bytes that a fragment block has when decompressed.
    ///
    /// A frame of zstd says so in its first bytes; other codecs must be asked.
    pub(crate) fn fragment_length(&self, index: u32) -> Result<u64, Error> {
        const FRAME_HEADER: u32 = 18;
        let entry = self.fragment_entry(index)?;
        if !entry.size.is_compressed() {
            return Ok(u64::from(entry.size.bytes()));
        }
        if self.info().compression == CompressionId::Zstd {
            let mut header = [0; FRAME_HEADER as usize];
            let header = &mut header[..entry.size.bytes().min(FRAME_HEADER) as usize];
            self.read_raw(entry.start, header)?;
            if let Ok(Some(length)) = zstd_safe::get_frame_content_size(header) {
                return Ok(length);
            }
        }
        Ok(self.fragment(index)?.len() as u64)
    }

    /// Reads stored bytes of the image as they are.
    ///
    /// # Errors
    /// Fails when the range is not wholly inside the image.
    pub fn read_raw(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.image.read_at(Table::Data, offset, buffer)
    }

    /// Bytes of the image that all clones of this reader have read so far: with [`Info::bytes_used`], how far something
    /// that reads everything once has come.
    pub fn bytes_read(&self) -> u64 {
        self.image.read.load(Ordering::Relaxed)
    }

    /// The file that holds the image, positioned anywhere.
    pub fn file(&self) -> &File {
        &self.image.file
    }

    /// The sidecar index, if the image was opened with one.
    pub fn index(&self) -> Option<&Index> {
        self.image.sidecar.index()
    }

    /// The inode with this number, through the export table; `None` when there is no such table.
    pub(crate) fn node(&self, number: u32) -> Result<Option<Node>, Error> {
        let Some(reference) = self.image.export_reference(number)? else { return Ok(None) };
        let node = Node::at(&self.image, reference)?;
        let found = (node.inode_number() == number).then_some(node);
        found.ok_or_else(|| self.image.export_error(number)).map(Some)
    }

    /// The inode that a reference of another table leads to.
    pub(crate) fn node_at(&self, reference: u64) -> Result<Node, Error> {
        Node::at(&self.image, reference)
    }

    /// An error about the entry of the export table for an inode.
    pub(crate) fn export_error(&self, number: u32) -> Error {
        self.image.export_error(number)
    }

    /// Opens the content at a place that a node of this image told.
    pub(crate) fn open_extent(&self, extent: FileExtent) -> FileReader {
        FileReader::open(Arc::clone(&self.image), extent)
    }

    /// Where the export table says that an inode is; `None` when there is no such table.
    pub(crate) fn export_reference(&self, number: u32) -> Result<Option<u64>, Error> {
        self.image.export_reference(number)
    }

    /// The bytes between superblock and tables, where data and fragment blocks lie.
    pub fn data_range(&self) -> Range<u64> {
        self.image.data.clone()
    }
}
