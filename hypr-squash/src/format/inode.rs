//! Inodes, in their basic and extended forms.
//!
//! The extended form is used when the basic one cannot hold a value. What has no fixed size follows the inode: block
//! list, link target, directory index; the xattr index of an extended link comes after its target.

use super::fields::Fields;
use super::{LISTING_EXTRA, NO_XATTRS};

/// A place in a metadata table: offset of a block from the table's start, and offset in the decompressed block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Position {
    pub(crate) block: u64,
    pub(crate) offset: u16,
}

impl Position {
    pub(crate) fn from_reference(reference: u64) -> Self {
        Self { block: reference >> 16, offset: (reference & 0xffff) as u16 }
    }

    pub(crate) fn reference(self) -> u64 {
        self.block << 16 | u64::from(self.offset)
    }
}

/// The type number of an inode in its basic form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum InodeType {
    Directory = 1,
    File = 2,
    Symlink = 3,
    BlockDevice = 4,
    CharDevice = 5,
    Fifo = 6,
    Socket = 7,
}

impl InodeType {
    const EXTENDED: u16 = 7;

    /// The type with this number and whether it is the extended form.
    pub(crate) fn from_number(number: u16) -> Option<(Self, bool)> {
        let extended = number > Self::EXTENDED;
        let kind = match if extended { number - Self::EXTENDED } else { number } {
            1 => Self::Directory,
            2 => Self::File,
            3 => Self::Symlink,
            4 => Self::BlockDevice,
            5 => Self::CharDevice,
            6 => Self::Fifo,
            7 => Self::Socket,
            _ => return None,
        };
        Some((kind, extended))
    }

    /// Bytes of the fixed part after the common header.
    pub(crate) fn fixed_size(self, extended: bool) -> usize {
        match (self, extended) {
            (Self::Directory, false) | (Self::File, false) => 16,
            (Self::Directory, true) => 24,
            (Self::File, true) => 40,
            (Self::Symlink, _) => 8,
            (Self::BlockDevice | Self::CharDevice, false) => 8,
            (Self::BlockDevice | Self::CharDevice, true) => 12,
            (Self::Fifo | Self::Socket, false) => 4,
            (Self::Fifo | Self::Socket, true) => 8,
        }
    }
}

/// An inode without its variable part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inode {
    pub(crate) mode: u16,
    pub(crate) uid_index: u16,
    pub(crate) gid_index: u16,
    pub(crate) mtime: u32,
    pub(crate) number: u32,
    pub(crate) nlink: u32,
    pub(crate) xattr: u32,
    pub(crate) body: Body,
}

/// What an inode holds by its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Directory(DirectoryBody),
    File(FileBody),
    /// The length of the target in bytes.
    Symlink(u32),
    /// The device number as the kernel packs it.
    BlockDevice(u32),
    /// The device number as the kernel packs it.
    CharDevice(u32),
    Fifo,
    Socket,
}

/// Where a listing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirectoryBody {
    /// Offset of the listing's first metadata block in the directory table.
    pub(crate) start: u32,
    /// Offset in the decompressed block.
    pub(crate) offset: u16,
    /// Bytes of the listing and three more.
    pub(crate) size: u32,
    /// Inode number of the parent.
    pub(crate) parent: u32,
    /// Entries of the directory index.
    pub(crate) index_count: u16,
}

/// Where content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileBody {
    /// Byte offset of the first data block in the image.
    pub(crate) start: u64,
    /// Content length in bytes.
    pub(crate) size: u64,
    /// Bytes of content that are holes.
    pub(crate) sparse: u64,
    /// Index of the fragment block, `NO_FRAGMENT` without.
    pub(crate) fragment: u32,
    /// Byte offset in the decompressed fragment block.
    pub(crate) fragment_offset: u32,
}

impl Inode {
    /// Bytes of the header that all inodes share.
    pub(crate) const HEADER_SIZE: usize = 16;

