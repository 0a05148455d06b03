//! Tables of fixed-size entries: metadata blocks found through a list of their positions.

use super::image::Image;
use crate::format::METADATA_SIZE;
use crate::{Error, Table};

/// The list of block positions of a table; entries are read when they are asked for.
#[derive(Debug, Default)]
pub(super) struct LookupTable {
    table: Option<Table>,
    blocks: Vec<u64>,
    /// Where the list lies, which is where the last block must end.
    start: u64,
    entries: u64,
    entry_size: usize,
}

impl LookupTable {
    /// Reads the list at `start` for `entries` entries of `entry_size` bytes, a divisor of the metadata block size.
    pub(super) fn open(
        image: &Image,
        table: Table,
        start: u64,
        entries: u64,
        entry_size: usize,
    ) -> Result<Self, Error> {
        let count = entries.div_ceil((METADATA_SIZE / entry_size) as u64);
        // The list must fit the image before memory is set aside for it.
        let room = image.info.bytes_used.saturating_sub(start) / 8;
        if count > room {
            return Err(Error::corrupt(table, start, "it is longer than the image"));
        }
        let length = usize::try_from(count * 8).map_err(|_| Error::corrupt(table, start, "it is too long"))?;
        let mut bytes = vec![0; length];
        image.read_at(table, start, &mut bytes)?;
        let blocks: Vec<u64> = bytes.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes)).collect();
        if !blocks.is_sorted_by(|a, b| a < b) || blocks.last().is_some_and(|&last| last >= start) {
            return Err(Error::corrupt(table, start, "its blocks are not in order"));
        }
        Ok(Self { table: Some(table), blocks, start, entries, entry_size })
    }

    /// Byte offset of the first metadata block, or of the list when there is none.
    pub(super) fn first_block(&self) -> u64 {
        self.blocks.first().copied().unwrap_or(self.start)
    }

    /// Byte offset in the image of the metadata block that holds an entry.
    pub(super) fn block_of(&self, index: u64) -> Option<u64> {
        let per_block = (METADATA_SIZE / self.entry_size.max(1)) as u64;
        self.blocks.get(usize::try_from(index / per_block).ok()?).copied()
    }

    /// The entry at `index`.
    pub(super) fn entry<const N: usize>(&self, image: &Image, index: u64) -> Result<[u8; N], Error> {
        debug_assert!(self.table.is_none() || N == self.entry_size, "entries have one size");
        let table = self.table.unwrap_or(Table::Fragments);
        let missing = || Error::corrupt(table, self.start, "an entry is referred to that is not there");
        if index >= self.entries {
            return Err(missing());
        }
        let per_block = (METADATA_SIZE / self.entry_size) as u64;
        let at = usize::try_from(index / per_block).map_err(|_| missing())?;
        let block = image.metadata_block(table, *self.blocks.get(at).ok_or_else(missing)?, self.start)?;
        let offset = usize::try_from(index % per_block).map_err(|_| missing())? * self.entry_size;
        block.bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().ok_or_else(missing)
    }

    /// All entries in one piece; only for tables that are small by definition.
    pub(super) fn read_all(&self, image: &Image) -> Result<Vec<u8>, Error> {
        let table = self.table.unwrap_or(Table::Ids);
        let short = || Error::corrupt(table, self.start, "it has fewer entries than announced");
        let mut rest = usize::try_from(self.entries).map_err(|_| short())? * self.entry_size;
        let mut bytes = Vec::new();
        for &block in &self.blocks {
            let block = image.metadata_block(table, block, self.start)?;
            let wanted = rest.min(METADATA_SIZE);
            bytes.extend_from_slice(block.bytes.get(..wanted).ok_or_else(short)?);
            rest -= wanted;
        }
        Ok(bytes)
    }
}
