//! What earlier images lend: contents that need not be read, compressed or even looked at again.
//!
//! An image whose index says that the present encoder made it has, for every content, the bytes that this writer would
//! come to. Data blocks are copied. A fragment block is copied when the same tails follow each other in it again;
//! otherwise its tails are taken out and packed anew. Either way the result is what it would be without a lender.

use std::collections::HashMap;
use std::sync::Arc;

use super::Writer;
use super::contents::{Content, Data};
use super::fragments::Tail;
use crate::{Digest, Error, Reader};

/// The images that lend, and what they have.
#[derive(Debug, Default)]
pub(super) struct Lenders {
    images: Vec<Arc<Reader>>,
    /// By content digest: an image, and a place in its index.
    contents: HashMap<Digest, (usize, usize)>,
}

/// A tail in a fragment block of a lender.
#[derive(Debug, Clone)]
pub(super) struct LentTail {
    pub(super) image: Arc<Reader>,
    pub(super) fragment: u32,
    pub(super) offset: u32,
    pub(super) size: u32,
    pub(super) digest: Digest,
}

impl LentTail {
    /// The tail's bytes, which must be those that the index promised.
    pub(super) fn read(&self, into: &mut [u8]) -> Result<(), Error> {
        let wrong = |reason| Error::corrupt(crate::Table::Fragments, u64::from(self.fragment), reason);
        let block = self.image.fragment(self.fragment)?;
        let start = self.offset as usize;
        let bytes = block.get(start..start + into.len()).ok_or(wrong("a tail lies behind its block"))?;
        if blake3::hash(bytes) != self.digest {
            return Err(wrong("a tail is not what the index says"));
        }
        into.copy_from_slice(bytes);
        Ok(())
    }
}

impl Writer {
    /// Lets [`add_known_file`](Self::add_known_file) take contents from an image, which costs less than to read and
    /// compress them, and does not change a byte of the result.
    ///
    /// Returns whether the image can lend: it must have been opened with its index, and this version of the encoder
    /// must have made it with the same codec and block size. Earlier lenders come first.
    pub fn lend(&mut self, image: &Arc<Reader>) -> bool {
        let Some(index) = image.index().filter(|index| index.encoder() == Some(&*self.options.encoder())) else {
            return false;
        };
        let number = self.lenders.images.len();
        for (place, entry) in index.entries().iter().enumerate() {
            self.lenders.contents.entry(entry.digest).or_insert((number, place));
        }
        self.lenders.images.push(Arc::clone(image));
        true
    }

    /// Stores a content that a lender has, as it would be stored without one; `None` when no lender has it.
    pub(super) fn borrow(&mut self, size: u64, digest: Digest) -> Result<Option<u32>, Error> {
        let Some(&(image, place)) = self.lenders.contents.get(&digest) else { return Ok(None) };
        let image = &self.lenders.images[image];
        let Some(entry) = image.index().and_then(|index| index.entries().get(place)) else { return Ok(None) };
        if entry.size != size {
            return Ok(None);
        }
        let mut content = Content { size, digest, data: Data::None, tail: None };
        if let Some((fragment, offset)) = entry.fragment {
            let Ok(length) = u32::try_from(size) else { return Ok(None) };
            if length >= self.options.block_size.bytes() {
                return Ok(None);
            }
            let lent = LentTail { image: Arc::clone(image), fragment, offset, size: length, digest };
            content.tail = Some(self.contents.fragments.place(Tail::Lent(lent), &digest, &mut self.pipeline)?);
        } else if size > 0 {
            // The index does not have the sizes of the blocks. An image that disagrees with it is not used.
            let Ok(Some(node)) = image.lookup(&entry.path) else { return Ok(None) };
            let Ok(extent) = node.extent() else { return Ok(None) };
            let stored = extent.stored();
            let agrees = extent.size == size && extent.fragment.is_none() && stored == entry.stored;
            if !agrees || (stored > 0 && extent.start != entry.start) {
                return Ok(None);
            }
            let run = match stored {
                0 => None,
                _ => Some(self.pipeline.copy(image, extent.start..extent.start + stored)?),
            };
            content.data = Data::Copied { run, offset: 0, blocks: extent.blocks.into() };
        }
        self.contents.push(content).map(Some)
    }
}
