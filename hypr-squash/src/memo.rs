//! What an earlier image can lend: compressed blocks by what they contain.
//!
//! An image's index says which content lies where. Turned around, it finds stored bytes by the digest of their
//! content, so that a writer with the same encoder copies them instead of compressing them again, and need not even
//! read content whose digest it knows. An index is believed as far as the image's own tables agree with it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::index::{PackedFragment, Record};
use crate::{Digest, Error, FragmentEntry, Reader, StoredSize, Table};

/// An image whose index is turned around. It takes some 150 bytes for each file.
#[derive(Debug)]
pub(crate) struct Memo {
    image: Arc<Reader>,
    /// Places in the index by the digest of the content.
    contents: HashMap<Digest, usize>,
    /// Places in the index of long contents by the digest of their beginning, and how many segments that is.
    prefixes: HashMap<Digest, (usize, u32)>,
    /// Fragment blocks by [`FragmentKey`].
    fragments: HashMap<Digest, u32>,
}

/// Stored data blocks, side by side.
#[derive(Debug)]
pub(crate) struct StoredBlocks {
    /// Byte offset in the image of the first one.
    pub(crate) start: u64,
    pub(crate) blocks: Vec<StoredSize>,
}

/// A content shorter than a block, alone in its place in a fragment block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredTail {
    pub(crate) fragment: u32,
    pub(crate) offset: u32,
    pub(crate) size: u32,
}

/// Names a fragment block by the tails in it: BLAKE3 of their digests in order.
#[derive(Debug, Default)]
pub(crate) struct FragmentKey(blake3::Hasher);

impl FragmentKey {
    pub(crate) fn add(&mut self, tail: &Digest) {
        self.0.update(tail.as_bytes());
    }

    pub(crate) fn finish(&self) -> Digest {
        self.0.finalize()
    }
}

impl Memo {
    /// `None` when the image was opened without its index.
    pub(crate) fn new(image: &Arc<Reader>) -> Option<Self> {
        let index = image.index()?;
        let mut contents = HashMap::with_capacity(index.len());
        let mut prefixes = HashMap::new();
        for (place, entry) in index.records() {
            contents.entry(entry.digest).or_insert(place);
            for (segments, prefix) in (1..).zip(entry.prefixes) {
                prefixes.entry(Digest::from_bytes(*prefix)).or_insert((place, segments));
            }
        }
        Some(Self { image: Arc::clone(image), contents, prefixes, fragments: fragments(image) })
    }

    /// The image that lends.
    pub(crate) fn image(&self) -> &Arc<Reader> {
        &self.image
    }

    /// Where a content lies that is wholly in a fragment block.
    pub(crate) fn tail(&self, size: u64, digest: &Digest) -> Option<StoredTail> {
        let entry = self.entry(size, digest)?;
        let (fragment, offset) = entry.fragment.filter(|_| entry.stored == 0)?;
        // Content that reaches beyond its block never had a digest; reading checks that too.
        let size = u32::try_from(size).ok().filter(|size| *size < self.image.info().block_size.bytes())?;
        Some(StoredTail { fragment, offset, size })
    }

    /// The bytes of a content in a fragment block.
    ///
    /// # Errors
    /// Fails when the block cannot be read or holds another content.
    pub(crate) fn read_tail(&self, tail: StoredTail, digest: &Digest, out: &mut [u8]) -> Result<(), Error> {
        let block = self.image.fragment(tail.fragment)?;
        let start = tail.offset as usize;
        let bytes = block.get(start..start.saturating_add(tail.size as usize));
        let bytes = bytes.filter(|bytes| blake3::hash(bytes) == *digest);
        let offset = u64::from(tail.fragment);
        let reason = "a tail is not what the index says";
        out.copy_from_slice(bytes.ok_or(Error::corrupt(Table::Fragments, offset, reason))?);
        Ok(())
    }

    /// The fragment block that holds the tails of a key, and nothing else.
    pub(crate) fn fragment(&self, key: &Digest) -> Option<FragmentEntry> {
        let index = *self.fragments.get(key)?;
        self.image.fragment_entry(index).ok()
    }

    /// The data blocks of a content that has nothing in a fragment block.
    pub(crate) fn blocks(&self, size: u64, digest: &Digest) -> Option<StoredBlocks> {
        self.entry(size, digest).and_then(|entry| self.blocks_of(&entry))
    }

    /// The data blocks of content that begins with so many segments, and how many segments.
    pub(crate) fn prefix(&self, digest: &Digest) -> Option<(StoredBlocks, u32)> {
        let &(place, segments) = self.prefixes.get(digest)?;
        let entry = self.image.index()?.record(place)?;
        Some((self.blocks_of(&entry)?, segments))
    }

    /// The digests of the beginnings of a content.
    pub(crate) fn prefixes(&self, size: u64, digest: &Digest) -> Vec<Digest> {
        let prefixes = self.entry(size, digest).map_or(&[][..], |entry| entry.prefixes);
        prefixes.iter().map(|prefix| Digest::from_bytes(*prefix)).collect()
    }

    fn entry(&self, size: u64, digest: &Digest) -> Option<Record<'_>> {
        let place = *self.contents.get(digest)?;
        self.image.index()?.record(place).filter(|entry| entry.size == size)
    }

    /// What the image says of an entry of the index, when both agree.
    fn blocks_of(&self, entry: &Record<'_>) -> Option<StoredBlocks> {
        let node = self.image.node(entry.inode).inspect_err(|error| {
            tracing::warn!(%error, "an earlier image is damaged and lends nothing here");
        });
        let extent = node.ok()??.extent().ok()?;
        let agrees = extent.size == entry.size
            && extent.stored() == entry.stored
            && extent.start == entry.start
            && extent.fragment.is_none()
            && entry.fragment.is_none();
        agrees.then_some(StoredBlocks { start: extent.start, blocks: extent.blocks })
    }
}

/// Names all fragment blocks whose every byte is of a tail that the index knows.
fn fragments(image: &Reader) -> HashMap<Digest, u32> {
    let Some(index) = image.index() else { return HashMap::new() };
    let tail = |(_, entry): (usize, Record<'_>)| {
        let (fragment, offset) = entry.fragment.filter(|_| entry.stored == 0)?;
        let size = u32::try_from(entry.size).ok().filter(|size| *size < image.info().block_size.bytes())?;
        Some((fragment, offset, size, entry.digest))
    };
    let mut tails: Vec<_> = index.records().filter_map(tail).collect();
    tails.sort_unstable_by_key(|&(fragment, offset, ..)| (fragment, offset));
    // Equal files share a place.
    tails.dedup_by_key(|&mut (fragment, offset, ..)| (fragment, offset));
    let mut named = HashMap::new();
    for tails in tails.chunk_by(|a, b| a.0 == b.0) {
        let fragment = tails[0].0;
        let Some(&PackedFragment { entry, filled: Some(filled) }) = index.fragments().get(fragment as usize) else {
            continue;
        };
        let mut key = FragmentKey::default();
        let mut end = Some(0_u32);
        for (_, offset, size, digest) in tails {
            end = end.filter(|end| end == offset).and_then(|end| end.checked_add(*size));
            key.add(digest);
        }
        if end == Some(filled) && image.fragment_entry(fragment).is_ok_and(|stored| stored == entry) {
            named.insert(key.finish(), fragment);
        }
    }
    named
}
