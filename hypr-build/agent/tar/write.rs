//! Writes archive members.
//!
//! A pax record is written for a field exactly when its ustar field cannot hold the value: a path over 100 bytes, a
//! number over its octal digits, a time before 1970, extended attributes (`SCHILY.xattr.`). Times are whole seconds,
//! as squashfs keeps them. A file with large holes becomes a GNU sparse member of format 1.0: its data starts with a
//! decimal map, one number a line, padded to a block.

use std::{fmt::Write as _, io, io::Write};

use super::BLOCK;

/// A length of data at an offset of a sparse file, both in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// What a member is; its data, if it has any, follows the header.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Member<'a> {
    /// A file of this many bytes, all of which follow.
    File {
        size: u64,
    },
    /// A file of which only `segments` follow, one after the other.
    SparseFile {
        size: u64,
        segments: &'a [Segment],
    },
    HardLink {
        target: &'a [u8],
    },
    Symlink {
        target: &'a [u8],
    },
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Directory,
    Fifo,
}

/// The header of a member, without the data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header<'a> {
    /// Relative, without a slash at either end; empty for the root.
    pub(crate) path: &'a [u8],
    pub(crate) member: Member<'a>,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    pub(crate) xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl Header<'_> {
    /// Writes the header, pax records first, and the map of a sparse file.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut pax = Vec::new();
        let map = match self.member {
            Member::SparseFile { segments, .. } => sparse_map(segments),
            _ => Vec::new(),
        };
        let block = self.block(&map, &mut pax);
        if !pax.is_empty() {
            let mut extension = Ustar::new();
            extension.bytes(0, 100, b"pax");
            extension.octal(100, 8, 0o644);
            extension.octal(124, 12, pax.len() as u64);
            extension.set_kind(b'x');
            out.write_all(&extension.finish())?;
            out.write_all(&pax)?;
            pad(out, pax.len() as u64)?;
        }
        out.write_all(&block)?;
        out.write_all(&map)
    }

    /// The ustar block; what does not fit goes to `pax`.
    fn block(&self, map: &[u8], pax: &mut Vec<u8>) -> [u8; BLOCK] {
        let mut block = Ustar::new();
        let mut path = if self.path.is_empty() { b".".to_vec() } else { self.path.to_vec() };
        if matches!(self.member, Member::Directory) {
            path.push(b'/');
        }
        if let Member::SparseFile { size, .. } = self.member {
            record(pax, b"GNU.sparse.major", b"1");
            record(pax, b"GNU.sparse.minor", b"0");
            record(pax, b"GNU.sparse.name", &path);
            record(pax, b"GNU.sparse.realsize", size.to_string().as_bytes());
            path.truncate(100);
        }
        if !block.bytes(0, 100, &path) {
            record(pax, b"path", &path);
        }
        block.octal(100, 8, u64::from(self.mode));
        for (offset, name, id) in [(108, b"uid", self.uid), (116, b"gid", self.gid)] {
            if !block.octal(offset, 8, u64::from(id)) {
                record(pax, name, id.to_string().as_bytes());
            }
        }
        let size = match self.member {
            Member::File { size } => size,
            Member::SparseFile { segments, .. } => {
                segments.iter().map(|segment| segment.length).sum::<u64>() + map.len() as u64
            }
            _ => 0,
        };
        if !block.octal(124, 12, size) {
            record(pax, b"size", size.to_string().as_bytes());
        }
        if !u64::try_from(self.mtime).is_ok_and(|mtime| block.octal(136, 12, mtime)) {
            block.octal(136, 12, 0);
            record(pax, b"mtime", self.mtime.to_string().as_bytes());
        }
        let (kind, target, (major, minor)) = match self.member {
            Member::File { .. } | Member::SparseFile { .. } => (b'0', &b""[..], (0, 0)),
            Member::HardLink { target } => (b'1', target, (0, 0)),
            Member::Symlink { target } => (b'2', target, (0, 0)),
            Member::CharDevice { major, minor } => (b'3', &b""[..], (major, minor)),
            Member::BlockDevice { major, minor } => (b'4', &b""[..], (major, minor)),
            Member::Directory => (b'5', &b""[..], (0, 0)),
            Member::Fifo => (b'6', &b""[..], (0, 0)),
        };
        block.set_kind(kind);
        if !block.bytes(157, 100, target) {
            record(pax, b"linkpath", target);
        }
        // Linux device numbers have 12 bits of major and 20 of minor: both fit seven octal digits.
        block.octal(329, 8, u64::from(major));
        block.octal(337, 8, u64::from(minor));
        for (name, value) in self.xattrs {
            record(pax, &xattr_key(name), value);
        }
        block.finish()
    }
}

/// Fills the last block of `length` bytes of data with zeroes.
pub(crate) fn pad(out: &mut dyn Write, length: u64) -> io::Result<()> {
    let used = usize::try_from(length % BLOCK as u64).unwrap_or(0);
    if used == 0 { Ok(()) } else { out.write_all([0u8; BLOCK].get(used..).unwrap_or_default()) }
}

/// Ends the archive with its two zero blocks.
pub(crate) fn finish(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0u8; 2 * BLOCK])
}

/// The map of a GNU sparse member of format 1.0: count, then offset and length of each segment.
fn sparse_map(segments: &[Segment]) -> Vec<u8> {
    let mut map = format!("{}\n", segments.len());
    for segment in segments {
        // Writing to a string cannot fail.
        let _ = write!(map, "{}\n{}\n", segment.offset, segment.length);
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// The key of an extended attribute. A `=` would end it early and is written as GNU tar does.
fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'=' => key.extend_from_slice(b"%3D"),
            b'%' => key.extend_from_slice(b"%25"),
            byte => key.push(*byte),
        }
    }
    key
}

/// Appends `length key=value\n`, where the length counts the whole record, its own digits included.
fn record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    pax.extend_from_slice(length.to_string().as_bytes());
    pax.push(b' ');
    pax.extend_from_slice(key);
    pax.push(b'=');
    pax.extend_from_slice(value);
    pax.push(b'\n');
}

/// A ustar header block under construction. Offsets and widths are those of POSIX.1-2017, `pax`, "ustar Interchange
/// Format".
struct Ustar([u8; BLOCK]);

impl Ustar {
    fn new() -> Self {
        let mut block = Self([0; BLOCK]);
        block.bytes(257, 8, b"ustar\x0000");
        block
    }

    /// Writes `value`, cut to the field; tells whether all of it went in.
    fn bytes(&mut self, offset: usize, width: usize, value: &[u8]) -> bool {
        for (to, from) in self.0.iter_mut().skip(offset).take(width).zip(value) {
            *to = *from;
        }
        value.len() <= width
    }

    /// Writes `value` as octal digits and a NUL; writes zero and tells so if the digits are too few.
    fn octal(&mut self, offset: usize, width: usize, value: u64) -> bool {
        let digits = width - 1;
        let fits = value >> (3 * digits) == 0;
        self.bytes(offset, width, format!("{:0digits$o}\0", if fits { value } else { 0 }).as_bytes());
        fits
    }

    fn set_kind(&mut self, kind: u8) {
        self.bytes(156, 1, &[kind]);
    }

    /// Adds the checksum: the sum of all bytes, its own field counted as spaces.
    fn finish(mut self) -> [u8; BLOCK] {
        self.bytes(148, 8, b"        ");
        let sum: u64 = self.0.iter().map(|&byte| u64::from(byte)).sum();
        self.bytes(148, 8, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}
