//! Fragment blocks: how long they are, and the tails in them.

use zstd::zstd_safe;

use crate::{CompressionId, Error, FragmentReference, Reader, Table};

/// Bytes that a fragment block has when decompressed.
///
/// A frame of zstd says so in its first bytes; other codecs must be asked.
pub(super) fn length(reader: &Reader, index: u32) -> Result<u64, Error> {
    const FRAME_HEADER: u32 = 18;
    let entry = reader.fragment_entry(index)?;
    if !entry.size.is_compressed() {
        return Ok(u64::from(entry.size.bytes()));
    }
    if reader.info().compression == CompressionId::Zstd {
        let mut header = [0; FRAME_HEADER as usize];
        let header = &mut header[..entry.size.bytes().min(FRAME_HEADER) as usize];
        reader.read_raw(entry.start, header)?;
        if let Ok(Some(length)) = zstd_safe::get_frame_content_size(header) {
            return Ok(length);
        }
    }
    Ok(reader.fragment(index)?.len() as u64)
}

/// The bytes of one file in a decompressed fragment block.
pub(super) fn tail(fragment: &[u8], tail: FragmentReference) -> Result<&[u8], Error> {
    let start = tail.offset as usize;
    let range = start..start.saturating_add(tail.size as usize);
    fragment.get(range).ok_or(Error::corrupt(Table::Fragments, u64::from(tail.index), "a tail lies behind its block"))
}
