//! The sidecar index of an image: what each file contains and where that lies.
//!
//! An index spares a merge from reading content to find equal files, and lets a later pack borrow what is compressed
//! already. It is written beside an image and is never trusted further than its entries agree with the image's own
//! tables.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::{Digest, Error, FragmentEntry, StoredSize};

/// The content digests of all regular files of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    files: Files,
    fragments: Vec<PackedFragment>,
    encoder: Option<String>,
    image: Digest,
}

/// All files as they stand in the index file, which is a fraction of what they would take one by one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Files {
    count: u64,
    bytes: Vec<u8>,
    /// The path that was added last.
    previous: Vec<u8>,
}

/// A fragment block and how much was packed into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedFragment {
    pub(crate) entry: FragmentEntry,
    /// Bytes of all tails in it; `None` when the block was copied from another image.
    pub(crate) filled: Option<u32>,
}

/// One regular file; its further hard links are not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The first path of the file in walk order.
    pub path: Vec<u8>,
    /// Inode number in the image.
    pub inode: u32,
    /// BLAKE3 of the content.
    pub digest: Digest,
    /// Content length in bytes.
    pub size: u64,
    /// Byte offset of the first stored data block.
    pub start: u64,
    /// Bytes that the data blocks take, without the fragment.
    pub stored: u64,
    /// Index of the fragment block and byte offset in it, when the file has a tail there.
    pub fragment: Option<(u32, u32)>,
    /// BLAKE3 of the first 8 MiB of the content, of the first 16, and so on, as far as it is that long.
    pub prefixes: Vec<Digest>,
}

/// An entry without its path, where it stands in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) inode: u32,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) start: u64,
    pub(crate) stored: u64,
    pub(crate) fragment: Option<(u32, u32)>,
    pub(crate) prefixes: &'a [[u8; 32]],
}

impl Files {
    /// Adds a file; they come in walk order.
    pub(crate) fn push(&mut self, path: &[u8], record: &Record<'_>) {
        let out = &mut self.bytes;
        // Neighbours share most of their path, so only the rest is kept.
        let shared = self.previous.iter().zip(path).take_while(|(a, b)| a == b).count();
        let (index, offset) = record.fragment.map_or((0, 0), |(index, offset)| (u64::from(index) + 1, offset));
        let lengths = [shared, path.len() - shared, record.prefixes.len()].map(|length| length as u64);
        put_numbers(out, &lengths);
        put_numbers(out, &[record.inode.into(), record.size, record.start, record.stored, index, offset.into()]);
        out.extend_from_slice(&path[shared..]);
        out.extend_from_slice(record.digest.as_bytes());
        out.extend_from_slice(record.prefixes.as_flattened());
        self.previous.truncate(shared);
        self.previous.extend_from_slice(&path[shared..]);
        self.count += 1;
    }
}

impl Index {
    const MAGIC: &[u8] = b"hypr squashfs index 4\n";

    pub(crate) fn new(
        mut files: Files,
        fragments: Vec<PackedFragment>,
        encoder: Option<String>,
        image: Digest,
    ) -> Self {
        files.previous = Vec::new();
        Self { files, fragments, encoder, image }
    }

    /// BLAKE3 of the file that the index describes.
    pub fn image(&self) -> Digest {
        self.image
    }

