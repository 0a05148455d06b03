//! The compressor number of the superblock.

use std::fmt;

/// A compressor that the format knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CompressionId {
    /// Deflate in a zlib wrapper.
    Gzip,
    /// LZMA, never part of the kernel.
    Lzma,
    /// LZO.
    Lzo,
    /// XZ.
    Xz,
    /// LZ4 blocks.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl CompressionId {
    /// The compressor with this number, `None` when there is none.
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Gzip,
            2 => Self::Lzma,
            3 => Self::Lzo,
            4 => Self::Xz,
            5 => Self::Lz4,
            6 => Self::Zstd,
            _ => return None,
        })
    }

    /// The number in the superblock.
    pub const fn number(self) -> u16 {
        match self {
            Self::Gzip => 1,
            Self::Lzma => 2,
            Self::Lzo => 3,
            Self::Xz => 4,
            Self::Lz4 => 5,
            Self::Zstd => 6,
        }
    }
}

impl fmt::Display for CompressionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Lzma => "lzma",
            Self::Lzo => "lzo",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}
