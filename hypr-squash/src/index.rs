//! The sidecar index of an image: what each file contains and where that lies.
//!
//! An index spares a merge from reading content to find equal files. It is written beside an image and is never
//! trusted further than its entries agree with the image's own tables.

use crate::{Digest, Error};

/// The content digests of all regular files of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index {
    encoder: Option<String>,
    entries: Vec<Entry>,
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
}

impl Index {
    pub(crate) fn new(encoder: Option<String>, entries: Vec<Entry>) -> Self {
        Self { encoder, entries }
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
        out.extend_from_slice(MAGIC);
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
            previous = &entry.path;
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
        if input.take(MAGIC.len()).ok_or_else(damaged)? != MAGIC {
            return Err(Error::Index { reason: "it is of another version" });
        }
        let encoder = input.text().ok_or_else(damaged)?;
        let encoder = (!encoder.is_empty()).then(|| encoder.to_owned());
        let count = input.number().ok_or_else(damaged)?;
        let mut entries = Vec::new();
        let mut path = Vec::new();
        for _ in 0..count {
            let entry = input.entry(&mut path).ok_or_else(damaged)?;
            entries.push(entry);
        }
        if input.0.is_empty() { Ok(Self { encoder, entries }) } else { Err(damaged()) }
    }
}

const MAGIC: &[u8] = b"hypr squashfs index 2\n";

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
        Some(Entry { path: path.clone(), inode, digest, size, start, stored, fragment })
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
        };
        let encoder = Some("zstd 3".to_owned());
        Index::new(
            encoder,
            vec![entry("usr/bin/a", 1, None), entry("usr/bin/ab", 2, Some((0, 9))), entry("z", 3, None)],
        )
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
