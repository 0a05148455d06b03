//! Borrows from earlier images what would come out the same if it were compressed again.
//!
//! What is decided about a content (is it a duplicate, where does it go, where do fragment blocks end) depends on its
//! digest and length alone, so lending changes no byte of the image, only where the bytes come from. Data blocks are
//! copied, and so are fragment blocks in which the same tails follow each other; of other fragment blocks the tails
//! are taken out and packed again with their new neighbours.

use std::sync::Arc;

use super::Writer;
use super::committer::{Extent, Message, Slot};
use super::pipeline::Pipeline;
use crate::memo::{Memo, StoredBlocks, StoredTail};
use crate::{Digest, Error, Options, Reader, StoredSize};

/// The memos of a writer.
#[derive(Debug)]
pub(super) struct Lending {
    encoder: String,
    memos: Vec<Arc<Memo>>,
}

/// A tail that a memo has.
#[derive(Debug, Clone)]
pub(super) struct LentTail {
    pub(super) memo: Arc<Memo>,
    pub(super) tail: StoredTail,
}

/// Stored blocks of a memo.
#[derive(Debug)]
pub(super) struct LentBlocks {
    source: Arc<Reader>,
    blocks: StoredBlocks,
}

impl Lending {
    pub(super) fn new(options: &Options) -> Self {
        Self { encoder: options.encoder(), memos: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.memos.is_empty()
    }

    /// A content shorter than a block.
    pub(super) fn tail(&self, size: u64, digest: &Digest) -> Option<LentTail> {
        self.memos.iter().find_map(|memo| Some(LentTail { memo: Arc::clone(memo), tail: memo.tail(size, digest)? }))
    }

    /// All data blocks of a content that is at least a block long.
    pub(super) fn blocks(&self, size: u64, digest: &Digest) -> Option<LentBlocks> {
        self.memos.iter().find_map(|memo| {
            let blocks = memo.blocks(size, digest)?;
            Some(LentBlocks { source: memo.image().clone(), blocks })
        })
    }

    /// The data blocks of a content that begins with what is known by `digest` and is `segments` segments long.
    pub(super) fn prefix(&self, segments: u64, digest: &Digest) -> Option<LentBlocks> {
        self.memos.iter().find_map(|memo| {
            let (blocks, _) = memo.prefix(digest).filter(|(_, length)| u64::from(*length) == segments)?;
            Some(LentBlocks { source: memo.image().clone(), blocks })
        })
    }

    /// The digests of the beginnings of a content.
    pub(super) fn prefixes(&self, size: u64, digest: &Digest) -> Vec<Digest> {
        let prefixes = self.memos.iter().map(|memo| memo.prefixes(size, digest));
        prefixes.into_iter().find(|prefixes| !prefixes.is_empty()).unwrap_or_default()
    }

    /// A fragment block of exactly these tails, as a message that copies it.
    pub(super) fn fragment(&self, key: &Digest, index: u32) -> Option<Message> {
        self.memos.iter().find_map(|memo| {
            let entry = memo.fragment(key)?;
            let (source, blocks) = (memo.image().clone(), vec![entry.size]);
            Some(Message::Lend { slot: Slot::Fragment(index), source, offset: entry.start, blocks })
        })
    }
}

impl LentBlocks {
    pub(super) fn len(&self) -> usize {
        self.blocks.blocks.len()
    }

    /// Appends some of the blocks, from the one numbered `from` up to the one before `to`.
    pub(super) fn copy(self, from: usize, to: usize, extent: Extent, pipeline: &mut Pipeline) -> Result<(), Error> {
        let Self { source, blocks: StoredBlocks { start, blocks } } = self;
        let before: u64 = blocks[..from].iter().map(|block: &StoredSize| u64::from(block.bytes())).sum();
        let (slot, offset, blocks) = (Slot::Data(extent), start.saturating_add(before), blocks[from..to].to_vec());
        pipeline.commit(Message::Lend { slot, source, offset, blocks })
    }
}

impl Writer {
    /// Lets an earlier image lend what it holds compressed, which does not change a byte of the result: contents that
    /// come by [`add_file`](Self::add_file) need not be compressed, those that come by
    /// [`add_known_file`](Self::add_known_file) not even read. Images given first are asked first.
    ///
    /// Returns whether the image can lend: it must have been opened with its index, and this version of the encoder
    /// must have made it with the same codec, level and block size.
    pub fn lend(&mut self, image: &Arc<Reader>) -> bool {
        let lending = &mut self.contents.lending;
        let memo =
            image.index().filter(|index| index.encoder() == Some(&lending.encoder)).and_then(|_| Memo::new(image));
        let can_lend = memo.is_some();
        lending.memos.extend(memo.map(Arc::new));
        can_lend
    }
}
