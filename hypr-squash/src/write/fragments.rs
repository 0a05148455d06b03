//! Gathers short contents into fragment blocks.

use std::sync::Arc;

use super::committer::Slot;
use super::lend::LentTail;
use super::pipeline::Pipeline;
use crate::{BlockSize, Digest, Error, FragmentEntry, Reader, StoredSize};

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
    /// It lies in a run copied from another image. How many bytes it was packed from need not be known.
    Copied { run: u32, offset: u64, size: StoredSize, filled: Option<u32> },
}

/// A content shorter than a block.
pub(super) enum Tail<'a> {
    Bytes(&'a [u8]),
    /// Its bytes are fetched only if the block around it is not lent as a whole.
    Lent(LentTail),
}

#[derive(Debug)]
struct Open {
    index: u32,
    bytes: Vec<u8>,
    used: usize,
    /// Tails whose bytes are still missing, by their offsets.
    lent: Vec<(usize, LentTail)>,
    /// Whether all tails are.
    is_all_lent: bool,
}

/// A place in a fragment block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) fragment: u32,
    pub(super) offset: u32,
}

impl Fragments {
    pub(super) fn new(block_size: BlockSize) -> Self {
        Self { block_size, origins: Vec::new(), open: None }
    }

    /// Places a content shorter than a block, and may close the block behind it.
    ///
    /// Blocks close when they are full, and besides at contents whose digest says so. Two trees that differ in one
    /// file thereby have the same blocks again soon after it.
    pub(super) fn place(&mut self, tail: Tail<'_>, digest: &Digest, pipeline: &mut Pipeline) -> Result<Place, Error> {
        let block_size = self.block_size.len();
        let length = match &tail {
            Tail::Bytes(bytes) => bytes.len(),
            Tail::Lent(lent) => lent.size as usize,
        };
        if self.open.as_ref().is_some_and(|open| open.used + length > block_size) {
            self.close(pipeline)?;
        }
        if self.open.is_none() {
            let index = self.push(Origin::Packed(0))?;
            let bytes = pipeline.buffer(block_size);
            self.open = Some(Open { index, bytes, used: 0, lent: Vec::new(), is_all_lent: true });
        }
        let open = self.open.as_mut().expect("a block was opened above");
        let offset = u32::try_from(open.used).expect("blocks are at most 1 MiB");
        match tail {
            Tail::Bytes(bytes) => {
                open.bytes[open.used..open.used + length].copy_from_slice(bytes);
                open.is_all_lent = false;
            }
            Tail::Lent(lent) => open.lent.push((open.used, lent)),
        }
        open.used += length;
        let place = Place { fragment: open.index, offset };
        let is_cut = digest.as_bytes()[0].is_multiple_of(8);
        if open.used == block_size || (is_cut && open.used >= block_size / 2) {
            self.close(pipeline)?;
        }
        Ok(place)
    }

    /// Has the open block compressed, or copied if a lender has the very same.
    pub(super) fn close(&mut self, pipeline: &mut Pipeline) -> Result<(), Error> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let filled = u32::try_from(open.used).expect("blocks are at most 1 MiB");
        if let Some((image, fragment)) = open.lender()? {
            pipeline.recycle(open.bytes);
            let FragmentEntry { start, size } = image.fragment_entry(fragment)?;
            let run = pipeline.copy(&image, start..start + u64::from(size.bytes()))?;
            self.origins[open.index as usize] = Origin::Copied { run, offset: 0, size, filled: Some(filled) };
            return Ok(());
        }
        for (at, tail) in &open.lent {
            tail.read(&mut open.bytes[*at..*at + tail.size as usize])?;
        }
        self.origins[open.index as usize] = Origin::Packed(filled);
        pipeline.compress(Slot::Fragment(open.index), open.bytes, open.used)
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

impl Open {
    /// The fragment block of a lender that holds these tails and nothing else.
    fn lender(&self) -> Result<Option<(Arc<Reader>, u32)>, Error> {
        let Some((_, first)) = self.lent.first().filter(|_| self.is_all_lent) else { return Ok(None) };
        let is_same = |(at, tail): &(usize, LentTail)| {
            *at == tail.offset as usize && tail.fragment == first.fragment && Arc::ptr_eq(&tail.image, &first.image)
        };
        if !self.lent.iter().all(is_same) || first.image.fragment_length(first.fragment)? != self.used as u64 {
            return Ok(None);
        }
        Ok(Some((Arc::clone(&first.image), first.fragment)))
    }
}
