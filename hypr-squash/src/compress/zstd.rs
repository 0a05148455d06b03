//! Zstandard frames with their content size and without a checksum.

use std::io;

use zstd::bulk;

use super::{Compress, Decompress};

pub(super) struct Encoder(bulk::Compressor<'static>);

impl Encoder {
    pub(super) fn new(level: i32) -> io::Result<Self> {
        bulk::Compressor::new(level.clamp(1, 22)).map(Self)
    }
}

impl Compress for Encoder {
    fn bound(&mut self, length: usize) -> usize {
        zstd::zstd_safe::compress_bound(length)
    }

    fn compress(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<usize> {
        self.0.compress_to_buffer(input, output)
    }
}

pub(super) struct Decoder(bulk::Decompressor<'static>);

impl Decoder {
    pub(super) fn new() -> io::Result<Self> {
        bulk::Decompressor::new().map(Self)
    }
}

impl Decompress for Decoder {
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Option<usize> {
        self.0.decompress_to_buffer(input, output).ok()
    }
}
