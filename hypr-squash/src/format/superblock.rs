//! The superblock: the first 96 bytes of every squashfs 4.0 image.
//!
//! It is written last, because it records where the tables ended up. Offsets are bytes from the start of the image.

use super::fields::Fields;

/// Bits of [`Superblock::flags`].
pub(crate) mod flags {
    /// Equal files are stored once.
    pub(crate) const DUPLICATES: u16 = 0x0040;
    /// There is an export table.
    pub(crate) const EXPORTABLE: u16 = 0x0080;
    /// Compressor options follow the superblock.
    pub(crate) const COMPRESSOR_OPTIONS: u16 = 0x0400;
}

/// The superblock, field by field in disk order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) inodes: u32,
    pub(crate) created: u32,
    pub(crate) block_size: u32,
    pub(crate) fragments: u32,
    pub(crate) compression: u16,
    pub(crate) block_log: u16,
    pub(crate) flags: u16,
    pub(crate) ids: u16,
    pub(crate) major: u16,
    pub(crate) minor: u16,
    pub(crate) root: u64,
    pub(crate) bytes_used: u64,
    pub(crate) id_table: u64,
    pub(crate) xattr_table: u64,
    pub(crate) inode_table: u64,
    pub(crate) directory_table: u64,
    pub(crate) fragment_table: u64,
    pub(crate) export_table: u64,
}

impl Superblock {
    pub(crate) const SIZE: usize = 96;
    /// `hsqs` as it stands on disk.
    pub(crate) const MAGIC: u32 = 0x7371_7368;
    pub(crate) const MAJOR: u16 = 4;
    pub(crate) const MINOR: u16 = 0;

    pub(crate) fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = Vec::with_capacity(Self::SIZE);
        bytes.extend_from_slice(&Self::MAGIC.to_le_bytes());
        for word in [self.inodes, self.created, self.block_size, self.fragments] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for half in [self.compression, self.block_log, self.flags, self.ids, self.major, self.minor] {
            bytes.extend_from_slice(&half.to_le_bytes());
        }
        for offset in [
            self.root,
            self.bytes_used,
            self.id_table,
            self.xattr_table,
            self.inode_table,
            self.directory_table,
            self.fragment_table,
            self.export_table,
        ] {
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes.try_into().expect("the fields add up to 96 bytes")
    }

    /// `None` when the magic number is not that of squashfs.
    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        (fields.u32() == Self::MAGIC).then(|| Self {
            inodes: fields.u32(),
            created: fields.u32(),
            block_size: fields.u32(),
            fragments: fields.u32(),
            compression: fields.u16(),
            block_log: fields.u16(),
            flags: fields.u16(),
            ids: fields.u16(),
            major: fields.u16(),
            minor: fields.u16(),
            root: fields.u64(),
            bytes_used: fields.u64(),
            id_table: fields.u64(),
            xattr_table: fields.u64(),
            inode_table: fields.u64(),
            directory_table: fields.u64(),
            fragment_table: fields.u64(),
            export_table: fields.u64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order() {
        let superblock = Superblock {
            inodes: 1,
            created: 2,
            block_size: 3,
            fragments: 4,
            compression: 5,
            block_log: 6,
            flags: 7,
            ids: 8,
            major: 9,
            minor: 10,
            root: 11,
            bytes_used: 12,
            id_table: 13,
            xattr_table: 14,
            inode_table: 15,
            directory_table: 16,
            fragment_table: 17,
            export_table: 18,
        };
        let bytes = superblock.to_bytes();
        assert_eq!(&bytes[..4], b"hsqs");
        assert_eq!(bytes[32], 11, "the root reference is the first 64-bit field");
        assert_eq!(Superblock::from_bytes(&bytes), Some(superblock));
    }

    #[test]
    fn other_magic_is_refused() {
        assert_eq!(Superblock::from_bytes(&[0; Superblock::SIZE]), None);
    }
}
