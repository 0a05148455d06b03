//! Deflate in a zlib wrapper.

use std::io;

use libdeflater::{CompressionLvl, Compressor, Decompressor};

use super::{Compress, Decompress};

pub(super) struct Encoder(Compressor);

impl Encoder {
    pub(super) fn new(level: u32) -> Self {
        let level = i32::try_from(level.clamp(1, 9)).ok().and_then(|level| CompressionLvl::new(level).ok());
        Self(Compressor::new(level.unwrap_or_default()))
    }
}

impl Compress for Encoder {
    fn bound(&mut self, length: usize) -> usize {
        self.0.zlib_compress_bound(length)
    }

    fn compress(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<usize> {
        match self.0.zlib_compress(input, output) {
            Ok(length) => Ok(length),
            // What does not fit is stored raw.
            Err(libdeflater::CompressionError::InsufficientSpace) => Ok(input.len()),
        }
    }
}

pub(super) struct Decoder(Decompressor);

impl Decoder {
    pub(super) fn new() -> Self {
        Self(Decompressor::new())
    }
}

impl Decompress for Decoder {
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Option<usize> {
        self.0.zlib_decompress(input, output).ok()
    }
}
