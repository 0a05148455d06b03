//! Makes images.

use std::fs::File;
use std::io::Read;
use std::ops::Range;

use crate::{Digest, Error, Index, Metadata, Options, Reader, Special, StoredSize};

/// Makes one image from entries given in any order.
///
/// Paths are relative, without leading or trailing slash; `b""` is the root. A second entry at a path replaces the
/// first; a directory on a directory takes the new metadata and keeps its children. Parents that were never added
/// are directories of mode 0755, owned by root, of time zero.
#[derive(Debug)]
pub struct Writer {
    _file: File,
    options: Options,
}

/// What [`Writer::add_file`] read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileInfo {
    /// Content length in bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub digest: Digest,
}

/// What an image turned out to be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Summary {
    /// BLAKE3 of all bytes of the file.
    pub file_digest: Digest,
    /// BLAKE3 of the canonical tree: what the image means, whatever its bytes.
    pub content_digest: Digest,
    /// Bytes of the file, padding included.
    pub bytes: u64,
    /// Number of inodes.
    pub inodes: u32,
    /// Bytes of data that no inode refers to any more, because their entry was replaced. A merge of the image alone
    /// leaves them out.
    pub dead_bytes: u64,
    /// Bytes of content that were stored once for several files.
    pub duplicate_bytes: u64,
    /// Content and place of every regular file.
    pub index: Index,
}

impl Writer {
    /// Begins an image in an empty file that is open for reading and writing.
    ///
    /// # Errors
    /// Fails when threads cannot be started.
    pub fn create(file: File, options: Options) -> Result<Self, Error> {
        Ok(Self { _file: file, options })
    }

    /// The options given at the start.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Adds a directory, or gives a present one new metadata.
    ///
    /// # Errors
    /// Fails on an invalid path, on extended attributes that the format cannot hold, or when the image cannot be
    /// written.
    pub fn add_directory(&mut self, _path: &[u8], _metadata: &Metadata) -> Result<(), Error> {
        Err(Error::Poisoned)
    }

    /// Adds a regular file with all that `content` yields.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory), and when `content` fails.
    pub fn add_file(&mut self, _path: &[u8], _: &Metadata, _content: &mut dyn Read) -> Result<FileInfo, Error> {
        Err(Error::Poisoned)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory), and when the target is empty or over 4,095 bytes.
    pub fn add_symlink(&mut self, _path: &[u8], _: &Metadata, _target: &[u8]) -> Result<(), Error> {
        Err(Error::Poisoned)
    }

    /// Adds a device, pipe or socket.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory), and when a device number is out of range.
    pub fn add_special(&mut self, _path: &[u8], _metadata: &Metadata, _special: Special) -> Result<(), Error> {
        Err(Error::Poisoned)
    }

    /// Adds one more name for the inode at `target`, which must exist and not be a directory.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory), and when there is nothing to link to.
    pub fn add_hard_link(&mut self, _path: &[u8], _target: &[u8]) -> Result<(), Error> {
        Err(Error::Poisoned)
    }

    /// Removes the entry at `path` with all below it; returns whether there was one.
    ///
    /// # Errors
    /// Fails on an invalid path or the root.
    pub fn remove(&mut self, _path: &[u8]) -> Result<bool, Error> {
        Err(Error::Poisoned)
    }

    /// Whether there is an entry at `path`.
    pub fn contains(&self, _path: &[u8]) -> bool {
        false
    }

    /// Writes the tables and the superblock. The file is not synced.
    ///
    /// # Errors
    /// Fails when the image cannot be written or exceeds a limit of the format.
    pub fn finish(self) -> Result<Summary, Error> {
        Err(Error::Poisoned)
    }
}

/// Stored bytes that came verbatim from another image; a handle of [`Writer::copy_run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Run(u32);

/// A fragment block of the image being written; a handle of [`Writer::add_fragment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fragment(u32);

/// A regular file whose content is already known and mostly already stored, for [`Writer::add_stored_file`].
#[derive(Debug, Clone)]
pub struct StoredFile<'a> {
    /// Content length in bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub digest: Digest,
    /// Where the data blocks begin: a run, and the byte offset in it. `None` when there are none or all are holes.
    pub data: Option<(Run, u64)>,
    /// One word a data block.
    pub blocks: &'a [StoredSize],
    /// Where the rest of the content is.
    pub tail: Tail<'a>,
}

/// The part of a file after its data blocks.
#[derive(Debug, Clone, Copy)]
pub enum Tail<'a> {
    /// There is none.
    None,
    /// In a fragment block that was copied, at this byte offset in it.
    Fragment(Fragment, u32),
    /// To be placed in a new fragment block: shorter than a block.
    Bytes(&'a [u8]),
}

impl Writer {
    /// Copies stored bytes of an image of the same codec and block size, in order with all other data.
    ///
    /// # Errors
    /// Fails when codec or block size differ, or when the image cannot be read or written.
    pub fn copy_run(&mut self, _source: &Reader, _range: Range<u64>) -> Result<Run, Error> {
        Err(Error::Poisoned)
    }

    /// Declares a fragment block that lies at a byte offset in a run.
    ///
    /// # Errors
    /// Fails when there are too many fragment blocks.
    pub fn add_fragment(&mut self, _run: Run, _offset: u64, _size: StoredSize) -> Result<Fragment, Error> {
        Err(Error::Poisoned)
    }

    /// Adds a regular file whose blocks lie in a run. When equal content is already stored, that is used instead.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory), and when blocks, tail and size do not fit each other.
    pub fn add_stored_file(&mut self, _: &[u8], _: &Metadata, _file: &StoredFile<'_>) -> Result<FileInfo, Error> {
        Err(Error::Poisoned)
    }

    /// Adds a regular file whose content is already in the image; returns whether it is.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory).
    pub fn add_known_file(&mut self, _: &[u8], _: &Metadata, _size: u64, _digest: Digest) -> Result<bool, Error> {
        Err(Error::Poisoned)
    }
}
