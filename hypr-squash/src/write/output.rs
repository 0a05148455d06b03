//! The image file while it is written: appended to in order, hashed on the way.

use std::fs::File;
use std::os::unix::fs::FileExt;

use blake3::hazmat::ChainingValue;

use super::copy::Copiers;
use super::hash::{FileHasher, GROUP};
use crate::format::Superblock;
use crate::{Digest, Error, Reader};

/// Bytes gathered before they are hashed and written.
const BUFFER: usize = GROUP;
/// Bytes of another image that are worth a thread that reads them.
const LONG: u64 = 16 * GROUP as u64;

/// Appends to the image file, and remembers the hash of what it appended.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    hasher: FileHasher,
    buffer: Vec<u8>,
    /// What was read last of another image. As small as the buffer, so that reading, hashing and writing it find it in
    /// a core's own cache.
    piece: Vec<u8>,
    /// Byte offset in the file where the buffer will go.
    flushed: u64,
    /// Threads beside this one that read and hash what is copied.
    copiers: usize,
}

impl Output {
    /// Begins behind the superblock. Where much is copied, so many threads help.
    pub(super) fn new(file: File, copiers: usize) -> Self {
        let flushed = Superblock::SIZE as u64;
        Self {
            file,
            hasher: FileHasher::new(),
            buffer: Vec::with_capacity(BUFFER),
            piece: Vec::new(),
            flushed,
            copiers,
        }
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

    /// Takes over the bytes up to `end` that the file has already, whose whole groups behind the first have these hashes,
    /// and goes on behind them. What was appended so far is among them.
    pub(super) fn keep(&mut self, end: u64, groups: &[ChainingValue]) -> Result<(), Error> {
        self.buffer.clear();
        let read = Error::io("read the earlier image");
        let mut head = vec![0; GROUP];
        let whole = usize::try_from(end / GROUP as u64).unwrap_or(usize::MAX);
        let known = whole.checked_sub(1).and_then(|whole| groups.get(..whole));
        let known =
            known.ok_or(Error::Merge { path: Vec::new(), reason: "too little of the earlier image is known" })?;
        let mut rest = vec![0; usize::try_from(end % GROUP as u64).expect("a group fits into memory")];
        let (file, start) = (&self.file, end - rest.len() as u64);
        let got = file.read_exact_at(&mut head, 0).and_then(|()| file.read_exact_at(&mut rest, start));
        got.map_err(read)?;
        self.hasher = FileHasher::resume(head, known);
        self.hasher.update(&rest);
        self.flushed = end;
        self.file.set_len(end).map_err(Error::io("write the image"))
    }

    /// Drops what the file held before; what was appended is still in the buffer.
    pub(super) fn empty(&mut self) -> Result<(), Error> {
        self.file.set_len(0).map_err(Error::io("write the image"))
    }

    /// Appends stored bytes of another image.
    pub(super) fn append_from(&mut self, source: &Reader, offset: u64, length: u64) -> Result<(), Error> {
        let append = |output: &mut Self, offset, length| {
            output.append_pieces(offset, length, |_, offset, piece| source.read_raw(offset, piece))
        };
        if length < LONG || self.copiers == 0 {
            return append(self, offset, length);
        }
        // Groups of the file are hashed by those who read them; what is before the first and behind the last, here.
        let head = self.position().next_multiple_of(GROUP as u64) - self.position();
        append(self, offset, head)?;
        self.flush()?;
        let groups = (length - head) / GROUP as u64;
        let copiers = Copiers { source, offset: offset + head, target: self.flushed, groups, threads: self.copiers };
        copiers.run(|bytes, groups| {
            self.file.write_all_at(bytes, self.flushed).map_err(Error::io("write the image"))?;
            groups.iter().for_each(|group| self.hasher.push(*group));
            self.flushed += bytes.len() as u64;
            Ok(())
        })?;
        let copied = head + groups * GROUP as u64;
        append(self, offset + copied, length - copied)
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
        let mut piece = std::mem::take(&mut self.piece);
        piece.resize(BUFFER, 0);
        while length > 0 {
            let part = usize::try_from(length).map_or(piece.len(), |length| length.min(piece.len()));
            read(self, offset, &mut piece[..part])?;
            self.append(&piece[..part])?;
            offset += part as u64;
            length -= part as u64;
        }
        self.piece = piece;
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
    /// Returns the digest of the file, the hashes of its whole groups behind the first, and its length.
    pub(super) fn finish(mut self, superblock: &Superblock) -> Result<(Digest, Vec<ChainingValue>, u64), Error> {
        let length = self.position().next_multiple_of(4096);
        let padding = usize::try_from(length - self.position()).expect("padding is less than 4 KiB");
        self.append(&vec![0; padding])?;
        self.flush()?;
        let superblock = superblock.to_bytes();
        self.file.write_all_at(&superblock, 0).map_err(Error::io("write the image"))?;
        let (digest, groups) = self.hasher.finish(&superblock);
        Ok((digest, groups, length))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, self.flushed).map_err(Error::io("write the image"))?;
        self.hasher.update(bytes);
        self.flushed += bytes.len() as u64;
        Ok(())
    }
}
