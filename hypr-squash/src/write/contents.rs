//! The contents of all files: stored once each, decided here, in order, before anything is compressed.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read};

use hashbrown::HashTable;

use super::committer::{Extent, Message, Slot};
use super::fragments::{Fragments, Place, Short};
use super::lending::Lending;
use super::pipeline::Pipeline;
use crate::{BlockSize, Digest, Error, Options, StoredSize};

/// Bytes of a long content that are held back until it is known whether they are the beginning of another.
const SEGMENT: usize = 8 << 20;

/// All contents, found by their digest.
#[derive(Debug)]
pub(super) struct Contents {
    block_size: BlockSize,
    pub(super) list: Vec<Content>,
    by_digest: HashTable<u32>,
    hashing: RandomState,
    /// Whether contents are found by their digest.
    is_searched: bool,
    /// Digests of the beginnings of long contents, one a segment.
    pub(super) beginnings: HashMap<u32, Box<[Digest]>>,
    /// Beginnings of long contents, a whole number of segments each: where their blocks are, and how many.
    prefixes: HashMap<Digest, (Extent, usize)>,
    extents: u32,
    pub(super) fragments: Fragments,
    pub(super) lending: Lending,
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
    Copied(Box<CopiedBlocks>),
}

/// Blocks in a run copied from another image.
#[derive(Debug)]
pub(super) struct CopiedBlocks {
    /// None when all are holes.
    pub(super) run: Option<u32>,
    /// Bytes of the run before the first of them.
    pub(super) offset: u64,
    pub(super) blocks: Box<[StoredSize]>,
}

/// A full buffer, or the beginning of one.
struct Held {
    bytes: Vec<u8>,
    used: usize,
}

impl Contents {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            block_size: options.block_size,
            list: Vec::new(),
            by_digest: HashTable::new(),
            hashing: RandomState::new(),
            is_searched: true,
            beginnings: HashMap::new(),
            prefixes: HashMap::new(),
            extents: 0,
            fragments: Fragments::new(options.block_size),
            lending: Lending::new(options),
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
        let mut long = Long::default();
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

    /// Gives up what only serves to find contents, for good.
    pub(super) fn forget(&mut self) {
        self.is_searched = false;
        self.by_digest = HashTable::new();
        self.prefixes = HashMap::new();
    }

    /// The content with this digest, counted as a duplicate.
    pub(super) fn find(&mut self, size: u64, digest: &Digest) -> Option<u32> {
        let hash = self.hashing.hash_one(digest);
        let found = *self.by_digest.find(hash, |&index| self.list[index as usize].digest == *digest)?;
        self.duplicate_bytes += size;
        Some(found)
    }

    pub(super) fn push(&mut self, content: Content) -> Result<u32, Error> {
        let limit = u32::MAX - 1;
        let index = u32::try_from(self.list.len()).ok().filter(|&index| index < limit);
        let index = index.ok_or(Error::Limit { what: "different files", limit: u64::from(limit) })?;
        if self.is_searched {
            let (list, hashing) = (&self.list, &self.hashing);
            let hash = hashing.hash_one(content.digest);
            self.by_digest.insert_unique(hash, index, |&index| hashing.hash_one(list[index as usize].digest));
        }
        self.list.push(content);
        Ok(index)
    }

    fn store_short(&mut self, bytes: &[u8], pipeline: &mut Pipeline) -> Result<u32, Error> {
        let (size, digest) = (bytes.len() as u64, blake3::hash(bytes));
        if let Some(known) = self.find(size, &digest) {
            return Ok(known);
        }
        if is_zero(bytes) {
            self.push_zeros(size, digest, pipeline)
        } else {
            self.push_short(Short::Bytes(bytes), size, digest, pipeline)
        }
    }

    /// Stores a content from what the image or a memo holds; `None` when neither does.
    pub(super) fn lend(&mut self, size: u64, digest: &Digest, pipeline: &mut Pipeline) -> Result<Option<u32>, Error> {
        if let Some(known) = self.find(size, digest) {
            return Ok(Some(known));
        }
        if self.lending.is_empty() {
            return Ok(None);
        }
        let short = usize::try_from(size).ok().filter(|size| *size < self.block_size.len());
        if let Some(length) = short {
            if let Some(tail) = self.lending.tail(size, digest) {
                return self.push_short(Short::Lent(tail), size, *digest, pipeline).map(Some);
            }
            let is_zeros = blake3::hash(&vec![0; length]) == *digest;
            return if is_zeros { self.push_zeros(size, *digest, pipeline).map(Some) } else { Ok(None) };
        }
        let Some(lent) = self.lending.blocks(size, digest) else { return Ok(None) };
        let prefixes = self.lending.prefixes(size, digest);
        let extent = self.new_extent();
        let blocks = lent.len();
        lent.copy(0, blocks, extent, pipeline)?;
        for (segments, prefix) in (1..).zip(&prefixes) {
            self.prefixes.entry(*prefix).or_insert((extent, segments * (SEGMENT / self.block_size.len())));
        }
        let content = self.push(Content { size, digest: *digest, data: Data::Extent(extent), tail: None })?;
        self.begins_with(content, prefixes);
        Ok(Some(content))
    }

