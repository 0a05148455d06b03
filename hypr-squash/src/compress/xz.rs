//! Streams of one LZMA2 block with a CRC-32, which is what kernels decode.

use std::io;

use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};

use super::{Compress, Decompress};

/// Bytes that a decoder may take: far more than dictionaries of 1 MiB need, which are the largest of the format.
const MEMORY: u64 = 16 << 20;

pub(super) struct Encoder(u32);

impl Encoder {
    pub(super) fn new(level: u32) -> Self {
        Self(level.min(9))
    }
}

impl Compress for Encoder {
    fn bound(&mut self, length: usize) -> usize {
        // What gets longer is not kept.
        length
    }

    fn compress(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<usize> {
        // Kernels set aside a dictionary of one block, which no input is longer than.
        let dictionary = u32::try_from(input.len().next_power_of_two()).unwrap_or(1 << 20).clamp(4096, 1 << 20);
        let mut options = LzmaOptions::new_preset(self.0)?;
        options.dict_size(dictionary);
        let mut stream = Stream::new_stream_encoder(Filters::new().lzma2(&options), Check::Crc32)?;
        let room = output.len().min(input.len());
        match stream.process(input, &mut output[..room], Action::Finish)? {
            Status::StreamEnd => Ok(usize::try_from(stream.total_out()).unwrap_or(input.len())),
            _ => Ok(input.len()),
        }
    }
}

pub(super) struct Decoder;

impl Decompress for Decoder {
    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Option<usize> {
        let mut stream = Stream::new_stream_decoder(MEMORY, 0).ok()?;
        let status = stream.process(input, output, Action::Finish).ok()?;
        let is_whole = status == Status::StreamEnd && stream.total_in() == input.len() as u64;
        is_whole.then(|| usize::try_from(stream.total_out()).ok()).flatten()
    }
}
