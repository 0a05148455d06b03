//! The two bytes before every metadata block.

/// Length of a stored metadata block and whether it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MetadataHeader(u16);

impl MetadataHeader {
    pub(crate) const SIZE: usize = 2;
    const RAW: u16 = 1 << 15;

    /// A block of `length` stored bytes, at most [`METADATA_SIZE`](super::METADATA_SIZE).
    pub(crate) fn new(length: usize, compressed: bool) -> Self {
        let length = u16::try_from(length).expect("a metadata block is at most 8 KiB");
        Self(if compressed { length } else { length | Self::RAW })
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self(u16::from_le_bytes(bytes))
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        self.0.to_le_bytes()
    }

    /// Stored bytes after the header.
    pub(crate) fn length(self) -> usize {
        usize::from(self.0 & !Self::RAW)
    }

    pub(crate) fn is_compressed(self) -> bool {
        self.0 & Self::RAW == 0
    }
}
