//! Reads structures that may straddle metadata blocks.

use std::ops::Range;

use super::image::{Image, MetadataBlock};
use crate::format::Position;
use crate::{Error, Table};

/// A place in a metadata table that moves forward as it is read.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    image: &'a Image,
    table: Table,
    range: Range<u64>,
    /// Byte offset of the current block in the image.
    start: u64,
    block: MetadataBlock,
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// Stands at `position` of the table that takes `range` of the image.
    pub(super) fn new(image: &'a Image, table: Table, range: Range<u64>, position: Position) -> Result<Self, Error> {
        let target = range.start.saturating_add(position.block);
        let outside = || Error::corrupt(table, target, "a reference points outside the table");
        let start = range.start.checked_add(position.block).filter(|&at| at < range.end).ok_or_else(outside)?;
        let block = image.metadata_block(table, start, range.end)?;
        let offset = usize::from(position.offset);
        if offset > block.bytes.len() {
            return Err(outside());
        }
        Ok(Self { image, table, range, start, block, offset })
    }

    /// Where the next byte comes from.
    pub(super) fn position(&self) -> Position {
        let offset = u16::try_from(self.offset).expect("a metadata block is at most 8 KiB");
        Position { block: self.start - self.range.start, offset }
    }

    /// Byte offset in the image of the current block, for errors.
    pub(super) fn offset(&self) -> u64 {
        self.start
    }

    pub(super) fn read(&mut self, mut buffer: &mut [u8]) -> Result<(), Error> {
        while !buffer.is_empty() {
            let available = self.available()?;
            let length = available.len().min(buffer.len());
            let (head, rest) = buffer.split_at_mut(length);
            head.copy_from_slice(&available[..length]);
            self.offset += length;
            buffer = rest;
        }
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads `length` bytes, setting memory aside only as they turn out to be there.
    pub(super) fn bytes(&mut self, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let available = self.available()?;
            let taken = available.len().min(length - bytes.len());
            bytes.extend_from_slice(&available[..taken]);
            self.offset += taken;
        }
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, mut length: usize) -> Result<(), Error> {
        while length > 0 {
            let taken = self.available()?.len().min(length);
            self.offset += taken;
            length -= taken;
        }
        Ok(())
    }

    /// The rest of the current block, or the whole next one; never empty.
    fn available(&mut self) -> Result<&[u8], Error> {
        if self.offset == self.block.bytes.len() {
            let next = self.block.next;
            if next >= self.range.end {
                return Err(Error::corrupt(self.table, self.start, "it ends too early"));
            }
            self.block = self.image.metadata_block(self.table, next, self.range.end)?;
            self.start = next;
            self.offset = 0;
        }
        Ok(&self.block.bytes[self.offset..])
    }
}
