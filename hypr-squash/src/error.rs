//! Why an image could not be read or written.

use std::fmt;
use std::io;

/// Everything that can go wrong with an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading from or writing to a file failed.
    #[error("cannot {action}")]
    Io {
        /// What was being done, as in "write the image".
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Reading the content of an entry failed.
    #[error("cannot {action} {}", path.escape_ascii())]
    Entry {
        /// What was being done, as in "read".
        action: &'static str,
        /// The path inside the tree.
        path: Vec<u8>,
        /// What the system said.
        source: io::Error,
    },
    /// The file does not begin with a squashfs superblock.
    #[error("not a squashfs image")]
    NotSquashfs,
    /// The image is of a version other than 4.0.
    #[error("squashfs version {major}.{minor} is not supported, only 4.0 is")]
    Version {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// The image is compressed with something this crate does not decode.
    #[error("squashfs compression {name} is not supported")]
    Compression {
        /// Its name, or the number found.
        name: String,
    },
    /// The image contradicts itself.
    #[error("corrupt squashfs image: {table} at offset {offset}: {reason}")]
    Corrupt {
        /// The table that is damaged.
        table: Table,
        /// Byte offset in the image of the block or field in question.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A path that cannot stand in an image.
    #[error("invalid path {}: {reason}", path.escape_ascii())]
    Path {
        /// The path as given.
        path: Vec<u8>,
        /// What is wrong.
        reason: &'static str,
    },
    /// An entry that squashfs cannot hold.
    #[error("cannot store {}: {reason}", path.escape_ascii())]
    Unsupported {
        /// The path inside the tree.
        path: Vec<u8>,
        /// What is wrong.
        reason: &'static str,
    },
    /// A limit of the format is exceeded.
    #[error("squashfs holds at most {limit} {what}")]
    Limit {
        /// What there is too much of, as in "different user and group ids".
        what: &'static str,
        /// The largest number allowed.
        limit: u64,
    },
    /// A layer uses overlayfs features that a merge cannot resolve.
    #[error("cannot merge {}: {reason}", path.escape_ascii())]
    Merge {
        /// The path inside the tree.
        path: Vec<u8>,
        /// What is wrong.
        reason: &'static str,
    },
    /// A tar stream is damaged or holds something that is refused.
    #[error(transparent)]
    Tar(#[from] crate::tar::Error),
    /// A sidecar index is damaged or of another version.
    #[error("unusable image index: {reason}")]
    Index {
        /// What is wrong.
        reason: &'static str,
    },
    /// The writer failed before; that error was returned then.
    #[error("the image writer failed earlier")]
    Poisoned,
}

impl Error {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    /// Names the path where the failing code did not know it.
    pub(crate) fn at(self, place: &[u8]) -> Self {
        match self {
            Self::Merge { path, reason } if path.is_empty() => Self::Merge { path: place.to_vec(), reason },
            other => other,
        }
    }

    pub(crate) const fn corrupt(table: Table, offset: u64, reason: &'static str) -> Self {
        Self::Corrupt { table, offset, reason }
    }

    pub(crate) fn path(path: &[u8], reason: &'static str) -> Self {
        Self::Path { path: path.to_vec(), reason }
    }
}

/// A part of an image, as named in errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Table {
    /// The superblock.
    Superblock,
    /// Compressor options after the superblock.
    CompressorOptions,
    /// Data blocks of files.
    Data,
    /// Fragment blocks, or their table.
    Fragments,
    /// The inode table.
    Inodes,
    /// The directory table.
    Directories,
    /// The export table.
    Export,
    /// The table of user and group ids.
    Ids,
    /// The extended attribute tables.
    Xattrs,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superblock => "superblock",
            Self::CompressorOptions => "compressor options",
            Self::Data => "data block",
            Self::Fragments => "fragment table",
            Self::Inodes => "inode table",
            Self::Directories => "directory table",
            Self::Export => "export table",
            Self::Ids => "id table",
            Self::Xattrs => "xattr table",
        })
    }
}
