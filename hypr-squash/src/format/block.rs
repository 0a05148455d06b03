//! The word that tells how a data or fragment block is stored.

/// Length of a stored block and whether it is compressed; zero is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StoredSize(u32);

impl StoredSize {
    /// A block of zeros, which is not stored at all.
    pub const HOLE: Self = Self(0);
    const RAW: u32 = 1 << 24;

    /// A block of `bytes` compressed bytes.
    pub const fn compressed(bytes: u32) -> Self {
        Self(bytes)
    }

    /// A block of `bytes` bytes stored as they are.
    pub const fn raw(bytes: u32) -> Self {
        Self(bytes | Self::RAW)
    }

    /// The block described by a word of an image.
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// The word that stands in an image.
    pub const fn word(self) -> u32 {
        self.0
    }

    /// Bytes that the block takes in the image.
    pub const fn bytes(self) -> u32 {
        self.0 & !Self::RAW
    }

    /// Whether the stored bytes must be decompressed.
    pub const fn is_compressed(self) -> bool {
        self.0 & Self::RAW == 0
    }

    /// Whether the block is a hole.
    pub const fn is_hole(self) -> bool {
        self.0 == 0
    }
}
