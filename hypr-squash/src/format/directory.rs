//! Directory listings: headers, their entries, and the index of long listings.
//!
//! A listing is a row of headers, each followed by up to 256 entries whose inodes lie in one metadata block of the
//! inode table. Entries are in bytewise order of their names.

use super::fields::Fields;

/// Stands before a group of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirectoryHeader {
    /// Entries that follow, 1 to 256; on disk one less.
    pub(crate) count: u32,
    /// Offset of the metadata block of their inodes in the inode table.
    pub(crate) start: u32,
    /// Inode number that the entries count from.
    pub(crate) number: u32,
}

impl DirectoryHeader {
    pub(crate) const SIZE: usize = 12;
    pub(crate) const COUNT_MAX: u32 = 256;

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for word in [self.count - 1, self.start, self.number] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// `None` when the count is out of range.
    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let count = fields.u32().checked_add(1).filter(|&count| count <= Self::COUNT_MAX)?;
        Some(Self { count, start: fields.u32(), number: fields.u32() })
    }
}

/// One entry without its name, which follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirectoryEntry {
    /// Offset of the inode in its decompressed metadata block.
    pub(crate) offset: u16,
    /// Inode number, less that of the header.
    pub(crate) delta: i16,
    /// Number of the basic form of the inode's type.
    pub(crate) kind: u16,
    /// Bytes of the name, 1 to 65,536; on disk one less.
    pub(crate) name_length: usize,
}

impl DirectoryEntry {
    pub(crate) const SIZE: usize = 8;

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let length = u16::try_from(self.name_length - 1).expect("names are at most 255 bytes");
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.delta.to_le_bytes());
        out.extend_from_slice(&self.kind.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let mut fields = Fields::new(bytes);
        Self {
            offset: fields.u16(),
            delta: fields.i16(),
            kind: fields.u16(),
            name_length: usize::from(fields.u16()) + 1,
        }
    }
}

/// Tells where in a long listing a name begins; follows the inode of the directory, and is followed by the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirectoryIndex {
    /// Byte offset of a header in the listing.
    pub(crate) index: u32,
    /// Offset of the header's metadata block in the directory table.
    pub(crate) start: u32,
    /// Bytes of the name of the header's first entry, at least 1; on disk one less.
    pub(crate) name_length: u32,
}

impl DirectoryIndex {
    pub(crate) const SIZE: usize = 12;

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for word in [self.index, self.start, self.name_length - 1] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// `None` when the length is out of range.
    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let (index, start) = (fields.u32(), fields.u32());
        Some(Self { index, start, name_length: fields.u32().checked_add(1)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_lengths_are_stored_less_one() {
        let mut out = Vec::new();
        let header = DirectoryHeader { count: 256, start: 7, number: 9 };
        header.write(&mut out);
        assert_eq!(out[0], 255);
        assert_eq!(DirectoryHeader::from_bytes(out[..].try_into().unwrap()), Some(header));
        out[1] = 1;
        assert_eq!(DirectoryHeader::from_bytes(out[..].try_into().unwrap()), None);

        out.clear();
        let entry = DirectoryEntry { offset: 1, delta: -2, kind: 3, name_length: 255 };
        entry.write(&mut out);
        assert_eq!(DirectoryEntry::from_bytes(out[..].try_into().unwrap()), entry);

        out.clear();
        let index = DirectoryIndex { index: 1, start: 2, name_length: 3 };
        index.write(&mut out);
        assert_eq!(DirectoryIndex::from_bytes(out[..].try_into().unwrap()), Some(index));
    }
}
