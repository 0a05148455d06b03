//! Gathers short contents into fragment blocks.

use std::num::NonZeroU32;

use super::committer::Slot;
use super::lending::{Lending, LentTail};
use super::pipeline::Pipeline;
use crate::memo::FragmentKey;
use crate::{BlockSize, Digest, Error, StoredSize};

/// The fragment block being filled, and what is known of all others.
#[derive(Debug)]
pub(super) struct Fragments {
    block_size: BlockSize,
    origins: Vec<Origin>,
    open: Option<Open>,
}

/// Where a fragment block comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// It was packed here, from so many bytes.
    Packed(u32),
    /// It lies in a run copied from another image.
    Copied { run: u32, offset: u64, size: StoredSize },
}

/// A content shorter than a block, or where it can be had.
#[derive(Debug)]
pub(super) enum Short<'a> {
    Bytes(&'a [u8]),
    /// It is read when nobody lends the whole block.
    Lent(LentTail),
}

#[derive(Debug)]
struct Open {
    index: u32,
    bytes: Vec<u8>,
    used: usize,
    key: FragmentKey,
    /// Contents that are still to be read, and their byte offsets in the block.
    missing: Vec<(usize, Digest, LentTail)>,
}

/// A place in a fragment block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of the block and one more, so that no place takes no room.
    next: NonZeroU32,
    pub(super) offset: u32,
}

impl Place {
    pub(super) fn new(fragment: u32, offset: u32) -> Self {
        let next = NonZeroU32::MIN.checked_add(fragment).expect("fragment blocks are counted in less than 32 bits");
        Self { next, offset }
    }

    /// Number of the block.
    pub(super) fn fragment(self) -> u32 {
        self.next.get() - 1
    }
}

impl Fragments {
    pub(super) fn new(block_size: BlockSize) -> Self {
        Self { block_size, origins: Vec::new(), open: None }
    }

    /// Places a content shorter than a block, and may close the block behind it.
    ///
    /// Blocks close when they are full, and besides at contents whose digest says so. Two trees that differ in one
    /// file thereby have the same blocks again soon after it.
    pub(super) fn place(
        &mut self,
        tail: Short<'_>,
        digest: &Digest,
        lending: &Lending,
        pipeline: &mut Pipeline,
    ) -> Result<Place, Error> {
        let block_size = self.block_size.len();
        if self.open.as_ref().is_some_and(|open| open.used + tail.len() > block_size) {
            self.close(lending, pipeline)?;
        }
        if self.open.is_none() {
            let index = self.push(Origin::Packed(0))?;
            let (bytes, key) = (pipeline.buffer(block_size), FragmentKey::default());
            self.open = Some(Open { index, bytes, used: 0, key, missing: Vec::new() });
        }
        let open = self.open.as_mut().expect("a block was opened above");
        let offset = u32::try_from(open.used).expect("blocks are at most 1 MiB");
        let at = open.used;
        open.used += tail.len();
        open.key.add(digest);
        match tail {
            Short::Bytes(bytes) => open.bytes[at..open.used].copy_from_slice(bytes),
            Short::Lent(tail) => open.missing.push((at, *digest, tail)),
        }
        let place = Place::new(open.index, offset);
        let is_cut = digest.as_bytes()[0].is_multiple_of(8);
        if open.used == block_size || (is_cut && open.used >= block_size / 2) {
            self.close(lending, pipeline)?;
        }
        Ok(place)
    }

    /// Has the open block compressed, or borrows it.
    pub(super) fn close(&mut self, lending: &Lending, pipeline: &mut Pipeline) -> Result<(), Error> {
        let Some(Open { index, mut bytes, used, key, missing }) = self.open.take() else { return Ok(()) };
        self.origins[index as usize] = Origin::Packed(u32::try_from(used).expect("blocks are at most 1 MiB"));
        if !lending.is_empty()
            && let Some(lent) = lending.fragment(&key.finish(), index)
        {
            pipeline.recycle(bytes);
            return pipeline.commit(lent);
        }
        for (at, digest, LentTail { memo, tail }) in missing {
            memo.read_tail(tail, &digest, &mut bytes[at..at + tail.size as usize])?;
        }
        pipeline.compress(Slot::Fragment(index), bytes, used)
    }

    pub(super) fn push(&mut self, origin: Origin) -> Result<u32, Error> {
        let limit = u32::MAX - 1;
        let index = u32::try_from(self.origins.len()).ok().filter(|&index| index < limit);
        let index = index.ok_or(Error::Limit { what: "fragment blocks", limit: u64::from(limit) })?;
        self.origins.push(origin);
        Ok(index)
    }

    pub(super) fn origins(&self) -> &[Origin] {
        &self.origins
    }
}

impl Short<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Lent(lent) => lent.tail.size as usize,
        }
    }
}