    pub(crate) fn kind(&self) -> InodeType {
        match self.body {
            Body::Directory(_) => InodeType::Directory,
            Body::File(_) => InodeType::File,
            Body::Symlink(_) => InodeType::Symlink,
            Body::BlockDevice(_) => InodeType::BlockDevice,
            Body::CharDevice(_) => InodeType::CharDevice,
            Body::Fifo => InodeType::Fifo,
            Body::Socket => InodeType::Socket,
        }
    }

    fn needs_extended(&self) -> bool {
        self.xattr != NO_XATTRS
            || match &self.body {
                Body::Directory(body) => body.index_count > 0 || body.size > u32::from(u16::MAX),
                Body::File(body) => {
                    let limit = u64::from(u32::MAX);
                    self.nlink != 1 || body.sparse > 0 || body.start > limit || body.size > limit
                }
                _ => false,
            }
    }

    /// Appends the inode and its variable part.
    pub(crate) fn write(&self, tail: &[u8], out: &mut Vec<u8>) {
        let extended = self.needs_extended();
        let kind = self.kind() as u16 + if extended { InodeType::EXTENDED } else { 0 };
        for half in [kind, self.mode, self.uid_index, self.gid_index] {
            out.extend_from_slice(&half.to_le_bytes());
        }
        words(out, &[self.mtime, self.number]);
        match &self.body {
            Body::Directory(body) if extended => {
                words(out, &[self.nlink, body.size, body.start, body.parent]);
                out.extend_from_slice(&body.index_count.to_le_bytes());
                out.extend_from_slice(&body.offset.to_le_bytes());
                words(out, &[self.xattr]);
            }
            Body::Directory(body) => {
                words(out, &[body.start, self.nlink]);
                out.extend_from_slice(&low_half(body.size).to_le_bytes());
                out.extend_from_slice(&body.offset.to_le_bytes());
                words(out, &[body.parent]);
            }
            Body::File(body) if extended => {
                for long in [body.start, body.size, body.sparse] {
                    out.extend_from_slice(&long.to_le_bytes());
                }
                words(out, &[self.nlink, body.fragment, body.fragment_offset, self.xattr]);
            }
            Body::File(body) => {
                words(out, &[low_word(body.start), body.fragment, body.fragment_offset, low_word(body.size)]);
            }
            Body::Symlink(length) => words(out, &[self.nlink, *length]),
            Body::BlockDevice(device) | Body::CharDevice(device) => {
                words(out, &[self.nlink, *device]);
                if extended {
                    words(out, &[self.xattr]);
                }
            }
            Body::Fifo | Body::Socket => {
                words(out, &[self.nlink]);
                if extended {
                    words(out, &[self.xattr]);
                }
            }
        }
        out.extend_from_slice(tail);
        if extended && matches!(self.body, Body::Symlink(_)) {
            words(out, &[self.xattr]);
        }
    }

    /// Reads the header and the fixed part, whose size is that of [`InodeType::fixed_size`]. The xattr index of an
    /// extended symbolic link is left to the caller.
    pub(crate) fn from_bytes(header: &[u8; Self::HEADER_SIZE], fixed: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(header);
        let (kind, extended) = InodeType::from_number(fields.u16())?;
        if fixed.len() != kind.fixed_size(extended) {
            return None;
        }
        let mode = fields.u16() & 0o7777;
        let (uid_index, gid_index, mtime, number) = (fields.u16(), fields.u16(), fields.u32(), fields.u32());
        let mut fields = Fields::new(fixed);
        let (mut nlink, mut xattr) = (1, NO_XATTRS);
        let body = match kind {
            InodeType::Directory if extended => {
                nlink = fields.u32();
                let (size, start, parent) = (fields.u32(), fields.u32(), fields.u32());
                let (index_count, offset) = (fields.u16(), fields.u16());
                xattr = fields.u32();
                Body::Directory(DirectoryBody { start, offset, size, parent, index_count })
            }
            InodeType::Directory => {
                let start = fields.u32();
                nlink = fields.u32();
                let (size, offset, parent) = (u32::from(fields.u16()), fields.u16(), fields.u32());
                Body::Directory(DirectoryBody { start, offset, size, parent, index_count: 0 })
            }
            InodeType::File if extended => {
                let (start, size, sparse) = (fields.u64(), fields.u64(), fields.u64());
                nlink = fields.u32();
                let (fragment, fragment_offset) = (fields.u32(), fields.u32());
                xattr = fields.u32();
                Body::File(FileBody { start, size, sparse, fragment, fragment_offset })
            }
            InodeType::File => {
                let (start, fragment, fragment_offset) = (fields.u32(), fields.u32(), fields.u32());
                let size = u64::from(fields.u32());
                Body::File(FileBody { start: u64::from(start), size, sparse: 0, fragment, fragment_offset })
            }
            other => {
                nlink = fields.u32();
                let body = match other {
                    InodeType::Symlink => Body::Symlink(fields.u32()),
                    InodeType::BlockDevice => Body::BlockDevice(fields.u32()),
                    InodeType::CharDevice => Body::CharDevice(fields.u32()),
                    InodeType::Fifo => Body::Fifo,
                    _ => Body::Socket,
                };
                if extended && other != InodeType::Symlink {
                    xattr = fields.u32();
                }
                body
            }
        };
        Some(Self { mode, uid_index, gid_index, mtime, number, nlink, xattr, body })
    }
}

