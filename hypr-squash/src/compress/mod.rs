//! Compression of single blocks, each independent of all others.
//!
//! Contexts are costly to set up and are therefore kept: every thread that compresses owns a [`Compressor`], a reader
//! keeps a pool of [`Decompressor`]s.

mod gzip;
mod lz4;
#[cfg(feature = "xz")]
mod xz;
mod zstd;

use std::fmt;
use std::io;

use crate::{Codec, CompressionId, Error};

/// Compresses blocks with reused contexts.
pub(crate) struct Compressor {
    engine: Box<dyn Compress>,
    buffer: Vec<u8>,
}

/// Decompresses blocks with reused contexts.
pub(crate) struct Decompressor {
    engine: Box<dyn Decompress>,
}

/// One compression library.
trait Compress: Send {
    /// Upper bound of the compressed length of `length` bytes.
    fn bound(&mut self, length: usize) -> usize;

    /// Compresses into `output`, which has room for the bound, and returns the length.
    fn compress(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<usize>;
}

/// The other direction of [`Compress`].
trait Decompress: Send {
    /// Decompresses into `output` and returns the length; `None` when the input is damaged or does not fit.
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Option<usize>;
}

impl Compressor {
    pub(crate) fn new(codec: Codec) -> Result<Self, Error> {
        let engine: Box<dyn Compress> = match codec {
            Codec::Zstd { level } => Box::new(zstd::Encoder::new(level).map_err(Error::io("set up zstd"))?),
            Codec::Lz4 => Box::new(lz4::Lz4),
            Codec::Gzip { level } => Box::new(gzip::Encoder::new(level)),
            #[cfg(feature = "xz")]
            Codec::Xz { level } => Box::new(xz::Encoder::new(level)),
        };
        Ok(Self { engine, buffer: Vec::new() })
    }

    /// The compressed bytes of `input`, or `None` when they would not be smaller.
    pub(crate) fn compress(&mut self, input: &[u8]) -> Result<Option<&[u8]>, Error> {
        let bound = self.engine.bound(input.len());
        if self.buffer.len() < bound {
            self.buffer.resize(bound, 0);
        }
        let length = self.engine.compress(input, &mut self.buffer).map_err(Error::io("compress a block"))?;
        Ok((length > 0 && length < input.len()).then(|| &self.buffer[..length]))
    }
}

impl Decompressor {
    pub(crate) fn new(compression: CompressionId) -> Result<Self, Error> {
        let engine: Box<dyn Decompress> = match compression {
            CompressionId::Zstd => Box::new(zstd::Decoder::new().map_err(Error::io("set up zstd"))?),
            CompressionId::Lz4 => Box::new(lz4::Lz4),
            CompressionId::Gzip => Box::new(gzip::Decoder::new()),
            #[cfg(feature = "xz")]
            CompressionId::Xz => Box::new(xz::Decoder),
            #[cfg_attr(feature = "xz", expect(unreachable_patterns, reason = "xz is decoded with the feature"))]
            CompressionId::Lzma | CompressionId::Lzo | CompressionId::Xz => {
                return Err(Error::Compression { name: compression.to_string() });
            }
        };
        Ok(Self { engine })
    }

    /// Decompresses `input`; `None` when it is damaged or longer than `limit` bytes.
    pub(crate) fn decompress(&mut self, input: &[u8], limit: usize) -> Option<Vec<u8>> {
        let mut output = vec![0; limit];
        let length = self.engine.decompress(input, &mut output)?;
        output.truncate(length);
        Some(output)
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: &[Codec] = &[
        Codec::Zstd { level: 3 },
        Codec::Zstd { level: 99 },
        Codec::Lz4,
        Codec::Gzip { level: 9 },
        Codec::Gzip { level: 0 },
        #[cfg(feature = "xz")]
        Codec::Xz { level: 6 },
    ];

    #[test]
    fn compressed_blocks_come_back() {
        let text = b"all work and no play ".repeat(400);
        for &codec in CODECS {
            let mut compressor = Compressor::new(codec).unwrap();
            for _ in 0..2 {
                let packed = compressor.compress(&text).unwrap().unwrap().to_vec();
                let mut decompressor = Decompressor::new(codec.id()).unwrap();
                assert_eq!(decompressor.decompress(&packed, text.len()).unwrap(), text, "{codec:?}");
                assert_eq!(decompressor.decompress(&packed, text.len() - 1), None, "{codec:?} over its limit");
                assert_eq!(decompressor.decompress(&packed[1..], text.len()), None, "{codec:?} damaged");
            }
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored_raw() {
        let noise: Vec<u8> = blake3::Hasher::new().finalize_xof().by_ref_bytes(8192);
        for &codec in CODECS {
            assert!(Compressor::new(codec).unwrap().compress(&noise).unwrap().is_none(), "{codec:?}");
            assert!(Compressor::new(codec).unwrap().compress(b"x").unwrap().is_none(), "{codec:?}");
        }
    }

    trait Bytes {
        fn by_ref_bytes(self, length: usize) -> Vec<u8>;
    }

    impl Bytes for blake3::OutputReader {
        fn by_ref_bytes(mut self, length: usize) -> Vec<u8> {
            let mut bytes = vec![0; length];
            self.fill(&mut bytes);
            bytes
        }
    }
}
