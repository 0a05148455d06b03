//! Tar streams, in and out.
//!
//! [`Archive`] and [`Builder`] know the format alone: entries with paths, metadata and contents. [`unpack_into`] and
//! [`write`](fn@write) connect them with squashfs images and know what a deletion looks like on either side: `.wh.`
//! files in a layer of an OCI image, devices 0:0 and `trusted.overlay.opaque` in a layer as overlayfs and this crate
//! have it.
//!
//! An archive comes from anywhere and is not trusted. It is read as a stream, without a file system, lengths are
//! bounded before anything is allocated, and every error says which entry at which byte is at fault.

mod archive;
mod builder;
mod error;
mod header;
mod pax;
mod path;
mod sparse;

pub use archive::{Archive, Entry, EntryKind};
pub use builder::Builder;
pub use error::{EntryName, Error, Fault};

/// Whether an archive must end with two blocks of zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndMarker {
    /// An archive without them was cut off.
    #[default]
    Required,
    /// The end of the stream is enough: for archives whose digest or size is checked as well.
    Optional,
}