impl DirectoryBody {
    /// Bytes of the listing itself.
    pub(crate) fn listing_size(&self) -> u32 {
        self.size.saturating_sub(LISTING_EXTRA)
    }
}

fn words(out: &mut Vec<u8>, words: &[u32]) {
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

fn low_word(value: u64) -> u32 {
    u32::try_from(value).expect("larger values take the extended form")
}

fn low_half(value: u32) -> u16 {
    u16::try_from(value).expect("larger values take the extended form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::NO_FRAGMENT;

    fn round_trip(inode: &Inode, size: usize) {
        let mut out = Vec::new();
        inode.write(b"", &mut out);
        assert_eq!(out.len(), size, "{inode:?}");
        let (header, fixed) = out.split_first_chunk().unwrap();
        assert_eq!(Inode::from_bytes(header, fixed).as_ref(), Some(inode));
    }

    #[test]
    fn every_type_has_its_size_in_both_forms() {
        let file = FileBody { start: 1, size: 2, sparse: 0, fragment: NO_FRAGMENT, fragment_offset: 0 };
        let directory = DirectoryBody { start: 1, offset: 2, size: 3, parent: 4, index_count: 0 };
        for (body, basic, extended) in [
            (Body::Directory(directory), 32, 40),
            (Body::File(file), 32, 56),
            (Body::BlockDevice(9), 24, 28),
            (Body::CharDevice(9), 24, 28),
            (Body::Fifo, 20, 24),
            (Body::Socket, 20, 24),
        ] {
            let mut inode = Inode {
                mode: 0o7777,
                uid_index: 1,
                gid_index: 2,
                mtime: 3,
                number: 4,
                nlink: 1,
                xattr: NO_XATTRS,
                body,
            };
            round_trip(&inode, basic);
            inode.xattr = 0;
            round_trip(&inode, extended);
        }
    }

    #[test]
    fn values_out_of_range_take_the_extended_form() {
        let file = FileBody { start: 1, size: 2, sparse: 0, fragment: NO_FRAGMENT, fragment_offset: 0 };
        for (nlink, file) in [
            (2, file),
            (1, FileBody { start: 1 << 32, ..file }),
            (1, FileBody { size: 1 << 32, ..file }),
            (1, FileBody { sparse: 1, ..file }),
        ] {
            let body = Body::File(file);
            let inode =
                Inode { mode: 0, uid_index: 0, gid_index: 0, mtime: 0, number: 1, nlink, xattr: NO_XATTRS, body };
            round_trip(&inode, 56);
        }
    }

    #[test]
    fn references_hold_block_and_offset() {
        let position = Position { block: 0x1234_5678, offset: 0x1abc };
        assert_eq!(position.reference(), 0x1234_5678_1abc);
        assert_eq!(Position::from_reference(position.reference()), position);
    }
}
