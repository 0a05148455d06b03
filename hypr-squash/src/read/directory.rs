//! Reads directory listings.

use super::cursor::Cursor;
use super::image::Image;
use crate::format::{
    DirectoryBody, DirectoryEntry, DirectoryHeader, DirectoryIndex, InodeType, METADATA_SIZE, NAME_MAX, Position,
};
use crate::{Error, Table};

/// An entry as it stands in a listing.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: Vec<u8>,
    /// Where the inode is.
    pub(super) inode: Position,
    pub(super) number: u32,
    pub(super) kind: InodeType,
}

/// Goes through a listing, one entry at a time.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    cursor: Cursor<'a>,
    /// Bytes of the listing not yet read.
    rest: u32,
    header: DirectoryHeader,
    /// Entries left under the header.
    left: u32,
    previous: Vec<u8>,
}

impl<'a> Listing<'a> {
    /// `None` for an empty directory, whose position means nothing.
    pub(super) fn open(image: &'a Image, directory: &DirectoryBody) -> Result<Option<Self>, Error> {
        let rest = directory.listing_size();
        if rest == 0 {
            return Ok(None);
        }
        let position = Position { block: u64::from(directory.start), offset: directory.offset };
        let cursor = Cursor::new(image, Table::Directories, image.directories.clone(), position)?;
        let header = DirectoryHeader { count: 1, start: 0, number: 0 };
        Ok(Some(Self { cursor, rest, header, left: 0, previous: Vec::new() }))
    }

    /// Begins at a header in the middle, found through the directory's index.
    pub(super) fn open_at(image: &'a Image, directory: &DirectoryBody, index: DirectoryIndex) -> Result<Self, Error> {
        let offset = (usize::from(directory.offset) + index.index as usize) % METADATA_SIZE;
        let offset = u16::try_from(offset).expect("the remainder is less than 8 KiB");
        let position = Position { block: u64::from(index.start), offset };
        let cursor = Cursor::new(image, Table::Directories, image.directories.clone(), position)?;
        let header = DirectoryHeader { count: 1, start: 0, number: 0 };
        let rest = directory.listing_size().checked_sub(index.index);
        let outside = || Error::corrupt(Table::Directories, cursor.offset(), "a directory index points outside");
        let rest = rest.ok_or_else(outside)?;
        Ok(Self { cursor, rest, header, left: 0, previous: Vec::new() })
    }

    /// Where the next entry would be read.
    pub(super) fn position(&self) -> Position {
        self.cursor.position()
    }

    /// Byte offset in the image, for errors.
    pub(super) fn offset(&self) -> u64 {
        self.cursor.offset()
    }

    pub(super) fn next(&mut self) -> Result<Option<Listed>, Error> {
        if self.left == 0 {
            if self.rest == 0 {
                return Ok(None);
            }
            self.take(DirectoryHeader::SIZE)?;
            let header = DirectoryHeader::from_bytes(&self.cursor.array()?);
            self.header = header.ok_or_else(|| self.corrupt("a header counts more than 256 entries"))?;
            self.left = self.header.count;
        }
        self.left -= 1;
        self.take(DirectoryEntry::SIZE)?;
        let entry = DirectoryEntry::from_bytes(&self.cursor.array()?);
        if entry.name_length > NAME_MAX {
            return Err(self.corrupt("a name is longer than 255 bytes"));
        }
        self.take(entry.name_length)?;
        let name = self.cursor.bytes(entry.name_length)?;
        if !is_name(&name) {
            return Err(self.corrupt("a name is not one"));
        }
        if name <= self.previous {
            return Err(self.corrupt("names are not in order"));
        }
        self.previous.clone_from(&name);
        let number = self.header.number.wrapping_add_signed(i32::from(entry.delta));
        let Some((kind, false)) = InodeType::from_number(entry.kind) else {
            return Err(self.corrupt("an entry has an unknown type"));
        };
        let inode = Position { block: u64::from(self.header.start), offset: entry.offset };
        Ok(Some(Listed { name, inode, number, kind }))
    }

    fn take(&mut self, bytes: usize) -> Result<(), Error> {
        let rest = u32::try_from(bytes).ok().and_then(|bytes| self.rest.checked_sub(bytes));
        self.rest = rest.ok_or_else(|| self.corrupt("a listing ends within an entry"))?;
        Ok(())
    }

    fn corrupt(&self, reason: &'static str) -> Error {
        Error::corrupt(Table::Directories, self.cursor.offset(), reason)
    }
}

/// Whether `name` can be the name of an entry.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}
