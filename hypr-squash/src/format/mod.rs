//! The structures of squashfs 4.0 as they lie on disk, one a file.
//!
//! All integers are little-endian. Nothing here reads or writes a file.

mod block;
mod compression;
mod fragment;

pub use block::StoredSize;
pub use compression::CompressionId;
pub use fragment::FragmentEntry;
