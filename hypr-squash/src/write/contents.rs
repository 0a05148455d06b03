//! The contents of all files: stored once each, decided here, in order, before anything is compressed.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};

use super::committer::{Extent, Message, Slot};
use super::fragments::{Fragments, Place, Tail};
use super::pipeline::Pipeline;
use crate::{BlockSize, Digest, Error, StoredSize};

/// Bytes of a long content that are held back until it is known whether they are the beginning of another.
const SEGMENT: usize = 8 << 20;

/// All contents, found by their digest.
#[derive(Debug)]
pub(super) struct Contents {
    block_size: BlockSize,
    pub(super) list: Vec<Content>,
    by_digest: HashMap<Digest, u32>,
    /// Beginnings of long contents, a whole number of segments each: where their blocks are, and how many.
    prefixes: HashMap<Digest, (Extent, usize)>,
    extents: u32,
    pub(super) fragments: Fragments,
    /// Bytes of content that did not have to be stored again.
    pub(super) duplicate_bytes: u64,
}

/// One content.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) size: u64,
    pub(super) digest: Digest,
    pub(super) data: Data,
    pub(super) tail: Option<Place>,
}

/// Where the data blocks of a content are.
#[derive(Debug)]
pub(super) enum Data {
    None,
    Extent(Extent),
    /// Blocks in a run copied from another image; no run when all are holes.
    Copied {
        run: Option<u32>,
        offset: u64,
        blocks: Box<[StoredSize]>,
    },
}

/// A full buffer, or the beginning of one.
struct Held {
    bytes: Vec<u8>,
    used: usize,
}

impl Contents {
    pub(super) fn new(block_size: BlockSize) -> Self {
        Self {
            block_size,
            list: Vec::new(),
            by_digest: HashMap::new(),
            prefixes: HashMap::new(),
            extents: 0,
            fragments: Fragments::new(block_size),
            duplicate_bytes: 0,
        }
    }

    /// Stores what `content` yields, unless it is there already.
    pub(super) fn store(&mut self, path: &[u8], content: &mut dyn Read, pipeline: &mut Pipeline) -> Result<u32, Error> {
        let failed = |source| Error::Entry { action: "read", path: path.to_vec(), source };
        let block_size = self.block_size.len();
        let mut block = pipeline.buffer(block_size);
        let used = read_full(content, &mut block[..block_size]).map_err(failed)?;
        if used < block_size {
            let stored = self.store_short(&block[..used], pipeline);
            pipeline.recycle(block);
            return stored;
        }
        let mut long =
            Long { hasher: blake3::Hasher::new(), size: 0, blocks: 0, held: Vec::new(), known: None, extent: None };
        self.continue_long(&mut long, Held { bytes: block, used }, pipeline)?;
        loop {
            let mut block = pipeline.buffer(block_size);
            let used = read_full(content, &mut block[..block_size]).map_err(failed)?;
            if used == 0 {
                pipeline.recycle(block);
                break;
            }
            self.continue_long(&mut long, Held { bytes: block, used }, pipeline)?;
            if used < block_size {
                break;
            }
        }
        self.finish_long(long, pipeline)
    }

    /// The content with this digest, counted as a duplicate.
    pub(super) fn find(&mut self, size: u64, digest: &Digest) -> Option<u32> {
        let found = *self.by_digest.get(digest)?;
        self.duplicate_bytes += size;
        Some(found)
    }

    pub(super) fn push(&mut self, content: Content) -> Result<u32, Error> {
        let limit = u32::MAX - 1;
        let index = u32::try_from(self.list.len()).ok().filter(|&index| index < limit);
        let index = index.ok_or(Error::Limit { what: "different files", limit: u64::from(limit) })?;
        self.by_digest.insert(content.digest, index);
        self.list.push(content);
        Ok(index)
    }

