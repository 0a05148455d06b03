//! Reads the content of regular files, and finds where it is.

use std::io::{self, Read};
use std::sync::Arc;

use super::cursor::Cursor;
use super::image::{Image, lock};
use super::node::Parsed;
use crate::format::{Body, NO_FRAGMENT, StoredSize};
use crate::{Error, FileExtent, FragmentReference, Table};

/// Finds where the content of an inode is, and checks that all of it lies in the data area.
pub(super) fn extent(image: &Image, parsed: &Parsed) -> Result<FileExtent, Error> {
    let Body::File(file) = parsed.inode.body else { return Ok(FileExtent::default()) };
    let block_size = u64::from(image.info.block_size.bytes());
    let tail = u32::try_from(file.size % block_size).expect("a tail is shorter than a block");
    let has_fragment = file.fragment != NO_FRAGMENT && tail > 0;
    let count = if has_fragment { file.size / block_size } else { file.size.div_ceil(block_size) };
    let mut cursor = Cursor::new(image, Table::Inodes, image.inodes.clone(), parsed.tail)?;
    let corrupt = |reason| Error::corrupt(Table::Inodes, image.inodes.start + parsed.tail.block, reason);
    let mut blocks = Vec::new();
    let mut end = file.start;
    for _ in 0..count {
        let block = StoredSize::from_word(u32::from_le_bytes(cursor.array()?));
        if block.bytes() > image.info.block_size.bytes() || (block.bytes() == 0 && !block.is_hole()) {
            return Err(corrupt("a data block has an impossible length"));
        }
        end = end.checked_add(u64::from(block.bytes())).ok_or_else(|| corrupt("data lies outside the data area"))?;
        blocks.push(block);
    }
    if count > 0 && !lock(&image.claims).claim_tail(parsed.position, parsed.tail, cursor.position()) {
        return Err(corrupt("two inodes share a list of blocks"));
    }
    if end > file.start && (file.start < image.data.start || end > image.data.end) {
        return Err(corrupt("data lies outside the data area"));
    }
    let fragment = if has_fragment {
        let reference = FragmentReference { index: file.fragment, offset: file.fragment_offset, size: tail };
        let fits = reference.offset.checked_add(tail).is_some_and(|end| u64::from(end) <= block_size);
        if reference.index >= image.info.fragments || !fits {
            return Err(corrupt("a tail lies outside the fragment blocks"));
        }
        Some(reference)
    } else {
        None
    };
    Ok(FileExtent { size: file.size, start: file.start, blocks, fragment })
}

/// The content of a regular file as a stream. At most one block is held in memory.
#[derive(Debug)]
pub struct FileReader {
    image: Arc<Image>,
    extent: FileExtent,
    /// The next data block, and where it is stored.
    next: usize,
    offset: u64,
    /// Content bytes not yet loaded.
    rest: u64,
    current: Chunk,
    /// Bytes of the chunk already read.
    read: usize,
}

#[derive(Debug)]
enum Chunk {
    Bytes(Vec<u8>),
    Tail { block: Arc<Vec<u8>>, end: usize },
    Zeros(usize),
}

impl FileReader {
    pub(super) fn open(image: Arc<Image>, extent: FileExtent) -> Self {
        let (offset, rest) = (extent.start, extent.size);
        Self { image, extent, next: 0, offset, rest, current: Chunk::Zeros(0), read: 0 }
    }

    /// Content length in bytes.
    pub fn size(&self) -> u64 {
        self.extent.size
    }

    /// The content up to the next block boundary, without copying: bytes, or the length of a hole. `None` at the end.
    ///
    /// # Errors
    /// Fails when a block is corrupt.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>, Error> {
        if self.read == self.current.len() && !self.load()? {
            return Ok(None);
        }
        let from = std::mem::replace(&mut self.read, self.current.len());
        Ok(Some(match self.current.bytes() {
            Some(bytes) => Piece::Bytes(&bytes[from..]),
            None => Piece::Hole(self.read - from),
        }))
    }

    /// Loads the next chunk; `false` at the end.
    fn load(&mut self) -> Result<bool, Error> {
        if self.rest == 0 {
            return Ok(false);
        }
        let block_size = self.image.info.block_size.len();
        let wanted = usize::try_from(self.rest).map_or(block_size, |rest| rest.min(block_size));
        self.current = match self.extent.blocks.get(self.next) {
            Some(block) if block.is_hole() => Chunk::Zeros(wanted),
            Some(block) => Chunk::Bytes(self.data_block(*block, wanted)?),
            None => self.tail(wanted)?,
        };
        self.offset += self.extent.blocks.get(self.next).map_or(0, |block| u64::from(block.bytes()));
        self.next += 1;
        self.rest -= wanted as u64;
        self.read = match self.current {
            Chunk::Tail { end, .. } => end - wanted,
            _ => 0,
        };
        Ok(true)
    }

    fn data_block(&self, block: StoredSize, wanted: usize) -> Result<Vec<u8>, Error> {
        let mut stored = vec![0; block.bytes() as usize];
        self.image.read_at(Table::Data, self.offset, &mut stored)?;
        let bytes = if block.is_compressed() {
            self.image.decompress(Table::Data, self.offset, &stored, wanted)?
        } else {
            stored
        };
        if bytes.len() == wanted {
            Ok(bytes)
        } else {
            Err(Error::corrupt(Table::Data, self.offset, "a block has another length than its file needs"))
        }
    }

    fn tail(&self, wanted: usize) -> Result<Chunk, Error> {
        let lacking = Error::corrupt(Table::Data, self.offset, "a file lacks its tail");
        let fragment = self.extent.fragment.ok_or(lacking)?;
        let block = self.image.fragment(fragment.index)?;
        let end = fragment.offset as usize + wanted;
        if end > block.len() {
            let start = self.image.fragment_entry(fragment.index)?.start;
            return Err(Error::corrupt(Table::Fragments, start, "a tail ends beyond its fragment block"));
        }
        Ok(Chunk::Tail { block, end })
    }
}

/// A part of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Content as it is.
    Bytes(&'a [u8]),
    /// So many zero bytes, which the image does not store.
    Hole(usize),
}

impl Chunk {
    /// Bytes up to the end of the chunk, those before its beginning included.
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Tail { end, .. } => *end,
            Self::Zeros(length) => *length,
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Tail { block, end } => Some(&block[..*end]),
            Self::Zeros(_) => None,
        }
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.current.len() && !self.load().map_err(io::Error::other)? {
            return Ok(0);
        }
        let length = buffer.len().min(self.current.len() - self.read);
        match self.current.bytes() {
            Some(bytes) => buffer[..length].copy_from_slice(&bytes[self.read..self.read + length]),
            None => buffer[..length].fill(0),
        }
        self.read += length;
        Ok(length)
    }
}
