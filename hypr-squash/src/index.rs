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
    entries: Vec<Entry>,
    fragments: Vec<PackedFragment>,
    encoder: Option<String>,
    image: Digest,
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

impl Index {
    const MAGIC: &[u8] = b"hypr squashfs index 3\n";

    pub(crate) fn new(
        entries: Vec<Entry>,
        fragments: Vec<PackedFragment>,
        encoder: Option<String>,
        image: Digest,
    ) -> Self {
        Self { entries, fragments, encoder, image }
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
        let (mut hasher, mut buffer, mut offset) = (blake3::Hasher::new(), vec![0; 1 << 20], 0);
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

    /// All files in walk order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The index as bytes, for a file beside the image.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(Self::MAGIC);
        out.extend_from_slice(self.image.as_bytes());
        let encoder = self.encoder.as_deref().unwrap_or_default();
        put_length(&mut out, encoder.len());
        out.extend_from_slice(encoder.as_bytes());
        out.extend_from_slice(&(self.entries.len() as u64).to_le_bytes());
        let mut previous: &[u8] = b"";
        for entry in &self.entries {
            // Neighbours share most of their path, so only the rest is kept.
            let shared = previous.iter().zip(&entry.path).take_while(|(a, b)| a == b).count();
            put_length(&mut out, shared);
            put_length(&mut out, entry.path.len() - shared);
            out.extend_from_slice(&entry.path[shared..]);
            out.extend_from_slice(&entry.inode.to_le_bytes());
            out.extend_from_slice(entry.digest.as_bytes());
            for number in [entry.size, entry.start, entry.stored] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            let (index, offset) = entry.fragment.unwrap_or((u32::MAX, 0));
            out.extend_from_slice(&index.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            put_length(&mut out, entry.prefixes.len());
            entry.prefixes.iter().for_each(|prefix| out.extend_from_slice(prefix.as_bytes()));
            previous = &entry.path;
        }
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
        let mut entries = Vec::new();
        let mut path = Vec::new();
        // A path may repeat most of the one before, so a small file could ask for much memory.
        let mut path_bytes = body.len().saturating_mul(PATH_GROWTH);
        for _ in 0..count {
            let entry = input.entry(&mut path).ok_or_else(damaged)?;
            path_bytes = path_bytes.checked_sub(entry.path.len()).ok_or_else(damaged)?;
            entries.push(entry);
        }
        let count = input.number().ok_or_else(damaged)?;
        let mut fragments = Vec::new();
        for _ in 0..count {
            fragments.push(input.fragment().ok_or_else(damaged)?);
        }
        if input.0.is_empty() { Ok(Self { entries, fragments, encoder, image }) } else { Err(damaged()) }
    }
}

/// How many times longer than the index all paths together may be.
const PATH_GROWTH: usize = 64;

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u32::try_from(length).expect("paths are shorter than 4 GiB").to_le_bytes());
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

    fn text(&mut self) -> Option<&'a str> {
        let length = self.small()? as usize;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn entry(&mut self, path: &mut Vec<u8>) -> Option<Entry> {
        let shared = self.small()? as usize;
        let added = self.small()? as usize;
        if shared > path.len() {
            return None;
        }
        path.truncate(shared);
        path.extend_from_slice(self.take(added)?);
        let inode = self.small()?;
        let digest = Digest::from_bytes(self.array()?);
        let (size, start, stored) = (self.number()?, self.number()?, self.number()?);
        let (index, offset) = (self.small()?, self.small()?);
        let fragment = (index != u32::MAX).then_some((index, offset));
        let mut prefixes = Vec::new();
        for _ in 0..self.small()? {
            prefixes.push(Digest::from_bytes(self.array()?));
        }
        Some(Entry { path: path.clone(), inode, digest, size, start, stored, fragment, prefixes })
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
        let entry = |path: &str, inode, fragment| Entry {
            path: path.as_bytes().to_vec(),
            inode,
            digest: blake3::hash(path.as_bytes()),
            size: 1 << 40,
            start: 96,
            stored: 17,
            fragment,
            prefixes: vec![blake3::hash(b"prefix"); inode as usize - 1],
        };
        let entries = vec![entry("usr/bin/a", 1, None), entry("usr/bin/ab", 2, Some((0, 9))), entry("z", 3, None)];
        let packed =
            |filled| PackedFragment { entry: FragmentEntry { start: 1 << 33, size: StoredSize::raw(7) }, filled };
        Index::new(entries, vec![packed(Some(7)), packed(None)], Some("zstd 3".to_owned()), blake3::hash(b"image"))
    }

    #[test]
    fn bytes_come_back_as_the_same_index() {
        let index = sample();
        assert_eq!(Index::from_bytes(&index.to_bytes()).unwrap(), index);
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