    fn store_short(&mut self, bytes: &[u8], pipeline: &mut Pipeline) -> Result<u32, Error> {
        let (size, digest) = (bytes.len() as u64, blake3::hash(bytes));
        if let Some(known) = self.find(size, &digest) {
            return Ok(known);
        }
        let (mut data, mut tail) = (Data::None, None);
        if !bytes.is_empty() {
            if is_zero(bytes) {
                let extent = self.new_extent();
                pipeline.commit(Message::Hole(extent))?;
                data = Data::Extent(extent);
            } else {
                tail = Some(self.fragments.place(Tail::Bytes(bytes), &digest, pipeline)?);
            }
        }
        self.push(Content { size, digest, data, tail })
    }

    fn continue_long(&mut self, long: &mut Long, block: Held, pipeline: &mut Pipeline) -> Result<(), Error> {
        long.hasher.update(&block.bytes[..block.used]);
        long.size += block.used as u64;
        long.blocks += 1;
        let is_full = block.used == self.block_size.len();
        match long.extent {
            Some(extent) => emit(extent, block, pipeline)?,
            None => long.held.push(block),
        }
        if is_full && long.blocks.is_multiple_of(SEGMENT / self.block_size.len()) {
            let prefix = long.hasher.finalize();
            match self.prefixes.get(&prefix) {
                Some(&known) if long.extent.is_none() => {
                    long.held.drain(..).for_each(|held| pipeline.recycle(held.bytes));
                    long.known = Some(known);
                }
                Some(_) => {}
                None => {
                    let extent = self.begin(long, pipeline)?;
                    self.prefixes.insert(prefix, (extent, long.blocks));
                }
            }
        }
        Ok(())
    }

    fn finish_long(&mut self, mut long: Long, pipeline: &mut Pipeline) -> Result<u32, Error> {
        let digest = long.hasher.finalize();
        if let Some(known) = self.find(long.size, &digest) {
            long.held.drain(..).for_each(|held| pipeline.recycle(held.bytes));
            return Ok(known);
        }
        let extent = self.begin(&mut long, pipeline)?;
        self.push(Content { size: long.size, digest, data: Data::Extent(extent), tail: None })
    }

    /// Gives up hoping that the content is a duplicate: what was held back is stored. What is known to be the
    /// beginning of another content has the same blocks as that.
    fn begin(&mut self, long: &mut Long, pipeline: &mut Pipeline) -> Result<Extent, Error> {
        if let Some(extent) = long.extent {
            return Ok(extent);
        }
        let extent = self.new_extent();
        long.extent = Some(extent);
        if let Some((from, blocks)) = long.known {
            pipeline.commit(Message::Repeat { from, blocks, to: extent })?;
        }
        for block in long.held.drain(..) {
            emit(extent, block, pipeline)?;
        }
        Ok(extent)
    }

    fn new_extent(&mut self) -> Extent {
        // There are no more extents than contents, whose number is checked, and those given up by a failed read.
        let extent = Extent(self.extents);
        self.extents = self.extents.wrapping_add(1);
        extent
    }
}

/// A content of at least a block on its way.
struct Long {
    hasher: blake3::Hasher,
    size: u64,
    blocks: usize,
    /// Blocks that are not stored yet.
    held: Vec<Held>,
    /// What the blocks before the held ones are equal to.
    known: Option<(Extent, usize)>,
    /// Where the blocks are stored, once that is decided.
    extent: Option<Extent>,
}

fn emit(extent: Extent, block: Held, pipeline: &mut Pipeline) -> Result<(), Error> {
    if is_zero(&block.bytes[..block.used]) {
        pipeline.recycle(block.bytes);
        pipeline.commit(Message::Hole(extent))
    } else {
        pipeline.compress(Slot::Data(extent), block.bytes, block.used)
    }
}

/// Reads until the buffer is full or the content ends.
fn read_full(content: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut used = 0;
    while used < buffer.len() {
        match content.read(&mut buffer[used..]) {
            Ok(0) => break,
            Ok(length) => used += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(used)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(64).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}
