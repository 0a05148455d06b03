//! LZ4 blocks without a frame or a length prefix.

use std::io;

use lz4_flex::block;

use super::{Compress, Decompress};

pub(super) struct Lz4;

impl Compress for Lz4 {
    fn bound(&mut self, length: usize) -> usize {
        block::get_maximum_output_size(length)
    }

    fn compress(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<usize> {
        block::compress_into(input, output).map_err(io::Error::other)
    }
}

impl Decompress for Lz4 {
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Option<usize> {
        block::decompress_into(input, output).ok()
    }
}