    /// A content shorter than a block of nothing but zeros, or of nothing.
    fn push_zeros(&mut self, size: u64, digest: Digest, pipeline: &mut Pipeline) -> Result<u32, Error> {
        let mut data = Data::None;
        if size > 0 {
            let extent = self.new_extent();
            pipeline.commit(Message::Hole(extent))?;
            data = Data::Extent(extent);
        }
        self.push(Content { size, digest, data, tail: None })
    }

    fn push_short(
        &mut self,
        content: Short<'_>,
        size: u64,
        digest: Digest,
        pipeline: &mut Pipeline,
    ) -> Result<u32, Error> {
        let tail = Some(self.fragments.place(content, &digest, &self.lending, pipeline)?);
        self.push(Content { size, digest, data: Data::None, tail })
    }

    fn continue_long(&mut self, long: &mut Long, block: Held, pipeline: &mut Pipeline) -> Result<(), Error> {
        long.hasher.update(&block.bytes[..block.used]);
        long.size += block.used as u64;
        long.blocks += 1;
        let is_full = block.used == self.block_size.len();
        match long.extent {
            // What a memo may lend is not compressed before its digest is known.
            Some(extent) if self.lending.is_empty() => emit(extent, block, pipeline)?,
            _ => long.held.push(block),
        }
        let segment = SEGMENT / self.block_size.len();
        if !is_full || !long.blocks.is_multiple_of(segment) {
            return Ok(());
        }
        let prefix = long.hasher.finalize();
        long.prefixes.push(prefix);
        match self.prefixes.get(&prefix) {
            Some(&known) if long.extent.is_none() => {
                long.release(pipeline);
                long.known = Some(known);
            }
            Some(_) => long.emit_held(pipeline)?,
            None => {
                let extent = self.begin(long, pipeline)?;
                match self.lending.prefix(long.prefixes.len() as u64, &prefix) {
                    Some(lent) if lent.len() >= long.blocks => {
                        lent.copy(long.blocks - long.held.len(), long.blocks, extent, pipeline)?;
                        long.release(pipeline);
                    }
                    _ => long.emit_held(pipeline)?,
                }
                self.prefixes.insert(prefix, (extent, long.blocks));
            }
        }
        Ok(())
    }

    fn finish_long(&mut self, mut long: Long, pipeline: &mut Pipeline) -> Result<u32, Error> {
        let digest = long.hasher.finalize();
        if let Some(known) = self.find(long.size, &digest) {
            long.release(pipeline);
            return Ok(known);
        }
        let extent = self.begin(&mut long, pipeline)?;
        match self.lending.blocks(long.size, &digest) {
            Some(lent) if lent.len() == long.blocks && !long.held.is_empty() => {
                lent.copy(long.blocks - long.held.len(), long.blocks, extent, pipeline)?;
                long.release(pipeline);
            }
            _ => long.emit_held(pipeline)?,
        }
        let content = self.push(Content { size: long.size, digest, data: Data::Extent(extent), tail: None })?;
        self.begins_with(content, long.prefixes);
        Ok(content)
    }

    fn begins_with(&mut self, content: u32, prefixes: Vec<Digest>) {
        if !prefixes.is_empty() {
            self.beginnings.insert(content, prefixes.into());
        }
    }

    /// Gives up hoping that the content is a duplicate. What is known to be the beginning of another content has the
    /// same blocks as that; what is held back is still to be stored.
    fn begin(&mut self, long: &mut Long, pipeline: &mut Pipeline) -> Result<Extent, Error> {
        if let Some(extent) = long.extent {
            return Ok(extent);
        }
        let extent = self.new_extent();
        long.extent = Some(extent);
        if let Some((from, blocks)) = long.known {
            pipeline.commit(Message::Repeat { from, blocks, to: extent })?;
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
#[derive(Default)]
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
    /// Digests of its beginnings, one a segment.
    prefixes: Vec<Digest>,
}

impl Long {
    /// Gives up what was held back, because it is had otherwise.
    fn release(&mut self, pipeline: &Pipeline) {
        self.held.drain(..).for_each(|held| pipeline.recycle(held.bytes));
    }

    /// Stores what was held back, once there is an extent for it.
    fn emit_held(&mut self, pipeline: &mut Pipeline) -> Result<(), Error> {
        let Some(extent) = self.extent else { return Ok(()) };
        self.held.drain(..).try_for_each(|held| emit(extent, held, pipeline))
    }
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
