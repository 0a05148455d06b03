//! Tar streams, in and out.
//!
//! [`Archive`] and [`Builder`] know the format alone: entries with paths, metadata and contents. [`unpack_into`] and
//! [`write()`] connect them with squashfs images and know what a deletion looks like on either side: `.wh.` files in
//! a layer of an OCI image, devices 0:0 and `trusted.overlay.opaque` in a layer as overlayfs and this crate have it.
//!
//! An archive comes from anywhere and is not trusted. It is read as a stream, without a file system, lengths are
//! bounded before anything is allocated, and every error says which entry at which byte is at fault.

mod archive;
mod attributes;
mod builder;
mod error;
mod header;
mod layer;
mod path;
mod pax;
mod sparse;
mod unpack;
mod write;

pub use archive::{Archive, Entry, EntryKind};
pub use builder::Builder;
pub use error::{EntryName, Error, Fault};
pub use unpack::unpack_into;
pub use write::write;

/// How a deletion is written down in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Whiteouts {
    /// As in the layers of OCI images: an empty file `.wh.NAME`, and `.wh..wh..opq` in an opaque directory.
    #[default]
    Oci,
    /// As overlayfs has it: a character device 0:0, and `trusted.overlay.opaque=y` on an opaque directory.
    Overlay,
    /// Not at all: the archive is a tree of its own, in which `.wh.` is a name as any other.
    None,
}

/// Whether an archive must end with two blocks of zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndMarker {
    /// An archive without them was cut off.
    #[default]
    Required,
    /// The end of the stream is enough: for archives whose digest or size is checked as well.
    Optional,
}

/// What happens to attributes that an image cannot hold, such as POSIX access control lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loss {
    /// They are dropped with a [`Warning`].
    #[default]
    Warn,
    /// They are an error.
    Refuse,
}

/// How [`unpack_into`] reads an archive.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// How deletions are written down.
    pub whiteouts: Whiteouts,
    /// Whether the archive must have its end marker.
    pub end_marker: EndMarker,
    /// Whether attributes may get lost.
    pub loss: Loss,
    /// The directory of the image that the archive's root becomes; empty for the image's own root.
    pub destination: Vec<u8>,
    /// User and group of every entry, instead of the archive's.
    pub owner: Option<(u32, u32)>,
    /// Bytes that one file may have, holes included. Defaults to 1 TiB.
    pub max_file_size: u64,
    /// Bytes that the holes of all files together may have. Holes cost an archive nothing and whoever reads it time.
    /// Defaults to 64 GiB.
    pub max_holes: u64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            whiteouts: Whiteouts::default(),
            end_marker: EndMarker::default(),
            loss: Loss::default(),
            destination: Vec::new(),
            owner: None,
            max_file_size: 1 << 40,
            max_holes: 64 << 30,
        }
    }
}

/// How [`write()`] makes an archive.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// How deletions are written down. With [`Whiteouts::None`], a deletion is an error.
    pub whiteouts: Whiteouts,
    /// Modification times after this second are written as this second.
    pub clamp_mtime: Option<u32>,
}

/// What [`unpack_into`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Number of entries, whiteouts and replaced ones included.
    pub entries: u64,
    /// What was left out, one warning a kind.
    pub warnings: Vec<Warning>,
}

/// Something that an archive had and the image has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What was left out.
    pub kind: WarningKind,
    /// The first path at which it was.
    pub path: Vec<u8>,
    /// The number of times.
    pub count: u64,
}

/// Kinds of [`Warning`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WarningKind {
    /// A POSIX access control list.
    Acl,
    /// An extended attribute outside of `user.`, `trusted.` and `security.`.
    Xattr,
}

#[cfg(test)]
mod tests;