    /// Whether the index describes this very file, all of which is read. An index that may be stale must not be used
    /// unasked: two contents of one length can lie in one place.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn describes(&self, file: &File) -> Result<bool, Error> {
        let (mut hasher, mut buffer, mut offset) = (blake3::Hasher::new(), vec![0; PIECE], 0);
        loop {
            let read = match file.read_at(&mut buffer, offset) {
                Ok(0) => return Ok(hasher.finalize() == self.image),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io("read the image")(error)),
            };
            hasher.update(&buffer[..read]);
            offset += read as u64;
        }
    }

    /// All fragment blocks in the order of the image's table.
    pub(crate) fn fragments(&self) -> &[PackedFragment] {
        &self.fragments
    }

    /// What compressed all data of the image: codec, level, versions and block size. `None` when data was copied from
    /// other images.
    pub fn encoder(&self) -> Option<&str> {
        self.encoder.as_deref()
    }

    /// Number of files.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.files.count).expect("the files are in memory")
    }

    /// All files in walk order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        let (mut input, mut path) = (Input(&self.files.bytes), Vec::new());
        std::iter::from_fn(move || {
            let Record { inode, digest, size, start, stored, fragment, prefixes } = input.file(&mut path)?;
            let prefixes = prefixes.iter().map(|prefix| Digest::from_bytes(*prefix)).collect();
            Some(Entry { path: path.clone(), inode, digest, size, start, stored, fragment, prefixes })
        })
    }

    /// All files without their paths, and where each can be [found](Self::record) again.
    pub(crate) fn records(&self) -> impl Iterator<Item = (usize, Record<'_>)> {
        let (bytes, mut input) = (&self.files.bytes, Input(&self.files.bytes));
        std::iter::from_fn(move || {
            let place = bytes.len() - input.0.len();
            Some((place, input.record(usize::MAX)?.1))
        })
    }

    /// The file at a place that [`records`](Self::records) told.
    pub(crate) fn record(&self, place: usize) -> Option<Record<'_>> {
        Input(self.files.bytes.get(place..)?).record(usize::MAX).map(|(_, record)| record)
    }

    /// The index as bytes, for a file beside the image.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(Self::MAGIC);
        out.extend_from_slice(self.image.as_bytes());
        let encoder = self.encoder.as_deref().unwrap_or_default();
        put_numbers(&mut out, &[encoder.len() as u64]);
        out.extend_from_slice(encoder.as_bytes());
        out.extend_from_slice(&self.files.count.to_le_bytes());
        out.extend_from_slice(&self.files.bytes);
        out.extend_from_slice(&(self.fragments.len() as u64).to_le_bytes());
        for PackedFragment { entry, filled } in &self.fragments {
            out.extend_from_slice(&entry.start.to_le_bytes());
            out.extend_from_slice(&entry.size.word().to_le_bytes());
            out.extend_from_slice(&filled.unwrap_or(u32::MAX).to_le_bytes());
        }
        let digest = blake3::hash(&out);
        out.extend_from_slice(digest.as_bytes());
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) made.
    ///
    /// # Errors
    /// Fails when the bytes are damaged, cut short or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = || Error::Index { reason: "it is damaged" };
        let (body, digest) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
        if blake3::hash(body) != Digest::from_bytes(*digest) {
            return Err(damaged());
        }
        let mut input = Input(body);
        if input.take(Self::MAGIC.len()).ok_or_else(damaged)? != Self::MAGIC {
            return Err(Error::Index { reason: "it is of another version" });
        }
        let image = Digest::from_bytes(input.array().ok_or_else(damaged)?);
        let encoder = input.text().ok_or_else(damaged)?;
        let encoder = (!encoder.is_empty()).then(|| encoder.to_owned());
        let count = input.number().ok_or_else(damaged)?;
        let files = input.0;
        let mut path_length = 0;
        // A path may repeat most of the one before, so a small file could ask for much work.
        let mut path_bytes = body.len().saturating_mul(PATH_GROWTH);
        for _ in 0..count {
            (path_length, _) = input.record(path_length).ok_or_else(damaged)?;
            path_bytes = path_bytes.checked_sub(path_length).ok_or_else(damaged)?;
        }
        let bytes = files[..files.len() - input.0.len()].to_vec();
        let files = Files { count, bytes, previous: Vec::new() };
        let count = input.number().ok_or_else(damaged)?;
        let mut fragments = Vec::new();
        for _ in 0..count {
            fragments.push(input.fragment().ok_or_else(damaged)?);
        }
        if input.0.is_empty() { Ok(Self { files, fragments, encoder, image }) } else { Err(damaged()) }
    }
}

/// Bytes of an image that are read and hashed at once, so that a core's own cache holds them.
const PIECE: usize = 256 << 10;
/// How many times longer than the index all paths together may be.
const PATH_GROWTH: usize = 64;

/// Writes numbers in groups of seven bits, lowest first; all but the last have the eighth bit. Most are small.
fn put_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        let mut rest = *number;
        loop {
            let [bits, ..] = (rest & 0x7f).to_le_bytes();
            rest >>= 7;
            if rest == 0 {
                out.push(bits);
                break;
            }
            out.push(bits | 0x80);
        }
    }
}

