//! Where entries come from, beside tar streams and other images.

mod directory;
mod sparse;

pub use directory::{DirectoryOptions, DirectoryStats, pack_directory};
