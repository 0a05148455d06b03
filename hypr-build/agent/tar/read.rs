//! Reads the archives that hypr writes, and no others.
//!
//! Understood are ustar headers with an octal number in each field, and before each at most one block of pax records
//! of the kinds that hypr uses. Whatever else an archive may hold is an error, as is one that ends without its end
//! marker. Lengths are bounded before anything is kept.

use std::io::{self, Read};

use super::BLOCK;

/// The longest path or link target.
const MAX_PATH: usize = 4096;
/// The most bytes of pax records before an entry: a full set of extended attributes is far less.
const MAX_PAX: u64 = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// So many bytes of data follow.
    File(u64),
    /// The path of the file that was there first.
    HardLink(Vec<u8>),
    /// The target, as it is.
    Symlink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Directory,
    Fifo,
}

/// An entry without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Relative, of plain names; empty for the root.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An archive being read.
#[derive(Debug)]
pub(crate) struct Archive<R> {
    input: R,
    /// Bytes of the present entry's data that are still to be read, and padding after them.
    data: u64,
    padding: u64,
}

/// What pax records say about the next entry.
#[derive(Debug, Default)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<i64>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, data: 0, padding: 0 }
    }

    /// The next entry; `None` at the end marker. What was not read of the last entry's data is passed over.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        let rest = self.data + self.padding;
        let passed = io::copy(&mut (&mut self.input).take(rest), &mut io::sink())?;
        if passed < rest {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.data, self.padding) = (0, 0);
        let mut pax = None;
        loop {
            let block = self.block()?;
            if block == [0; BLOCK] {
                if pax.is_some() || self.block()? != [0; BLOCK] {
                    return Err(malformed("its end marker is not whole"));
                }
                return Ok(None);
            }
            let header = Header::parse(&block)?;
            if header.kind() != b'x' {
                return self.entry(&header, pax.unwrap_or_default()).map(Some);
            }
            if pax.is_some() {
                return Err(malformed("an entry has two extended headers"));
            }
            pax = Some(self.pax(&header)?);
        }
    }

    /// The data of the present entry.
    pub(crate) fn data(&mut self) -> Data<'_, R> {
        Data(self)
    }

    fn block(&mut self) -> io::Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.input.read_exact(&mut block)?;
        Ok(block)
    }

    fn pax(&mut self, header: &Header<'_>) -> io::Result<Pax> {
        let size = header.number(124, 12)?;
        if size > MAX_PAX {
            return Err(malformed("an extended header is too long"));
        }
        let mut records = Vec::new();
        (&mut self.input).take(size.next_multiple_of(BLOCK as u64)).read_to_end(&mut records)?;
        let used = usize::try_from(size).map_err(io::Error::other)?;
        let records = records.get(..used).ok_or(io::ErrorKind::UnexpectedEof)?;
        Pax::parse(records).ok_or_else(|| malformed("an extended header is malformed"))
    }

    fn entry(&mut self, header: &Header<'_>, pax: Pax) -> io::Result<Entry> {
        let small = |offset, width| -> io::Result<u32> {
            u32::try_from(header.number(offset, width)?).map_err(|_| malformed("a number is too large"))
        };
        let link = pax.link.unwrap_or_else(|| header.text(157, 100).to_vec());
        let size = pax.size.map_or_else(|| header.number(124, 12), Ok)?;
        let kind = match header.kind() {
            b'0' => Kind::File(size),
            b'1' => Kind::HardLink(path(&link)?),
            b'2' if (1..MAX_PATH).contains(&link.len()) && !link.contains(&0) => Kind::Symlink(link),
            b'3' => Kind::CharDevice(small(329, 8)?, small(337, 8)?),
            b'4' => Kind::BlockDevice(small(329, 8)?, small(337, 8)?),
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            _ => return Err(malformed("an entry is of a kind that no layer has")),
        };
        if size != 0 && !matches!(kind, Kind::File(_)) {
            return Err(malformed("an entry that is no file has data"));
        }
        let name = pax.path.unwrap_or_else(|| header.name());
        let name = match (&kind, &name[..]) {
            (Kind::Directory, b"./") => &[],
            (Kind::Directory, name) => name.strip_suffix(b"/").unwrap_or(name),
            (_, name) => name,
        };
        let mode = header.number(100, 8)?;
        (self.data, self.padding) = (size, size.wrapping_neg() % BLOCK as u64);
        Ok(Entry {
            path: if name.is_empty() && kind == Kind::Directory { Vec::new() } else { path(name)? },
            kind,
            mode: u16::try_from(mode)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .ok_or_else(|| malformed("a mode is wrong"))?,
            uid: pax.uid.map_or_else(|| small(108, 8), Ok)?,
            gid: pax.gid.map_or_else(|| small(116, 8), Ok)?,
            mtime: match pax.mtime {
                Some(mtime) => mtime,
                None => i64::try_from(header.number(136, 12)?).map_err(io::Error::other)?,
            },
            xattrs: pax.xattrs,
        })
    }
}

