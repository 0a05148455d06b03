//! Reads, writes and merges squashfs 4.0 images.

#![forbid(unsafe_code)]

mod compress;
mod error;
mod extent;
mod extract;
mod format;
mod index;
mod merge;
mod metadata;
mod options;
pub mod overlay;
mod read;
mod source;
pub mod tar;
#[cfg(test)]
mod testing;
mod tree_digest;
mod verify;
mod write;

pub use error::{Error, Table};
pub use extent::{FileExtent, FragmentReference};
pub use extract::{Denied, ExtractOptions, Extracted, OverlayNames, Owners, extract, extract_overlay};
pub use format::{CompressionId, FragmentEntry, StoredSize};
pub use index::{Entry as IndexEntry, Index};
pub use merge::{MergeOptions, merge};
pub use metadata::{Metadata, Special, Xattrs};
pub use options::{BlockSize, Codec, Options};
pub use overlay::Overlay;
pub use read::{FileReader, FileType, Info, Kind, Node, Piece, Reader, Walk};
pub use source::{DirectoryOptions, DirectoryStats, pack_directory};
pub use tree_digest::content_digest;
pub use verify::{Report, verify};
pub use write::{FileInfo, Fragment, Run, StoredFile, Summary, Tail, Writer};

/// A BLAKE3 digest.
pub type Digest = blake3::Hash;
