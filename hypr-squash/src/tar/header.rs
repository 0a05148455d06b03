//! One header block: 512 bytes of fixed fields, mostly octal text.
//!
//! | offset | field | offset | field |
//! |---|---|---|---|
//! | 0 | name, 100 | 257 | magic and version, 8 |
//! | 100 | mode, 8 | 265 | user and group names, 32 each |
//! | 108, 116 | uid and gid, 8 each | 329, 337 | device major and minor, 8 each |
//! | 124 | size, 12 | 345 | ustar: prefix, 155 |
//! | 136 | mtime, 12 | 386 | GNU: sparse map, 4 x 24 |
//! | 148 | checksum, 8 | 482 | GNU: 1 when more of the map follows |
//! | 156 | type, 1 | 483 | GNU: size with holes, 12 |
//! | 157 | link target, 100 | | |

use std::ops::Range;

use super::error::Fault;

/// Everything in a tar archive is padded to blocks of this size.
pub(super) const BLOCK: usize = 512;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
/// The variant of Schilling's star keeps times in the last 24 bytes of the prefix.
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_TRAILER: Range<usize> = 508..512;
const SPARSE: Range<usize> = 386..482;
const SPARSE_MORE: usize = 482;
const SPARSE_SIZE: Range<usize> = 483..495;

/// A header block whose checksum matches.
#[derive(Clone)]
pub(super) struct Header([u8; BLOCK]);

impl Header {
    /// Takes over a block after checking its checksum.
    pub(super) fn parse(block: [u8; BLOCK]) -> Result<Self, Fault> {
        let stored = number(&block[CHECKSUM], "checksum").map_err(|_| Fault::Checksum)?;
        let sum = |add: fn(u8) -> i64| -> i64 {
            block.iter().enumerate().map(|(at, byte)| if CHECKSUM.contains(&at) { 32 } else { add(*byte) }).sum()
        };
        // Some old programs added the bytes up as signed characters.
        if stored != i128::from(sum(i64::from)) && stored != i128::from(sum(|byte| i64::from(byte.cast_signed()))) {
            return Err(Fault::Checksum);
        }
        Ok(Self(block))
    }

    /// An empty ustar header for an entry of type `kind`.
    pub(super) fn new(kind: u8) -> Self {
        let mut block = [0; BLOCK];
        block[MAGIC].copy_from_slice(b"ustar\x0000");
        block[TYPE] = kind;
        Self(block)
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[TYPE]
    }

    /// Whether GNU tar's own format is used, in which the prefix has other meanings.
    pub(super) fn is_gnu(&self) -> bool {
        &self.0[MAGIC] == b"ustar  \0"
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[NAME]);
        let prefix = match &self.0[MAGIC.start..MAGIC.start + 6] {
            b"ustar\0" if &self.0[STAR_TRAILER] == b"tar\0" => text(&self.0[STAR_PREFIX]),
            b"ustar\0" => text(&self.0[PREFIX]),
            _ => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[LINK]).to_vec()
    }

    /// Permission bits; some programs store the file type above them.
    pub(super) fn mode(&self) -> Result<u16, Fault> {
        let mode = number(&self.0[MODE], "mode")?;
        u16::try_from(mode & 0o7777).map_err(|_| Fault::Number("mode"))
    }

    pub(super) fn uid(&self) -> Result<u64, Fault> {
        unsigned(&self.0[UID], "user id")
    }

    pub(super) fn gid(&self) -> Result<u64, Fault> {
        unsigned(&self.0[GID], "group id")
    }

    /// Bytes of data after the header.
    pub(super) fn size(&self) -> Result<u64, Fault> {
        unsigned(&self.0[SIZE], "size")
    }

    pub(super) fn mtime(&self) -> Result<i64, Fault> {
        i64::try_from(number(&self.0[MTIME], "modification time")?).map_err(|_| Fault::Number("modification time"))
    }

    pub(super) fn device(&self) -> Result<(u64, u64), Fault> {
        Ok((unsigned(&self.0[MAJOR], "device number")?, unsigned(&self.0[MINOR], "device number")?))
    }

    /// The first four parts of a GNU sparse map, and whether blocks with more of them follow.
    pub(super) fn sparse_map(&self) -> (&[u8], bool) {
        (&self.0[SPARSE], self.0[SPARSE_MORE] != 0)
    }

    /// Size of a GNU sparse file with its holes.
    pub(super) fn sparse_size(&self) -> Result<u64, Fault> {
        unsigned(&self.0[SPARSE_SIZE], "size")
    }

    /// Stores `name` where it fits, in the prefix too if there is a slash at the right place.
    pub(super) fn set_name(&mut self, name: &[u8]) -> bool {
        if name.len() <= NAME.len() {
            self.0[NAME][..name.len()].copy_from_slice(name);
            return true;
        }
        // The slash between prefix and name is implied, and neither part may be empty.
        let slash = (1..name.len() - 1).find(|&at| name[at] == b'/' && name.len() - at - 1 <= NAME.len());
        match slash {
            Some(at) if at <= PREFIX.len() => {
                self.0[PREFIX][..at].copy_from_slice(&name[..at]);
                self.0[NAME][..name.len() - at - 1].copy_from_slice(&name[at + 1..]);
                true
            }
            _ => false,
        }
    }

    /// Stores the target of a link where it fits.
    pub(super) fn set_link(&mut self, target: &[u8]) -> bool {
        let fits = target.len() <= LINK.len();
        if fits {
            self.0[LINK][..target.len()].copy_from_slice(target);
        }
        fits
    }

    pub(super) fn set_mode(&mut self, mode: u16) -> bool {
        octal(&mut self.0[MODE], u64::from(mode))
    }

    pub(super) fn set_uid(&mut self, uid: u32) -> bool {
        octal(&mut self.0[UID], u64::from(uid))
    }

    pub(super) fn set_gid(&mut self, gid: u32) -> bool {
        octal(&mut self.0[GID], u64::from(gid))
    }

    pub(super) fn set_size(&mut self, size: u64) -> bool {
        octal(&mut self.0[SIZE], size)
    }

    pub(super) fn set_mtime(&mut self, mtime: i64) -> bool {
        let fits = u64::try_from(mtime).is_ok_and(|mtime| octal(&mut self.0[MTIME], mtime));
        fits || !octal(&mut self.0[MTIME], 0)
    }

    pub(super) fn set_device(&mut self, major: u32, minor: u32) -> bool {
        octal(&mut self.0[MAJOR], u64::from(major)) && octal(&mut self.0[MINOR], u64::from(minor))
    }

    /// The finished block, with its checksum.
    pub(super) fn seal(mut self) -> [u8; BLOCK] {
        self.0[CHECKSUM].fill(b' ');
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut self.0[CHECKSUM.start..CHECKSUM.end - 1], sum);
        self.0
    }
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
}

