//! Unpacking what a bzImage holds.
//!
//! The last four bytes of every compressed payload tell how long it is unpacked: gzip's own trailer does, and behind the
//! others the kernel's build puts them. What does not come to that length is damaged, and nothing unpacks to more.

use std::io::{self, Read};

use super::Error;

/// The longest kernel that is unpacked.
const MAX_UNPACKED: usize = 512 << 20;
/// The most memory that xz may take; kernels ask for a dictionary of 32 MiB.
const MAX_XZ_MEMORY: u64 = 256 << 20;
/// What a block of LZ4's "legacy frame" holds, but for the last one (LZ4 frame format).
const LZ4_BLOCK: usize = 8 << 20;

pub(super) fn unpack(payload: &[u8]) -> Result<Vec<u8>, Error> {
    match payload {
        [0x7f, b'E', b'L', b'F', ..] => return Ok(payload.to_vec()),
        [0x5d, 0x00, 0x00, ..] => return Err(Error::Compression("lzma")),
        [0x89, b'L', b'Z', b'O', ..] => return Err(Error::Compression("lzo")),
        [b'B', b'Z', b'h', ..] => return Err(Error::Compression("bzip2")),
        _ => {}
    }
    let (packed, told) = payload.split_last_chunk::<4>().ok_or(Error::Damaged("its payload is cut off"))?;
    let told = usize::try_from(u32::from_le_bytes(*told)).unwrap_or(usize::MAX);
    let unpacked = match packed {
        _ if told > MAX_UNPACKED => return Err(Error::Damaged("it says that it unpacks to more than 512 MiB")),
        [0x1f, 0x8b, ..] => bounded(flate2::read::GzDecoder::new(payload), told),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::stream::read::Decoder::with_buffer(packed).and_then(|frames| bounded(frames.single_frame(), told))
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            let stream = liblzma::stream::Stream::new_stream_decoder(MAX_XZ_MEMORY, 0).map_err(io::Error::from);
            stream.and_then(|stream| bounded(liblzma::read::XzDecoder::new_stream(packed, stream), told))
        }
        [0x02, 0x21, 0x4c, 0x18, blocks @ ..] => lz4(blocks, told),
        _ => return Err(Error::Compression("something unknown")),
    };
    match unpacked.map_err(Error::Unpack)? {
        unpacked if unpacked.len() == told => Ok(unpacked),
        _ => Err(Error::Damaged("it does not unpack to the length that it tells")),
    }
}

/// All of `reader`, but no more than one byte over `length`.
fn bounded(reader: impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    reader.take(length as u64 + 1).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

/// The "legacy" frame of LZ4: blocks, each after its packed length.
fn lz4(mut blocks: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    while !blocks.is_empty() && unpacked.len() <= length {
        let split = blocks
            .split_first_chunk::<4>()
            .and_then(|(packed, after)| after.split_at_checked(usize::try_from(u32::from_le_bytes(*packed)).ok()?));
        let (block, after) = split.ok_or(io::ErrorKind::UnexpectedEof)?;
        unpacked.extend(lz4_flex::block::decompress(block, LZ4_BLOCK).map_err(io::Error::other)?);
        blocks = after;
    }
    Ok(unpacked)
}
