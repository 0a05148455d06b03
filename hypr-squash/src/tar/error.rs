//! Why a tar stream was refused: what was wrong, in which entry, at which byte.

use std::{fmt, io};

/// A tar stream is malformed, cut short or holds what cannot be taken over.
#[derive(Debug, thiserror::Error)]
#[error("bad tar archive, {entry} at byte {offset}")]
pub struct Error {
    /// Offset of the entry's first header block, in bytes from the start of the archive.
    pub offset: u64,
    /// The entry, as far as it was read.
    pub entry: EntryName,
    /// What is wrong with it.
    #[source]
    pub fault: Fault,
}

/// The name of an entry for messages: escaped, and `header` where no name was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntryName(pub Option<Vec<u8>>);

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "entry `{}`", name.escape_ascii()),
            None => f.write_str("header"),
        }
    }
}

/// What is wrong with one entry of a tar stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The stream itself could not be read.
    #[error("cannot read the stream")]
    Read(#[source] io::Error),
    /// The stream ends inside of the entry.
    #[error("the archive ends after {at} bytes, in the middle of the entry")]
    Truncated {
        /// Bytes that the stream held.
        at: u64,
    },
    /// The stream ends without the two blocks of zeros that close an archive.
    #[error("the archive is cut off: its end marker is missing")]
    NoEnd,
    /// The checksum of the header is wrong, so this is no tar header.
    #[error("the header's checksum does not match")]
    Checksum,
    /// A field is neither an octal nor a base-256 number, or out of its range.
    #[error("the {0} is not a number within range")]
    Number(&'static str),
    /// Type flags beyond files, directories, links, devices, fifos and the headers of pax and GNU tar.
    #[error("entries of type {:?} are not supported", char::from(*.0))]
    Type(u8),
    /// A name or link target is longer than any file system takes.
    #[error("the {what} is longer than {limit} bytes")]
    TooLong {
        /// Which name or header.
        what: &'static str,
        /// Bytes that it may have.
        limit: u64,
    },
    /// The name, or the target of a link, is empty or holds a NUL byte.
    #[error("the {0} is empty or holds a NUL byte")]
    Name(&'static str),
    /// The path leads upwards.
    #[error("the {0} has a `..` component")]
    ParentReference(&'static str),
    /// An extended header that does not parse.
    #[error("the extended header is malformed: {0}")]
    Pax(&'static str),
    /// An extended header or long name that no entry follows.
    #[error("no entry follows the extended header")]
    Dangling,
    /// The map of a sparse file contradicts itself or its data.
    #[error("the sparse file is malformed: {0}")]
    Sparse(&'static str),
    /// The file is larger than the caller allows.
    #[error("the file has {size} bytes, more than the allowed {limit}")]
    TooLarge {
        /// Bytes of the file, holes included.
        size: u64,
        /// The limit that [`ReadOptions`](super::ReadOptions) sets.
        limit: u64,
    },
    /// The holes of the archive's files are larger than the caller allows.
    #[error("the holes of the files so far have more than the allowed {limit} bytes")]
    Holes {
        /// The limit that [`ReadOptions`](super::ReadOptions) sets.
        limit: u64,
    },
    /// The root is something other than a directory.
    #[error("the root of the archive is not a directory")]
    Root,
    /// The entry lies below something that is not a directory.
    #[error("`{}` is not a directory", .0.escape_ascii())]
    NotADirectory(Vec<u8>),
    /// Symbolic links on the way to the entry form a loop.
    #[error("too many symbolic links on the way to it")]
    SymlinkLoop,
    /// A hard link to what the archive has not held so far.
    #[error("it is a hard link to `{}`, which the archive does not hold before it", .0.escape_ascii())]
    LinkTarget(Vec<u8>),
    /// A hard link to a directory.
    #[error("it is a hard link to `{}`, which is a directory", .0.escape_ascii())]
    LinkToDirectory(Vec<u8>),
    /// A character device 0:0, which a layer would take for a whiteout.
    #[error("a character device 0:0 would delete the file below it")]
    ForeignWhiteout,
    /// A whiteout that names no file.
    #[error("the whiteout names no file")]
    EmptyWhiteout,
    /// An extended attribute that does not fit.
    #[error("the extended attribute `{}` {reason}", name.escape_ascii())]
    Xattr {
        /// Its full name.
        name: Vec<u8>,
        /// What is wrong with it.
        reason: &'static str,
    },
}