/// Reads the data of an entry; fails where the archive ends before it does.
#[derive(Debug)]
pub(crate) struct Data<'a, R>(&'a mut Archive<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.0.data).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..want).unwrap_or_default();
        let length = self.0.input.read(buffer)?;
        if length == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.data -= length as u64;
        Ok(length)
    }
}

impl Pax {
    fn parse(mut records: &[u8]) -> Option<Self> {
        let mut pax = Self::default();
        while !records.is_empty() {
            let space = records.iter().position(|&byte| byte == b' ')?;
            let length = usize::try_from(decimal(records.get(..space)?)?).ok()?;
            let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
            records = records.get(length..)?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            let (key, value) = (record.get(..equals)?, record.get(equals + 1..)?);
            match key {
                b"path" => pax.path = Some(value.to_vec()),
                b"linkpath" => pax.link = Some(value.to_vec()),
                b"size" => pax.size = Some(decimal(value)?),
                b"uid" => pax.uid = Some(decimal(value)?.try_into().ok()?),
                b"gid" => pax.gid = Some(decimal(value)?.try_into().ok()?),
                b"mtime" => pax.mtime = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
                _ => pax.xattrs.push((xattr_name(key.strip_prefix(b"SCHILY.xattr.")?)?, value.to_vec())),
            }
        }
        Some(pax)
    }
}

/// The name behind a key in which `=` and `%` are escaped; `None` if the kernel would not take it.
fn xattr_name(key: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(key.len());
    let mut rest = key;
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = match rest {
            [b'%', b'3', b'D', after @ ..] => (b'=', after),
            [b'%', b'2', b'5', after @ ..] => (b'%', after),
            _ => (byte, after),
        };
        name.push(byte);
        rest = after;
    }
    (!name.is_empty() && name.len() <= 255 && !name.contains(&0)).then_some(name)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    if text.starts_with('+') { None } else { text.parse().ok() }
}

/// A ustar block whose checksum is right.
struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    fn parse(block: &'a [u8; BLOCK]) -> io::Result<Self> {
        let header = Self(block);
        let sum =
            block.iter().enumerate().map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { u64::from(byte) });
        if sum.sum::<u64>() != header.number(148, 8)? {
            return Err(malformed("a header's checksum is wrong"));
        }
        if header.bytes(257, 8) != b"ustar\x0000" {
            return Err(malformed("a header is not ustar"));
        }
        Ok(header)
    }

    fn bytes(&self, offset: usize, width: usize) -> &'a [u8] {
        self.0.get(offset..offset + width).unwrap_or_default()
    }

    /// A field up to its first NUL.
    fn text(&self, offset: usize, width: usize) -> &'a [u8] {
        self.bytes(offset, width).split(|&byte| byte == 0).next().unwrap_or_default()
    }

    fn kind(&self) -> u8 {
        self.bytes(156, 1).first().copied().unwrap_or(0)
    }

    fn name(&self) -> Vec<u8> {
        let (prefix, name) = (self.text(345, 155), self.text(0, 100));
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// Octal digits, ended by a NUL or a space.
    fn number(&self, offset: usize, width: usize) -> io::Result<u64> {
        let digits = self.bytes(offset, width).split(|byte| matches!(byte, 0 | b' ')).next().unwrap_or_default();
        let value = digits.iter().try_fold(0u64, |value, digit| match digit {
            b'0'..=b'7' => Some(value << 3 | u64::from(digit - b'0')),
            _ => None,
        });
        value.ok_or_else(|| malformed("a number is not octal"))
    }
}

/// Checks that a path is of plain names: nothing that the kernel would resolve otherwise than as a name.
fn path(path: &[u8]) -> io::Result<Vec<u8>> {
    let plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && name.len() <= 255 && !name.contains(&0);
    if path.len() < MAX_PATH && path.split(|&byte| byte == b'/').all(plain) {
        Ok(path.to_vec())
    } else {
        Err(malformed("a path is not plain"))
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the archive is malformed: {what}"))
}
