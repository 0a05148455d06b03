//! The files of an OCI layout, in a directory or out of an archive.

use std::{
    fmt,
    io::{self, Read},
    path::Path,
};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

use super::BlobReader;

/// Files by their path in a layout.
pub(crate) trait Files: Send + Sync + fmt::Debug {
    /// Opens a regular file. [`io::ErrorKind::NotFound`] if there is none.
    fn open(&self, path: &str) -> io::Result<BlobReader>;

    /// Reads a file of at most `limit` bytes; [`io::ErrorKind::FileTooLarge`] if it has more.
    fn read(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }
}

impl Files for Dir {
    /// The handle keeps every path, and every link on the way, beneath the directory.
    fn open(&self, path: &str) -> io::Result<BlobReader> {
        // Opening a pipe would wait for a writer, and what is a pipe is not known before.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = self.open_with(Path::new(path), OpenOptions::new().read(true).custom_flags(flags))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Box::new(file.into_std()))
    }
}
