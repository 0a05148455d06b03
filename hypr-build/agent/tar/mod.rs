//! The archive in which layers and changes travel: POSIX ustar headers with pax records for what these cannot hold.

pub(crate) mod read;
pub(crate) mod write;

/// Bytes in a tar block; headers fill one, data is padded to a multiple.
pub(crate) const BLOCK: usize = 512;