/// An octal number between blanks and NULs, or a two's complement number of base 256 marked by the top bit.
fn number(field: &[u8], what: &'static str) -> Result<i128, Fault> {
    if field[0] & 0x80 != 0 {
        // Bit 6 is the sign; sizes beyond 16 bytes do not occur, since fields have 12 at most.
        let negative = field[0] & 0x40 != 0;
        let first = if negative { i128::from(field[0].cast_signed()) } else { i128::from(field[0] & 0x3f) };
        return Ok(field[1..].iter().fold(first, |value, byte| (value << 8) | i128::from(*byte)));
    }
    let blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    if !digits[end..].iter().all(blank) {
        return Err(Fault::Number(what));
    }
    digits[..end].iter().try_fold(0, |value: i128, digit| match digit {
        b'0'..=b'7' => Ok((value << 3) | i128::from(digit - b'0')),
        _ => Err(Fault::Number(what)),
    })
}

/// A number that cannot be negative.
pub(super) fn unsigned(field: &[u8], what: &'static str) -> Result<u64, Fault> {
    u64::try_from(number(field, what)?).map_err(|_| Fault::Number(what))
}

/// Writes zero-padded octal digits and a NUL; a number that does not fit leaves zero behind.
fn octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    let fits = value >> (3 * digits) == 0;
    let mut rest = if fits { value } else { 0 };
    for at in (0..digits).rev() {
        field[at] = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    field[digits] = 0;
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777", Some(0o7777_7777)),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff", Some(0x3fff_ffff_ffff_ffff)),
            (b"12 34\0\0\0", None),
            (b"0000008\0", None),
            (b"-000001\0", None),
        ] {
            assert_eq!(number(field, "field").ok(), expected, "{field:?}");
        }
    }

    #[test]
    fn negative_sizes_are_refused() {
        assert!(unsigned(b"\xff\xff\xff\xff\xff\xff\xff\xfe", "size").is_err());
        assert!(unsigned(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "size").is_err());
    }

    #[test]
    fn names_split_at_a_slash_or_not_at_all() {
        let long = [&[b'p'; 155][..], b"/", &[b'n'; 100]].concat();
        for (name, fits) in [
            (vec![b'n'; 100], true),
            (vec![b'n'; 101], false),
            (long.clone(), true),
            ([&long[..], b"n"].concat(), false),
            ([b"p", &long[..]].concat(), false),
            ([b"/", &[b'n'; 100][..]].concat(), false),
        ] {
            let mut header = Header::new(b'0');
            assert_eq!(header.set_name(&name), fits, "{}", name.escape_ascii());
            if fits {
                let parsed = Header::parse(header.seal()).unwrap();
                assert_eq!(parsed.name(), name);
            }
        }
    }

    #[test]
    fn a_flipped_bit_breaks_the_checksum() {
        let mut header = Header::new(b'0');
        assert!(header.set_name(b"name") && header.set_size(5));
        let mut block = header.seal();
        assert!(Header::parse(block).is_ok());
        block[124] ^= 1;
        assert!(matches!(Header::parse(block), Err(Fault::Checksum)));
    }
}
