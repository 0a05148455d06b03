//! Compresses a table into metadata blocks as it grows.

use super::output::Output;
use crate::compress::Compressor;
use crate::format::{METADATA_SIZE, MetadataHeader, Position};
use crate::{Codec, Error};

/// A table in memory, all but its last block compressed.
#[derive(Debug)]
pub(super) struct MetadataWriter {
    compressor: Compressor,
    pending: Vec<u8>,
    stored: Vec<u8>,
    /// Offsets of the stored blocks from the start of the table.
    blocks: Vec<u64>,
}

impl MetadataWriter {
    pub(super) fn new(codec: Codec) -> Result<Self, Error> {
        let compressor = Compressor::new(codec)?;
        Ok(Self { compressor, pending: Vec::with_capacity(METADATA_SIZE), stored: Vec::new(), blocks: Vec::new() })
    }

    /// Where the next byte will be.
    pub(super) fn position(&self) -> Position {
        let offset = u16::try_from(self.pending.len()).expect("a metadata block is at most 8 KiB");
        Position { block: self.stored.len() as u64, offset }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(METADATA_SIZE - self.pending.len()));
            self.pending.extend_from_slice(part);
            bytes = rest;
            if self.pending.len() == METADATA_SIZE {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Appends the table to the image. Returns its first byte and that of each block.
    pub(super) fn finish(mut self, output: &mut Output) -> Result<(u64, Vec<u64>), Error> {
        self.flush()?;
        let start = output.position();
        output.append(&self.stored)?;
        Ok((start, self.blocks.into_iter().map(|block| start + block).collect()))
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        // References hold 32 bits of block offset in most places.
        let start = u32::try_from(self.stored.len());
        let start =
            start.map_err(|_| Error::Limit { what: "bytes of a metadata table", limit: u64::from(u32::MAX) })?;
        self.blocks.push(u64::from(start));
        let compressed = self.compressor.compress(&self.pending)?;
        let is_compressed = compressed.is_some();
        let bytes = compressed.unwrap_or(&self.pending);
        self.stored.extend_from_slice(&MetadataHeader::new(bytes.len(), is_compressed).to_bytes());
        self.stored.extend_from_slice(bytes);
        self.pending.clear();
        Ok(())
    }
}

/// Writes a table of fixed-size entries with the list of its blocks; returns where the list is.
pub(super) fn write_lookup_table(output: &mut Output, codec: Codec, entries: &[u8]) -> Result<(u64, u64), Error> {
    let mut table = MetadataWriter::new(codec)?;
    table.write(entries)?;
    let (start, blocks) = table.finish(output)?;
    let list = output.position();
    write_list(output, &blocks)?;
    Ok((start, list))
}

/// Writes the positions of blocks.
pub(super) fn write_list(output: &mut Output, blocks: &[u64]) -> Result<(), Error> {
    let bytes: Vec<u8> = blocks.iter().flat_map(|block| block.to_le_bytes()).collect();
    output.append(&bytes)
}