/// What stands before the path of a file, and what it says.
struct Head {
    shared: usize,
    added: usize,
    prefixes: usize,
    inode: u32,
    size: u64,
    start: u64,
    stored: u64,
    fragment: Option<(u32, u32)>,
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn small(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A number that [`put_numbers`] wrote.
    fn short<T: TryFrom<u64>>(&mut self) -> Option<T> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            // The last group has a single bit left.
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return T::try_from(number).ok();
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.short()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// A file, whose path comes after `path`.
    fn file(&mut self, path: &mut Vec<u8>) -> Option<Record<'a>> {
        let head = self.head()?;
        if head.shared > path.len() {
            return None;
        }
        path.truncate(head.shared);
        path.extend_from_slice(self.take(head.added)?);
        self.rest(&head)
    }

    /// A file whose path does not matter, and the length of that, if it can come after one of a given length.
    fn record(&mut self, previous: usize) -> Option<(usize, Record<'a>)> {
        let head = self.head()?;
        self.take(head.added)?;
        let length = head.shared.checked_add(head.added).filter(|_| head.shared <= previous)?;
        Some((length, self.rest(&head)?))
    }

    fn head(&mut self) -> Option<Head> {
        let (shared, added, prefixes) = (self.short()?, self.short()?, self.short()?);
        let (inode, size, start, stored) = (self.short()?, self.short()?, self.short()?, self.short()?);
        let (index, offset): (u64, u32) = (self.short()?, self.short()?);
        let fragment = match index.checked_sub(1) {
            Some(index) => Some((u32::try_from(index).ok()?, offset)),
            None => None,
        };
        Some(Head { shared, added, prefixes, inode, size, start, stored, fragment })
    }

    /// What follows the path.
    fn rest(&mut self, head: &Head) -> Option<Record<'a>> {
        let &Head { inode, size, start, stored, fragment, .. } = head;
        let digest = Digest::from_bytes(self.array()?);
        let (prefixes, _) = self.take(head.prefixes.checked_mul(32)?)?.as_chunks();
        Some(Record { inode, digest, size, start, stored, fragment, prefixes })
    }

    fn fragment(&mut self) -> Option<PackedFragment> {
        let entry = FragmentEntry { start: self.number()?, size: StoredSize::from_word(self.small()?) };
        let filled = Some(self.small()?).filter(|filled| *filled != u32::MAX);
        Some(PackedFragment { entry, filled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Index {
        let mut files = Files::default();
        for (path, inode, fragment) in [("usr/bin/a", 1, None), ("usr/bin/ab", 2, Some((0, 9))), ("z", 3, None)] {
            let digest = blake3::hash(path.as_bytes());
            let prefixes = &vec![[7; 32]; inode as usize - 1][..];
            let record = Record { inode, digest, size: 1 << 40, start: 96, stored: 17, fragment, prefixes };
            files.push(path.as_bytes(), &record);
        }
        let packed =
            |filled| PackedFragment { entry: FragmentEntry { start: 1 << 33, size: StoredSize::raw(7) }, filled };
        Index::new(files, vec![packed(Some(7)), packed(None)], Some("zstd 3".to_owned()), blake3::hash(b"image"))
    }

    #[test]
    fn bytes_come_back_as_the_same_index() {
        let index = sample();
        assert_eq!(Index::from_bytes(&index.to_bytes()).unwrap(), index);
        let entries: Vec<_> = index.entries().collect();
        let paths: Vec<_> = entries.iter().map(|entry| &entry.path[..]).collect();
        assert_eq!(paths, [&b"usr/bin/a"[..], b"usr/bin/ab", b"z"]);
        assert_eq!((index.len(), entries[2].prefixes.len()), (3, 2));
        for (entry, (place, record)) in entries.iter().zip(index.records()) {
            assert_eq!((entry.inode, entry.digest, entry.fragment), (record.inode, record.digest, record.fragment));
            assert_eq!(index.record(place), Some(record));
        }
    }

    #[test]
    fn any_flipped_byte_is_noticed() {
        let bytes = sample().to_bytes();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Index::from_bytes(&damaged).is_err(), "byte {at}");
        }
        assert!(Index::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }
}
