//! Reads, writes and merges squashfs 4.0 images.
//!
//! A [`Writer`] takes entries in any order and from anywhere: one by one, from a directory ([`pack_directory`]) or a tar
//! stream ([`tar::unpack_into`]). The bytes of an image are a function of what is in it; neither the clock nor the number
//! of threads is seen in them. A [`Reader`] believes nothing of what it reads, so that foreign images are safe to open.
//! An [`Overlay`] shows a stack of images as overlayfs would, and [`merge()`] makes one image of it without compressing
//! again what is compressed already.
//!
//! ```
//! use hypr_squash::{Metadata, Options, Reader, Writer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = tempfile::tempfile()?;
//! let mut writer = Writer::create(file.try_clone()?, Options::default())?;
//! let metadata = Metadata { mode: 0o644, ..Metadata::default() };
//! writer.add_file(b"etc/hostname", &metadata, &mut &b"hypr\n"[..])?;
//! let summary = writer.finish()?;
//! println!("{} inodes, {}", summary.inodes, summary.file_digest);
//!
//! let reader = Reader::open(file)?;
//! let node = reader.lookup(b"etc/hostname")?.expect("it was just written");
//! assert_eq!(std::io::read_to_string(node.open()?)?, "hypr\n");
//! # Ok(())
//! # }
//! ```
//!
//! Images are compressed with zstd, LZ4 or gzip, and xz with the feature of that name; other compressors, other versions
//! of squashfs and big-endian images are refused. Of extended attributes the format has `user`, `trusted` and `security`.

#![forbid(unsafe_code)]

mod compress;
mod error;
mod extent;
mod extract;
mod format;
mod index;
mod memo;
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
pub use merge::{MergeOptions, Prefix, merge, merge_over, merge_stored, recompress};
pub use metadata::{Metadata, Special, Xattrs};
pub use options::{BlockSize, Codec, Options};
pub use overlay::Overlay;
pub use read::{FileReader, FileType, Info, Kind, Node, Piece, Reader, Walk};
pub use source::{DirectoryOptions, DirectoryStats, pack_directory};
pub use tree_digest::content_digest;
pub use verify::{Report, verify};
pub use write::{FileInfo, StoredSummary, Summary, Writer};

/// A BLAKE3 digest.
pub type Digest = blake3::Hash;
