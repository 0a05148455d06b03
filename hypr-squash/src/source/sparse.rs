//! Reads files with holes without reading the holes.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// A file as a stream. Where the file system knows of a hole, zeros are made up.
///
/// What is a hole in the image is decided by the zeros alone; this only saves reading them.
#[derive(Debug)]
pub(super) struct SparseFile {
    file: File,
    length: u64,
    position: u64,
    /// The next data, when it is known; up to it there are zeros.
    data: Option<(u64, u64)>,
    is_sparse: bool,
}

impl SparseFile {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let is_sparse = metadata.blocks() < metadata.len() / 512;
        Ok(Self { file, length: metadata.len(), position: 0, data: None, is_sparse })
    }

    /// Finds the next data at or after the position.
    fn find(&mut self) -> io::Result<(u64, u64)> {
        if let Some(data) = self.data.filter(|data| self.position < data.1) {
            return Ok(data);
        }
        let everything = (self.position, u64::MAX);
        let data = if self.is_sparse && self.position < self.length {
            match seek(&self.file, SeekFrom::Data(self.position)) {
                Ok(start) => (start, seek(&self.file, SeekFrom::Hole(start)).unwrap_or(u64::MAX)),
                Err(Errno::NXIO) => (self.length, u64::MAX),
                Err(_) => everything,
            }
        } else {
            everything
        };
        self.data = Some(data);
        Ok(data)
    }
}

impl Read for SparseFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (start, end) = self.find()?;
        let until = if self.position < start { start } else { end };
        let room = usize::try_from(until - self.position).map_or(buffer.len(), |room| room.min(buffer.len()));
        let length = if self.position < start {
            buffer[..room].fill(0);
            room
        } else {
            self.file.read_at(&mut buffer[..room], self.position)?
        };
        self.position += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_read_as_zeros_wherever_they_are() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 << 20).unwrap();
        file.write_all_at(b"begin", 100_000).unwrap();
        file.write_all_at(b"middle", 2 << 20).unwrap();
        let mut expected = vec![0; 3 << 20];
        expected[100_000..100_005].copy_from_slice(b"begin");
        expected[2 << 20..(2 << 20) + 6].copy_from_slice(b"middle");
        let mut read = Vec::new();
        SparseFile::new(file).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == expected);
    }
}
