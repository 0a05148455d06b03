//! Reads, writes and merges squashfs 4.0 images.

#![forbid(unsafe_code)]

mod metadata;

pub use metadata::{Metadata, Special, Xattrs};
