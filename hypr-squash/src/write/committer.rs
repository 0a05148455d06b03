//! The one thread that writes: takes blocks in the order of their numbers and records where they went.

use std::collections::BTreeMap;
use std::sync::Arc;

use blake3::hazmat::ChainingValue;
use crossbeam_channel::{Receiver, Sender};

use super::output::Output;
use super::pool::Pool;
use crate::format::{FragmentEntry, StoredSize};
use crate::{Error, Reader};

/// Something to append to the image or to note about it, with its place in the order.
pub(super) type Numbered = (u64, Message);

/// What the committer does.
pub(super) enum Message {
    /// Append a block.
    Block(Slot, Block),
    /// Note a block of zeros.
    Hole(Extent),
    /// Keep what the file begins with already: the runs of these lengths, from the first on. More of the last one may
    /// follow.
    Keep { runs: Vec<u64>, groups: Vec<ChainingValue> },
    /// Drop what the file holds; nothing was written yet.
    Empty,
    /// Append stored bytes of another image.
    Copy { run: u32, source: Reader, offset: u64, length: u64 },
    /// Append stored blocks of another image, side by side, that take the place of compressed ones.
    Lend { slot: Slot, source: Arc<Reader>, offset: u64, blocks: Vec<StoredSize> },
    /// Begin an extent with the first blocks of another.
    Repeat { from: Extent, blocks: usize, to: Extent },
    /// Stop: a block could not be compressed.
    Failed(Error),
}

/// What a block belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slot {
    Data(Extent),
    Fragment(u32),
}

/// The data blocks of one content, by the order in which they were begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent(pub(super) u32);

/// Bytes as they are stored.
pub(super) enum Block {
    Compressed(Vec<u8>),
    /// A buffer and how much of it counts.
    Raw(Vec<u8>, usize),
}

/// Where everything went.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) extents: Vec<StoredExtent>,
    /// Fragment blocks that were packed here; those copied from elsewhere are left at their default.
    pub(super) fragments: Vec<Option<FragmentEntry>>,
    /// Byte offsets of the runs copied from other images.
    pub(super) runs: Vec<u64>,
    /// Stored bytes that memos lent.
    pub(super) lent: u64,
}

/// Data blocks and where the first one that is not a hole begins.
#[derive(Debug, Default)]
pub(super) struct StoredExtent {
    pub(super) start: Option<u64>,
    pub(super) blocks: Vec<StoredSize>,
}

impl Ledger {
    fn extent(&mut self, extent: Extent) -> &mut StoredExtent {
        slot(&mut self.extents, extent.0)
    }

    /// Notes blocks that were appended at `start`.
    fn note(&mut self, slot: Slot, start: u64, blocks: &[StoredSize]) {
        match slot {
            Slot::Data(extent) => {
                let extent = self.extent(extent);
                if blocks.iter().any(|block| !block.is_hole()) {
                    extent.start.get_or_insert(start);
                }
                extent.blocks.extend_from_slice(blocks);
            }
            Slot::Fragment(index) => {
                let entry = blocks.first().map(|&size| FragmentEntry { start, size });
                *self::slot(&mut self.fragments, index) = entry;
            }
        }
    }
}

/// Commits until all senders are gone. Hands out a ticket for every message done.
pub(super) fn run(
    mut output: Output,
    messages: &Receiver<Numbered>,
    tickets: &Sender<()>,
    pool: &Pool,
) -> Result<(Output, Ledger), Error> {
    let mut ledger = Ledger::default();
    let mut early = BTreeMap::new();
    let mut next = 0;
    for (number, message) in messages {
        early.insert(number, message);
        while let Some(message) = early.remove(&next) {
            commit(message, &mut output, &mut ledger, pool)?;
            next += 1;
            // Nobody waits for tickets any more once the writer is being finished.
            let _ = tickets.send(());
        }
    }
    if !early.is_empty() {
        return Err(Error::Io { action: "compress a block", source: std::io::Error::other("a thread was lost") });
    }
    output.flush()?;
    Ok((output, ledger))
}

fn commit(message: Message, output: &mut Output, ledger: &mut Ledger, pool: &Pool) -> Result<(), Error> {
    let start = output.position();
    match message {
        Message::Block(slot, block) => {
            let size = block.append(output, pool)?;
            ledger.note(slot, start, &[size]);
        }
        Message::Lend { slot, source, offset, blocks } => {
            let length = blocks.iter().map(|block| u64::from(block.bytes())).sum();
            output.append_from(&source, offset, length)?;
            ledger.lent += length;
            ledger.note(slot, start, &blocks);
        }
        Message::Hole(extent) => ledger.extent(extent).blocks.push(StoredSize::HOLE),
        Message::Keep { runs, groups } => {
            let mut end = start;
            for length in runs {
                ledger.runs.push(end);
                end += length;
            }
            output.keep(end, &groups)?;
        }
        Message::Empty => output.empty()?,
        Message::Copy { run, source, offset, length } => {
            let begin = slot(&mut ledger.runs, run);
            // The first part of it may have been kept; no run begins at the superblock.
            if *begin == 0 {
                *begin = start;
            }
            output.append_from(&source, offset, length)?;
        }
        Message::Repeat { from, blocks, to } => {
            let from = ledger.extent(from);
            let (offset, blocks) = (from.start, from.blocks[..blocks].to_vec());
            let length = blocks.iter().map(|block| u64::from(block.bytes())).sum();
            if let (Some(offset), 1..) = (offset, length) {
                output.append_again(offset, length)?;
                ledger.extent(to).start = Some(start);
            }
            ledger.extent(to).blocks = blocks;
        }
        Message::Failed(error) => return Err(error),
    }
    Ok(())
}

impl Block {
    fn append(self, output: &mut Output, pool: &Pool) -> Result<StoredSize, Error> {
        let length = |length: usize| u32::try_from(length).expect("blocks are at most 1 MiB");
        let (size, buffer) = match self {
            Self::Compressed(bytes) => {
                output.append(&bytes)?;
                (StoredSize::compressed(length(bytes.len())), bytes)
            }
            Self::Raw(bytes, used) => {
                output.append(&bytes[..used])?;
                (StoredSize::raw(length(used)), bytes)
            }
        };
        pool.give(buffer);
        Ok(size)
    }
}

fn slot<T: Default>(list: &mut Vec<T>, index: u32) -> &mut T {
    let index = index as usize;
    if list.len() <= index {
        list.resize_with(index + 1, T::default);
    }
    &mut list[index]
}
