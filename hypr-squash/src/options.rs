//! What a caller chooses about an image: codec, block size, threads, times.

use std::num::NonZeroUsize;

use crate::format::CompressionId;

/// How data and metadata are compressed. The choice changes bytes, never content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Zstandard.
    Zstd {
        /// 1 (fastest) to 22 (smallest); other values are brought into that range.
        level: i32,
    },
    /// LZ4 block format.
    Lz4,
    /// Deflate in a zlib wrapper, which squashfs calls gzip.
    Gzip {
        /// 1 (fastest) to 9 (smallest); other values are brought into that range.
        level: u32,
    },
    /// LZMA2 in an xz container.
    #[cfg(feature = "xz")]
    Xz {
        /// 0 (fastest) to 9 (smallest); other values are brought into that range.
        level: u32,
    },
}

impl Codec {
    /// The identifier that the superblock holds for this codec.
    pub const fn id(self) -> CompressionId {
        match self {
            Self::Zstd { .. } => CompressionId::Zstd,
            Self::Lz4 => CompressionId::Lz4,
            Self::Gzip { .. } => CompressionId::Gzip,
            #[cfg(feature = "xz")]
            Self::Xz { .. } => CompressionId::Xz,
        }
    }
}

impl Default for Codec {
    fn default() -> Self {
        Self::Zstd { level: 3 }
    }
}

/// Bytes per data block: a power of two from 4 KiB to 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockSize(u32);

impl BlockSize {
    /// The smallest block size of the format, 4 KiB.
    pub const MIN: Self = Self(4096);
    /// The largest block size of the format, 1 MiB.
    pub const MAX: Self = Self(1 << 20);

    /// Returns `None` unless `bytes` is a power of two in range.
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= Self::MIN.0 && bytes <= Self::MAX.0 { Some(Self(bytes)) } else { None }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// The size as a length in memory.
    pub(crate) const fn len(self) -> usize {
        self.0 as usize
    }

    /// The base-two logarithm of the size, 12 to 20.
    pub(crate) fn log2(self) -> u16 {
        u16::try_from(self.0.ilog2()).expect("the logarithm of a u32 fits")
    }
}

impl Default for BlockSize {
    /// 128 KiB.
    fn default() -> Self {
        Self(128 << 10)
    }
}

/// How a [`Writer`](crate::Writer) makes an image.
///
/// `threads` never changes a byte of the result.
#[derive(Debug, Clone)]
pub struct Options {
    /// Compression of data and metadata.
    pub codec: Codec,
    /// Bytes per data block.
    pub block_size: BlockSize,
    /// Threads that compress. Defaults to the cores of this machine, at most 16.
    pub threads: NonZeroUsize,
    /// Modification times after this second are stored as this second.
    pub clamp_mtime: Option<u32>,
    /// Modification times at or after this second count as zero in the content digest, as those that a command set
    /// while it ran.
    pub volatile_from: Option<i64>,
    /// What tests do to the threads.
    #[cfg(test)]
    pub(crate) disturbance: Disturbance,
}

/// Delays of the threads and another number of blocks under way, neither of which may change a byte.
#[cfg(test)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Disturbance {
    /// Blocks under way; as many as the writer sees fit when there is none.
    pub(crate) window: Option<usize>,
    /// Where the delays of the threads come from.
    pub(crate) delays: Option<u64>,
}

#[cfg(test)]
impl Disturbance {
    /// Waits up to a third of a millisecond, for each number another time.
    pub(crate) fn wait(self, number: u64) {
        if let Some(seed) = self.delays {
            let mixed = (number ^ seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
            std::thread::sleep(std::time::Duration::from_micros(mixed / 3));
        }
    }
}

impl Options {
    /// What decides the bytes that a block is compressed to.
    pub(crate) fn encoder(&self) -> String {
        // To be raised when blocks come to be cut or compressed in another way.
        const REVISION: u32 = 1;
        let codec = match self.codec {
            Codec::Zstd { level } => {
                format!("zstd {} level {}", zstd::zstd_safe::version_string(), level.clamp(1, 22))
            }
            Codec::Lz4 => "lz4".to_owned(),
            Codec::Gzip { level } => format!("gzip level {}", level.clamp(1, 9)),
            #[cfg(feature = "xz")]
            Codec::Xz { level } => format!("xz level {}", level.min(9)),
        };
        let version = env!("CARGO_PKG_VERSION");
        format!("hypr-squash {version} revision {REVISION}, {codec}, blocks of {}", self.block_size.bytes())
    }
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            codec: Codec::default(),
            block_size: BlockSize::default(),
            threads: cores.min(const { NonZeroUsize::new(16).expect("16 is not zero") }),
            clamp_mtime: None,
            volatile_from: None,
            #[cfg(test)]
            disturbance: Disturbance::default(),
        }
    }
}
