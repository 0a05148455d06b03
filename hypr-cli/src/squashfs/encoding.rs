//! Flags that choose how an image is compressed.

use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};
use hypr_squash::{BlockSize, Codec, Options};

#[derive(Debug, Args)]
#[command(next_help_heading = "Encoding")]
pub(super) struct EncodingArgs {
    /// Compressor of data and tables.
    #[arg(long, value_enum, visible_alias = "compressor", default_value_t = CodecArg::Zstd)]
    codec: CodecArg,
    /// Compression level: 1 to 22 for zstd (default 3), 1 to 9 for gzip and, where built in, xz (default 6).
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=22))]
    level: Option<u8>,
    /// Bytes per data block, a power of two from 4K to 1M.
    #[arg(long, value_name = "SIZE", default_value = "128K", value_parser = block_size)]
    block_size: BlockSize,
    /// Threads that compress; the result does not depend on it. Defaults to the number of cores, at most 16.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Latest modification time, in seconds since 1970; later ones become this one.
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    clamp_mtime: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CodecArg {
    Zstd,
    Lz4,
    Gzip,
    #[cfg(feature = "xz")]
    Xz,
}

impl EncodingArgs {
    /// The options for the library, or what is wrong with the combination.
    pub(super) fn options(&self) -> Result<Options, String> {
        let codec = match (self.codec, self.level) {
            (CodecArg::Zstd, level) => Codec::Zstd { level: level.map_or(3, i32::from) },
            (CodecArg::Gzip, Some(10..)) => return Err("--level is at most 9 for gzip".to_owned()),
            (CodecArg::Gzip, level) => Codec::Gzip { level: level.map_or(6, u32::from) },
            #[cfg(feature = "xz")]
            (CodecArg::Xz, Some(10..)) => return Err("--level is at most 9 for xz".to_owned()),
            #[cfg(feature = "xz")]
            (CodecArg::Xz, level) => Codec::Xz { level: level.map_or(6, u32::from) },
            (CodecArg::Lz4, None) => Codec::Lz4,
            (CodecArg::Lz4, Some(_)) => return Err("lz4 has no levels".to_owned()),
        };
        let default = Options::default();
        Ok(Options {
            codec,
            block_size: self.block_size,
            threads: self.threads.unwrap_or(default.threads),
            clamp_mtime: self.clamp_mtime,
            ..default
        })
    }
}

/// A number of bytes with an optional `K` or `M`.
fn block_size(text: &str) -> Result<BlockSize, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => Some(1),
        "K" | "KB" | "KIB" => Some(1 << 10),
        "M" | "MB" | "MIB" => Some(1 << 20),
        _ => None,
    };
    let bytes = digits.parse::<u32>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    bytes.and_then(BlockSize::new).ok_or_else(|| "it must be a power of two from 4K to 1M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_have_units_and_a_range() {
        for (text, bytes) in [("128K", 131_072), ("131072", 131_072), ("1M", 1 << 20), ("4kib", 4096)] {
            assert_eq!(block_size(text).map(BlockSize::bytes), Ok(bytes), "{text}");
        }
        for text in ["", "K", "2M", "3K", "100", "-4K", "4 K", "4G", "99999999999M"] {
            assert!(block_size(text).is_err(), "{text}");
        }
    }
}
