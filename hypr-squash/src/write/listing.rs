//! Writes directory listings.

use super::metadata_writer::MetadataWriter;
use crate::Error;
use crate::format::{
    DirectoryBody, DirectoryEntry, DirectoryHeader, DirectoryIndex, InodeType, LISTING_EXTRA, METADATA_SIZE, Position,
};

/// An entry whose inode is already in its table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Child<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: Position,
    pub(super) number: u32,
    pub(super) kind: InodeType,
}

/// Writes the listing of one directory, its children in order. Returns where it is, and its index, which follows the
/// directory's inode. The number of the parent is left to the caller.
pub(super) fn write_listing(
    table: &mut MetadataWriter,
    children: &[Child<'_>],
) -> Result<(DirectoryBody, Vec<u8>), Error> {
    let start = table.position();
    let mut index =
        Index { wanted: length(children) > METADATA_SIZE, last: block(start)?, count: 0, bytes: Vec::new() };
    let mut written = 0;
    let mut rest = children;
    while let Some(&first) = rest.first() {
        let at = table.position();
        if written > 0 {
            index.add(written, at, first.name)?;
        }
        let (group, others) = rest.split_at(group_length(rest, at, index.wanted));
        let mut bytes = Vec::new();
        write_group(group, &mut bytes)?;
        table.write(&bytes)?;
        written += bytes.len();
        rest = others;
    }
    let size = u32::try_from(written).ok().and_then(|size| size.checked_add(LISTING_EXTRA));
    let size = size.ok_or(Error::Limit { what: "bytes of a directory listing", limit: u64::from(u32::MAX - 3) })?;
    let (start, offset) = (block(start)?, start.offset);
    Ok((DirectoryBody { start, offset, size, parent: 0, index_count: index.count }, index.bytes))
}

/// The directory index under construction: one entry for every metadata block that a listing enters.
struct Index {
    wanted: bool,
    /// The metadata block entered last.
    last: u32,
    count: u16,
    bytes: Vec<u8>,
}

impl Index {
    fn add(&mut self, written: usize, at: Position, name: &[u8]) -> Result<(), Error> {
        let start = block(at)?;
        // Beyond the last entry that can be counted, a search goes on from there.
        if !self.wanted || self.count == u16::MAX || start == self.last {
            return Ok(());
        }
        let entry = DirectoryIndex {
            index: u32::try_from(written)
                .map_err(|_| Error::Limit { what: "bytes of a directory listing", limit: u64::from(u32::MAX - 3) })?,
            start,
            name_length: u32::try_from(name.len()).expect("names are at most 255 bytes"),
        };
        entry.write(&mut self.bytes);
        self.bytes.extend_from_slice(name);
        self.count += 1;
        self.last = start;
        Ok(())
    }
}

/// How many of the entries one header can stand for.
fn group_length(children: &[Child<'_>], at: Position, indexed: bool) -> usize {
    let first = children[0];
    let mut room = (METADATA_SIZE - usize::from(at.offset)).saturating_sub(DirectoryHeader::SIZE);
    let mut length = 0;
    for child in children.iter().take(DirectoryHeader::COUNT_MAX as usize) {
        let is_near = i16::try_from(i64::from(child.number) - i64::from(first.number)).is_ok();
        // With an index, a header begins as soon as a new metadata block does.
        if child.inode.block != first.inode.block || !is_near || (indexed && length > 0 && room == 0) {
            break;
        }
        room = room.saturating_sub(DirectoryEntry::SIZE + child.name.len());
        length += 1;
    }
    length
}

fn write_group(group: &[Child<'_>], out: &mut Vec<u8>) -> Result<(), Error> {
    let first = group[0];
    let count = u32::try_from(group.len()).expect("a group has at most 256 entries");
    DirectoryHeader { count, start: block(first.inode)?, number: first.number }.write(out);
    for child in group {
        let delta = i64::from(child.number) - i64::from(first.number);
        DirectoryEntry {
            offset: child.inode.offset,
            delta: i16::try_from(delta).expect("a group is near its first entry"),
            kind: child.kind as u16,
            name_length: child.name.len(),
        }
        .write(out);
        out.extend_from_slice(child.name);
    }
    Ok(())
}

/// Bytes of a listing with at least one header for 256 entries.
fn length(children: &[Child<'_>]) -> usize {
    let headers = children.len().div_ceil(DirectoryHeader::COUNT_MAX as usize) * DirectoryHeader::SIZE;
    children.iter().map(|child| DirectoryEntry::SIZE + child.name.len()).sum::<usize>() + headers
}

fn block(position: Position) -> Result<u32, Error> {
    u32::try_from(position.block)
        .map_err(|_| Error::Limit { what: "bytes of a metadata table", limit: u64::from(u32::MAX) })
}
