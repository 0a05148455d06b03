//! The structures of squashfs 4.0 as they lie on disk, one a file.
//!
//! All integers are little-endian. Nothing here reads or writes a file; encoders append to a `Vec`, decoders take a
//! byte array of the structure's exact size.

mod block;
mod compression;
mod directory;
mod fields;
mod fragment;
mod inode;
mod metadata_block;
mod superblock;
mod xattr;

pub use block::StoredSize;
pub use compression::CompressionId;
pub(crate) use directory::{DirectoryEntry, DirectoryHeader, DirectoryIndex};
pub use fragment::FragmentEntry;
pub(crate) use inode::{Body, DirectoryBody, FileBody, Inode, InodeType, Position};
pub(crate) use metadata_block::MetadataHeader;
pub(crate) use superblock::{Superblock, flags};
pub(crate) use xattr::{XattrEntry, XattrId, XattrPrefix, XattrTableHeader};

/// Bytes of a metadata block before compression.
pub(crate) const METADATA_SIZE: usize = 8192;

/// The position of a table that an image does not have.
pub(crate) const NO_TABLE: u64 = u64::MAX;

/// The fragment index of a file without a fragment.
pub(crate) const NO_FRAGMENT: u32 = u32::MAX;

/// The xattr index of an inode without extended attributes.
pub(crate) const NO_XATTRS: u32 = u32::MAX;

/// Bytes that a listing's length in an inode counts beyond the listing, for `.` and `..`.
pub(crate) const LISTING_EXTRA: u32 = 3;

/// Longest name of a directory entry that a kernel can look up.
pub(crate) const NAME_MAX: usize = 255;

/// Longest target of a symbolic link that a kernel can follow.
pub(crate) const TARGET_MAX: usize = 4095;
