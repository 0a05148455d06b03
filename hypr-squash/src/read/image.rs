//! An open image: its file, its checked superblock, its small tables and its caches.
//!
//! Nothing in an image is believed. An offset is compared with the bytes that are there before it is used, a length
//! before memory is set aside for it.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cache::Cache;
use super::claims::Claims;
use super::lookup_table::LookupTable;
use super::sidecar::Sidecar;
use super::xattrs::XattrTable;
use super::{Info, node};
use crate::compress::Decompressor;
use crate::format::{FragmentEntry, METADATA_SIZE, MetadataHeader, NO_TABLE, Position, Superblock, flags};
use crate::{BlockSize, CompressionId, Error, Table, Xattrs};

/// Decompressed metadata blocks kept, in each of two generations.
const METADATA_CACHE: usize = 512;
/// Decompressed fragment blocks kept, in each of two generations.
const FRAGMENT_CACHE: usize = 4;
/// Sets of extended attributes kept, in each of two generations; one has at most 1 MiB.
const XATTR_CACHE: usize = 8;

#[derive(Debug)]
pub(super) struct Image {
    pub(super) file: File,
    /// Bytes read so far, however often.
    pub(super) read: AtomicU64,
    pub(super) info: Info,
    /// Where data and fragment blocks may lie.
    pub(super) data: Range<u64>,
    pub(super) inodes: Range<u64>,
    pub(super) directories: Range<u64>,
    pub(super) root: node::Parsed,
    pub(super) sidecar: Sidecar,
    pub(super) claims: Mutex<Claims>,
    pub(super) xattrs: Option<XattrTable>,
    /// Sets of extended attributes by their index, so that inodes with the same share them.
    pub(super) xattr_sets: Mutex<Cache<Xattrs>>,
    ids: Vec<u32>,
    fragment_table: LookupTable,
    export_table: Option<LookupTable>,
    metadata: Mutex<Cache<MetadataBlock>>,
    fragments: Mutex<Cache<Arc<Vec<u8>>>>,
    decompressors: Mutex<Vec<Decompressor>>,
}

/// A decompressed metadata block and where the next one begins.
#[derive(Debug, Clone)]
pub(super) struct MetadataBlock {
    pub(super) bytes: Arc<[u8]>,
    pub(super) next: u64,
}

impl Image {
    pub(super) fn open(file: File, sidecar: Sidecar) -> Result<Arc<Self>, Error> {
        let length = file.metadata().map_err(Error::io("examine the image"))?.len();
        let mut bytes = [0; Superblock::SIZE];
        if length < bytes.len() as u64 {
            return Err(Error::NotSquashfs);
        }
        file.read_exact_at(&mut bytes, 0).map_err(Error::io("read the image"))?;
        let superblock = Superblock::from_bytes(&bytes).ok_or(Error::NotSquashfs)?;
        let (info, inodes) = check(&superblock, length)?;
        let mut image = Self {
            data: Superblock::SIZE as u64..inodes.start,
            directories: inodes.end..info.bytes_used,
            inodes,
            root: node::Parsed::default(),
            sidecar,
            claims: Mutex::default(),
            xattrs: None,
            xattr_sets: Mutex::new(Cache::new(XATTR_CACHE)),
            ids: Vec::new(),
            fragment_table: LookupTable::default(),
            export_table: None,
            metadata: Mutex::new(Cache::new(METADATA_CACHE)),
            fragments: Mutex::new(Cache::new(FRAGMENT_CACHE)),
            decompressors: Mutex::new(vec![Decompressor::new(info.compression)?]),
            file,
            read: AtomicU64::new(0),
            info,
        };
        image.load_tables(&superblock)?;
        let root = Position::from_reference(superblock.root);
        image.root = node::Parsed::read(&image, root)?;
        if !image.root.is_directory() {
            return Err(Error::corrupt(Table::Superblock, 32, "the root is not a directory"));
        }
        lock(&image.claims).claim_root(root);
        Ok(Arc::new(image))
    }

