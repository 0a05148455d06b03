//! What has to be true of an ELF file that is a kernel.

use super::Error;

const MAGIC: &[u8] = b"\x7fELF";
/// The length of the file's header.
const HEADER: usize = 64;
/// The length of the header of a segment.
const SEGMENT: usize = 56;
const X86_64: u16 = 62;
const NOTE: u32 = 4;
/// The start of the note that tells the PVH entry, by the length of the address in it: name and type of
/// `XEN_ELFNOTE_PHYS32_ENTRY`.
const PVH: [[u8; 16]; 2] = [*b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0", *b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0"];

pub(super) fn is_elf(file: &[u8]) -> bool {
    file.starts_with(MAGIC)
}

/// Checks that an ELF file is whole and for x86-64; tells whether it has a PVH entry.
pub(super) fn check(file: &[u8]) -> Result<bool, Error> {
    let cut_off = Error::Elf("it is cut off");
    let Some(header) = file.first_chunk::<HEADER>() else { return Err(cut_off) };
    let [class, order] = [header[4], header[5]];
    if !is_elf(header) || (class, order, half(header, 18)) != (2, 1, X86_64) {
        return Err(Error::Elf("it is not for x86-64"));
    }
    let (start, size, count) = (long(header, 32), half(header, 54), half(header, 56));
    if usize::from(size) != SEGMENT || count == 0 {
        return Err(Error::Elf("it has no segments"));
    }
    let table = part(file, start, u64::from(count) * SEGMENT as u64);
    let mut has_entry = false;
    for segment in table.ok_or(cut_off)?.chunks_exact(SEGMENT) {
        let content = part(file, long(segment, 8), long(segment, 32)).ok_or(Error::Elf("it is cut off"))?;
        has_entry |= word(segment, 0) == NOTE && content.windows(16).any(|note| PVH.iter().any(|pvh| pvh == note));
    }
    Ok(has_entry)
}

fn part(file: &[u8], start: u64, length: u64) -> Option<&[u8]> {
    let end = start.checked_add(length)?;
    file.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

/// Of a header that is long enough, as those of the next two.
fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}
