//! The image file while it is written: appended to in order, hashed on the way.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::hash::FileHasher;
use crate::format::Superblock;
use crate::{Digest, Error, Reader};

/// Bytes gathered before they are hashed and written.
const BUFFER: usize = 256 << 10;

/// Appends to the image file, and remembers the hash of what it appended.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    hasher: FileHasher,
    buffer: Vec<u8>,
    /// Byte offset in the file where the buffer will go.
    flushed: u64,
}

impl Output {
    /// Begins behind the superblock.
    pub(super) fn new(file: File) -> Self {
        let flushed = Superblock::SIZE as u64;
        Self { file, hasher: FileHasher::new(), buffer: Vec::with_capacity(BUFFER), flushed }
    }

    /// Byte offset in the file of what is appended next.
    pub(super) fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() >= BUFFER {
            return self.write(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends stored bytes of another image.
    pub(super) fn append_from(&mut self, source: &Reader, offset: u64, length: u64) -> Result<(), Error> {
        self.append_pieces(offset, length, |_, offset, piece| source.read_raw(offset, piece))
    }

    /// Appends bytes that this file has already.
    pub(super) fn append_again(&mut self, offset: u64, length: u64) -> Result<(), Error> {
        self.append_pieces(offset, length, |output, offset, piece| {
            output.flush()?;
            output.file.read_exact_at(piece, offset).map_err(Error::io("read the image back"))
        })
    }

    fn append_pieces(
        &mut self,
        mut offset: u64,
        mut length: u64,
        mut read: impl FnMut(&mut Self, u64, &mut [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut piece = vec![0; usize::try_from(length).map_or(4 * BUFFER, |length| length.min(4 * BUFFER))];
        while length > 0 {
            let part = usize::try_from(length).map_or(piece.len(), |length| length.min(piece.len()));
            read(self, offset, &mut piece[..part])?;
            self.append(&piece[..part])?;
            offset += part as u64;
            length -= part as u64;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.write(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        written
    }

    /// Fills up to a multiple of 4 KiB, which block devices need, and puts the superblock in its place.
    ///
    /// Returns the digest and the length of the file.
    pub(super) fn finish(mut self, superblock: &Superblock) -> Result<(Digest, u64), Error> {
        let length = self.position().next_multiple_of(4096);
        let padding = usize::try_from(length - self.position()).expect("padding is less than 4 KiB");
        self.append(&vec![0; padding])?;
        self.flush()?;
        let superblock = superblock.to_bytes();
        self.file.write_all_at(&superblock, 0).map_err(Error::io("write the image"))?;
        Ok((self.hasher.finish(&superblock), length))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, self.flushed).map_err(Error::io("write the image"))?;
        self.hasher.update(bytes);
        self.flushed += bytes.len() as u64;
        Ok(())
    }
}
