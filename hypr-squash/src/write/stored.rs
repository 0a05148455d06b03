//! Adds what another image already holds compressed.
//!
//! The caller copies whole runs of stored bytes and then says which files and fragment blocks lie where in them. The
//! runs keep their place in the order of all data; where that is, is known only when the image is finished.

use std::ops::Range;

use blake3::hazmat::ChainingValue;

use super::Writer;
use super::contents::{Content, CopiedBlocks, Data};
use super::fragments::{Origin, Place, Short};
use super::tree::{Body, Inode};
use crate::{Digest, Error, Metadata, Reader, StoredSize};

/// Stored bytes that came verbatim from another image; a handle of [`Writer::copy_run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Run(u32);

/// A fragment block of the image being written; a handle of [`Writer::add_fragment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fragment(u32);

/// A content that is already known and mostly already stored, for [`Writer::add_stored`].
#[derive(Debug)]
pub(crate) struct StoredFile<'a> {
    /// Content length in bytes.
    pub(crate) size: u64,
    /// BLAKE3 of the content, or what stands for it.
    pub(crate) digest: Digest,
    /// Where the data blocks begin: a run, and the byte offset in it. `None` when there are none or all are holes.
    pub(crate) data: Option<(Run, u64)>,
    /// One word a data block.
    pub(crate) blocks: Vec<StoredSize>,
    /// Where the rest of the content is.
    pub(crate) tail: Tail<'a>,
}

/// The part of a file after its data blocks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tail<'a> {
    /// There is none.
    None,
    /// In a fragment block that was copied, at this byte offset in it.
    Fragment(Fragment, u32),
    /// To be placed in a new fragment block: shorter than a block.
    Bytes(&'a [u8]),
}

impl Writer {
    /// Copies stored bytes of an image of the same codec and block size, in order with all other data.
    ///
    /// # Errors
    /// Fails when compressor or block size differ, or when the image cannot be read or written.
    pub(crate) fn copy_run(&mut self, source: &Reader, range: Range<u64>) -> Result<Run, Error> {
        let info = source.info();
        if info.compression != self.options.codec.id() || info.block_size != self.options.block_size {
            let reason = "its compressor or block size differs from that of the result";
            return Err(Error::Merge { path: Vec::new(), reason });
        }
        let data = source.data_range();
        if range.start < data.start || range.end > data.end || range.start > range.end {
            return Err(Error::corrupt(crate::Table::Data, range.start, "data lies outside the data area"));
        }
        // Whoever encoded it, it was not this writer.
        self.is_foreign = true;
        self.pipeline.copy(source, range).map(Run)
    }

    /// Keeps the runs that the file begins with already: as [`copy_run`](Self::copy_run) for each, but the bytes are
    /// there. `groups` are the hashes of the whole groups behind the first. To be called before anything is added. The
    /// last run may be kept in part and continued with [`copy_more`](Self::copy_more).
    pub(crate) fn keep_runs(&mut self, lengths: Vec<u64>, groups: &[ChainingValue]) -> Result<Vec<Run>, Error> {
        self.is_foreign = true;
        let runs = (0..).take(lengths.len()).map(Run).collect();
        self.pipeline.keep(lengths, groups.to_vec())?;
        Ok(runs)
    }

    /// Empties the file, which has nothing to be kept.
    pub(crate) fn keep_nothing(&mut self) -> Result<(), Error> {
        self.pipeline.keep_nothing()
    }

    /// Copies the rest of a run of which the first part was kept.
    pub(crate) fn copy_more(&mut self, run: Run, source: &Reader, range: Range<u64>) -> Result<(), Error> {
        self.pipeline.copy_more(run.0, source, range)
    }

    /// Where in the file the first data is.
    pub(crate) fn data_start(&self) -> u64 {
        self.data_start
    }

    /// Declares a fragment block that lies at a byte offset in a run.
    ///
    /// # Errors
    /// Fails when there are too many fragment blocks.
    pub(crate) fn add_fragment(&mut self, run: Run, offset: u64, size: StoredSize) -> Result<Fragment, Error> {
        self.contents.fragments.push(Origin::Copied { run: run.0, offset, size }).map(Fragment)
    }

    /// Adds a regular file of which only the content's length and digest are known, when the image has that content
    /// already or an image that [lends](Self::lend) has it; returns whether one does. When none does, nothing is added.
    ///
    /// Nothing is read for it here: a lent short content is fetched, and checked, when its fragment block is written,
    /// and only if that is not lent whole.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory).
    pub fn add_known_file(
        &mut self,
        path: &[u8],
        metadata: &Metadata,
        size: u64,
        digest: Digest,
    ) -> Result<bool, Error> {
        self.tree.check(path)?;
        let attributes = self.attributes(path, metadata)?;
        let Some(content) = self.contents.lend(size, &digest, &mut self.pipeline)? else { return Ok(false) };
        self.tree.insert(path, Inode { attributes, body: Body::File(content) })?;
        Ok(true)
    }

    /// Has nothing looked for any more among the contents that are there.
    pub(crate) fn find_nothing(&mut self) {
        self.contents.forget();
    }

    /// Makes a content known whose blocks lie in a run and which no other content is equal to; returns its place.
    pub(crate) fn add_stored(&mut self, file: StoredFile<'_>) -> Result<u32, Error> {
        let block_size = u64::from(self.options.block_size.bytes());
        let whole = file.blocks.len() as u64;
        let rest = file.size % block_size;
        let fits = match file.tail {
            Tail::None => whole == file.size.div_ceil(block_size),
            Tail::Fragment(_, offset) => {
                whole == file.size / block_size && rest > 0 && u64::from(offset) + rest <= block_size
            }
            Tail::Bytes(bytes) => whole == file.size / block_size && rest > 0 && bytes.len() as u64 == rest,
        };
        if !fits || (file.data.is_none() && file.blocks.iter().any(|block| !block.is_hole())) {
            return Err(Error::Merge { path: Vec::new(), reason: "the blocks of a file do not add up to its size" });
        }
        let tail = match file.tail {
            Tail::None => None,
            Tail::Fragment(fragment, offset) => Some(Place::new(fragment.0, offset)),
            Tail::Bytes(bytes) => Some(self.contents.fragments.place(
                Short::Bytes(bytes),
                &file.digest,
                &self.contents.lending,
                &mut self.pipeline,
            )?),
        };
        let data = if file.blocks.is_empty() {
            Data::None
        } else {
            let (run, offset) = file.data.map_or((None, 0), |(run, offset)| (Some(run.0), offset));
            Data::Copied(Box::new(CopiedBlocks { run, offset, blocks: file.blocks.into() }))
        };
        self.contents.push(Content { size: file.size, digest: file.digest, data, tail })
    }
}