    fn load_tables(&mut self, superblock: &Superblock) -> Result<(), Error> {
        let entries = u64::from(superblock.ids);
        let ids = LookupTable::open(self, Table::Ids, superblock.id_table, entries, 4)?;
        self.ids = ids.read_all(self)?.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
        if superblock.fragments > 0 {
            let entries = u64::from(superblock.fragments);
            let size = FragmentEntry::SIZE;
            self.fragment_table = LookupTable::open(self, Table::Fragments, superblock.fragment_table, entries, size)?;
        }
        if superblock.xattr_table != NO_TABLE {
            self.xattrs = Some(XattrTable::open(self, superblock.xattr_table)?);
        }
        // The directory table ends where the next table begins, which depends on the tables there are.
        let mut ends = vec![ids.first_block()];
        if superblock.fragments > 0 {
            ends.push(self.fragment_table.first_block());
        }
        if superblock.export_table != NO_TABLE {
            let entries = u64::from(superblock.inodes);
            let table = LookupTable::open(self, Table::Export, superblock.export_table, entries, 8)?;
            ends.push(table.first_block());
            self.export_table = Some(table);
        }
        let end = ends.into_iter().filter(|&end| end > self.directories.start).min();
        self.directories.end = end.unwrap_or(self.directories.end);
        Ok(())
    }

    /// Reads stored bytes; `table` and `offset` are named when they are not there.
    pub(super) fn read_at(&self, table: Table, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let end = offset.checked_add(buffer.len() as u64).filter(|&end| end <= self.info.bytes_used);
        if end.is_none() {
            return Err(Error::corrupt(table, offset, "it lies beyond the end of the image"));
        }
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.read_exact_at(buffer, offset).map_err(Error::io("read the image"))
    }

    /// Decompresses what is stored at `offset`.
    pub(super) fn decompress(&self, table: Table, offset: u64, input: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
        let pooled = lock(&self.decompressors).pop();
        let mut decompressor = match pooled {
            Some(decompressor) => decompressor,
            None => Decompressor::new(self.info.compression)?,
        };
        let output = decompressor.decompress(input, limit);
        lock(&self.decompressors).push(decompressor);
        output.ok_or(Error::corrupt(table, offset, "a block does not decompress"))
    }

    /// The metadata block at `offset`, which with its header must end before `end`.
    pub(super) fn metadata_block(&self, table: Table, offset: u64, end: u64) -> Result<MetadataBlock, Error> {
        if offset.checked_add(MetadataHeader::SIZE as u64).is_none_or(|start| start > end) {
            return Err(Error::corrupt(table, offset, "a metadata block lies outside its table"));
        }
        if let Some(block) = lock(&self.metadata).get(offset) {
            return if block.next <= end {
                Ok(block)
            } else {
                Err(Error::corrupt(table, offset, "a metadata block lies outside its table"))
            };
        }
        let mut header = [0; MetadataHeader::SIZE];
        self.read_at(table, offset, &mut header)?;
        let header = MetadataHeader::from_bytes(header);
        let start = offset + MetadataHeader::SIZE as u64;
        let next = start + header.length() as u64;
        if header.length() == 0 || header.length() > METADATA_SIZE || next > end {
            return Err(Error::corrupt(table, offset, "a metadata block has an impossible length"));
        }
        let mut stored = vec![0; header.length()];
        self.read_at(table, start, &mut stored)?;
        let bytes =
            if header.is_compressed() { self.decompress(table, offset, &stored, METADATA_SIZE)? } else { stored };
        if bytes.is_empty() {
            return Err(Error::corrupt(table, offset, "a metadata block is empty"));
        }
        let block = MetadataBlock { bytes: bytes.into(), next };
        lock(&self.metadata).insert(offset, block.clone());
        Ok(block)
    }

    /// The user or group id at this index.
    pub(super) fn id(&self, index: u16) -> Option<u32> {
        self.ids.get(usize::from(index)).copied()
    }

