//! Extended attributes: names and values in one table, and sets of them, which inodes refer to, in another.

use super::fields::Fields;

/// Before a name; the name follows, then the length of the value in 32 bits and the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct XattrEntry {
    pub(crate) prefix: XattrPrefix,
    /// The value is eight bytes that tell where the value is.
    pub(crate) out_of_line: bool,
    /// Bytes of the name without its prefix.
    pub(crate) name_length: u16,
}

impl XattrEntry {
    pub(crate) const SIZE: usize = 4;
    const OUT_OF_LINE: u16 = 0x100;

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let kind = self.prefix.number() | if self.out_of_line { Self::OUT_OF_LINE } else { 0 };
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&self.name_length.to_le_bytes());
    }

    /// `None` when the prefix is unknown.
    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let kind = fields.u16();
        Some(Self {
            prefix: XattrPrefix::from_number(kind & 0xff)?,
            out_of_line: kind & Self::OUT_OF_LINE != 0,
            name_length: fields.u16(),
        })
    }
}

/// The namespaces of names that squashfs knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum XattrPrefix {
    User,
    Trusted,
    Security,
}

impl XattrPrefix {
    const ALL: [Self; 3] = [Self::User, Self::Trusted, Self::Security];

    /// The prefix of a full name and what follows it, which is not empty.
    pub(crate) fn split(name: &[u8]) -> Option<(Self, &[u8])> {
        Self::ALL
            .into_iter()
            .find_map(|prefix| Some((prefix, name.strip_prefix(prefix.as_bytes())?)))
            .filter(|(_, rest)| !rest.is_empty())
    }

    pub(crate) const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::User => b"user.",
            Self::Trusted => b"trusted.",
            Self::Security => b"security.",
        }
    }

    const fn number(self) -> u16 {
        match self {
            Self::User => 0,
            Self::Trusted => 1,
            Self::Security => 2,
        }
    }

    fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|prefix| prefix.number() == number)
    }
}

/// A set of extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct XattrId {
    /// Where the first name is: offset of the metadata block and offset in it.
    pub(crate) reference: u64,
    /// Number of names.
    pub(crate) count: u32,
    /// Bytes of all names and values.
    pub(crate) size: u32,
}

impl XattrId {
    /// Bytes of an entry; 512 of them fill a metadata block exactly.
    pub(crate) const SIZE: usize = 16;

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.reference.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let mut fields = Fields::new(bytes);
        Self { reference: fields.u64(), count: fields.u32(), size: fields.u32() }
    }
}

/// Begins the table of sets; the positions of its metadata blocks follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct XattrTableHeader {
    /// Byte offset of the table of names and values in the image.
    pub(crate) values: u64,
    /// Number of sets.
    pub(crate) ids: u32,
}

impl XattrTableHeader {
    pub(crate) const SIZE: usize = 16;

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.values.to_le_bytes());
        out.extend_from_slice(&self.ids.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let mut fields = Fields::new(bytes);
        Self { values: fields.u64(), ids: fields.u32() }
    }
}