    /// Where the export table says that an inode is; `None` when there is no such table.
    pub(super) fn export_reference(&self, number: u32) -> Result<Option<u64>, Error> {
        let Some(table) = &self.export_table else { return Ok(None) };
        table.entry(self, u64::from(number.wrapping_sub(1))).map(|bytes| Some(u64::from_le_bytes(bytes)))
    }

    /// An error about the entry of the export table for an inode, which names the block that it is in.
    pub(super) fn export_error(&self, number: u32) -> Error {
        let block = self.export_table.as_ref().and_then(|table| table.block_of(u64::from(number.wrapping_sub(1))));
        Error::corrupt(Table::Export, block.unwrap_or(0), "an entry leads to another inode")
    }

    pub(super) fn fragment_entry(&self, index: u32) -> Result<FragmentEntry, Error> {
        let entry = FragmentEntry::from_bytes(&self.fragment_table.entry(self, u64::from(index))?);
        let bytes = entry.size.bytes();
        let inside = self.data.contains(&entry.start)
            && entry.start.checked_add(u64::from(bytes)).is_some_and(|end| end <= self.data.end);
        if bytes == 0 || bytes > self.info.block_size.bytes() || !inside {
            return Err(Error::corrupt(Table::Fragments, entry.start, "a fragment block lies outside the data"));
        }
        Ok(entry)
    }

    pub(super) fn fragment(&self, index: u32) -> Result<Arc<Vec<u8>>, Error> {
        if let Some(bytes) = lock(&self.fragments).get(u64::from(index)) {
            return Ok(bytes);
        }
        let FragmentEntry { start, size } = self.fragment_entry(index)?;
        let mut stored = vec![0; size.bytes() as usize];
        self.read_at(Table::Fragments, start, &mut stored)?;
        let bytes = Arc::new(if size.is_compressed() {
            self.decompress(Table::Fragments, start, &stored, self.info.block_size.len())?
        } else {
            stored
        });
        lock(&self.fragments).insert(u64::from(index), Arc::clone(&bytes));
        Ok(bytes)
    }
}

/// A panic elsewhere leaves caches and pools usable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks the superblock against the file; returns what it says and where the inode table is.
fn check(superblock: &Superblock, length: u64) -> Result<(Info, Range<u64>), Error> {
    let corrupt = |offset, reason| Err(Error::corrupt(Table::Superblock, offset, reason));
    let (major, minor) = (superblock.major, superblock.minor);
    if (major, minor) != (Superblock::MAJOR, Superblock::MINOR) {
        return Err(Error::Version { major, minor });
    }
    let Some(compression) = CompressionId::from_number(superblock.compression) else {
        return Err(Error::Compression { name: superblock.compression.to_string() });
    };
    let Some(block_size) = BlockSize::new(superblock.block_size) else {
        return corrupt(12, "the block size is not a power of two from 4 KiB to 1 MiB");
    };
    if superblock.block_log != block_size.log2() {
        return corrupt(22, "the two block sizes differ");
    }
    if superblock.bytes_used > length {
        return corrupt(40, "the image is cut short");
    }
    let (inode_table, directory_table) = (superblock.inode_table, superblock.directory_table);
    if inode_table < Superblock::SIZE as u64
        || directory_table <= inode_table
        || directory_table >= superblock.bytes_used
    {
        return corrupt(64, "the tables are not in order");
    }
    if superblock.inodes == 0 {
        return corrupt(4, "there are no inodes");
    }
    if superblock.ids == 0 {
        return corrupt(26, "there are no ids");
    }
    let info = Info {
        compression,
        block_size,
        inodes: superblock.inodes,
        fragments: superblock.fragments,
        ids: superblock.ids,
        bytes_used: superblock.bytes_used,
        created: superblock.created,
        exportable: superblock.flags & flags::EXPORTABLE != 0 && superblock.export_table != NO_TABLE,
        xattrs: superblock.xattr_table != NO_TABLE,
    };
    Ok((info, inode_table..directory_table))
}
