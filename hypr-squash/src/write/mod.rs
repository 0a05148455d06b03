//! Makes images.
//!
//! Entries come in any order. What a file contains goes to its place at once: the calling thread reads and hashes it,
//! decides whether it is already stored and where it goes, and hands it on to be compressed and written (`pipeline`).
//! The tables are written when the last entry is known (`finish`).

mod children;
mod committer;
mod contents;
mod copy;
mod describe;
mod entering;
mod finish;
mod fragments;
mod hash;
mod lending;
mod listing;
mod metadata_writer;
mod output;
mod pipeline;
mod pool;
mod stored;
#[cfg(test)]
mod tests;
mod tree;
mod xattr_table;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

use blake3::hazmat::ChainingValue;
use contents::Contents;
pub(crate) use entering::Entered;
use finish::Finish;
use fragments::Origin;
pub(crate) use hash::GROUP;
use output::Output;
use pipeline::Pipeline;
pub(crate) use stored::{Fragment, Run, StoredFile, Tail};
use tree::{Attributes, Body, Inode, Tree};

use crate::format::{MetadataHeader, TARGET_MAX, XattrPrefix};
use crate::{Codec, Digest, Error, FragmentEntry, Index, Metadata, Options, Special, Xattrs};

/// Bytes of all names and values of one inode's extended attributes. Kernels stop at 64 KiB of either.
const XATTRS_MAX: usize = 1 << 20;

/// Makes one image from entries given in any order.
///
/// Paths are relative, without leading or trailing slash; `b""` is the root. A second entry at a path replaces the
/// first; a directory on a directory takes the new metadata and keeps its children. Parents that were never added
/// are directories of mode 0755, owned by root, of time zero.
///
/// An error from reading an entry's content leaves the writer usable, without that entry; after an error from writing
/// the image every call fails. Dropping a writer ends its threads.
#[derive(Debug)]
pub struct Writer {
    options: Options,
    tree: Tree,
    contents: Contents,
    /// Different sets of extended attributes; the first is the empty one.
    xattrs: Vec<Xattrs>,
    known_xattrs: HashMap<Xattrs, u32>,
    /// The set that was asked for last, which the next inode is likely to have too.
    recent_xattrs: (Xattrs, u32),
    /// Whether another image's bytes were copied, whatever encoder made them.
    is_foreign: bool,
    data_start: u64,
    pipeline: Pipeline,
}

/// What [`Writer::add_file`] read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileInfo {
    /// Content length in bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub digest: Digest,
}

/// What an image turned out to be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Summary {
    /// BLAKE3 of all bytes of the file.
    pub file_digest: Digest,
    /// BLAKE3 of the canonical tree: what the image means, whatever its bytes.
    pub content_digest: Digest,
    /// Bytes of the file, padding included.
    pub bytes: u64,
    /// Bytes of the file without padding.
    pub bytes_used: u64,
    /// Number of inodes.
    pub inodes: u32,
    /// Bytes of data that no inode refers to any more, because their entry was replaced. A merge of the image alone
    /// leaves them out.
    pub dead_bytes: u64,
    /// Bytes of content that did not have to be stored again because an equal file was there.
    pub duplicate_bytes: u64,
    /// Layers that a merge read and compressed again, by their place in the stack; the others were copied from.
    pub recompressed: Vec<usize>,
    /// Stored bytes of the image that earlier images lent, see [`Writer::lend`].
    pub lent_bytes: u64,
    /// Content and place of every regular file.
    pub index: Index,
    /// Hashes of its whole groups behind the first.
    pub(crate) groups: Vec<ChainingValue>,
}

/// What is known of an image that was not described, because nobody asked or because the contents of its files were
/// never seen: see [`Writer::finish_without_index`] and [`merge_stored`](crate::merge_stored).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredSummary {
    /// BLAKE3 of all bytes of the file.
    pub file_digest: Digest,
    /// Bytes of the file, padding included.
    pub bytes: u64,
    /// Bytes of the file without padding.
    pub bytes_used: u64,
    /// Number of inodes.
    pub inodes: u32,
    /// Layers that were read and compressed again, by their place in the stack; the others were copied from.
    pub recompressed: Vec<usize>,
}

impl From<Summary> for StoredSummary {
    fn from(summary: Summary) -> Self {
        Self {
            file_digest: summary.file_digest,
            bytes: summary.bytes,
            bytes_used: summary.bytes_used,
            inodes: summary.inodes,
            recompressed: summary.recompressed,
        }
    }
}

/// Whether a summary has a content digest, an index and the number of dead bytes, which take a walk over the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Described {
    Yes,
    No,
}

impl Writer {
    /// Begins an image in an empty file that is open for reading and writing.
    ///
    /// # Errors
    /// Fails when threads cannot be started or the file cannot be written.
    pub fn create(file: File, options: Options) -> Result<Self, Error> {
        // More than a few wait for the one that writes.
        let mut output = Output::new(file, (options.threads.get() - 1).min(3));
        write_compressor_options(&mut output, options.codec)?;
        let data_start = output.position();
        Ok(Self {
            tree: Tree::new(),
            contents: Contents::new(&options),
            xattrs: vec![Xattrs::new()],
            known_xattrs: HashMap::new(),
            recent_xattrs: (Xattrs::new(), 0),
            is_foreign: false,
            data_start,
            pipeline: Pipeline::start(output, &options)?,
            options,
        })
    }

    /// The options given at the start.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Adds a directory, or gives a present one new metadata.
    ///
    /// # Errors
    /// Fails on an invalid path, on extended attributes that the format cannot hold, or when the image cannot be
    /// written.
    pub fn add_directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<(), Error> {
        self.add(path, metadata, Body::directory())
    }

    /// Adds a regular file with all that `content` yields.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory), and when `content` fails.
    pub fn add_file(&mut self, path: &[u8], metadata: &Metadata, content: &mut dyn Read) -> Result<FileInfo, Error> {
        self.tree.check(path)?;
        let attributes = self.attributes(path, metadata)?;
        let content = self.contents.store(path, content, &mut self.pipeline)?;
        self.tree.insert(path, Inode { attributes, body: Body::File(content) })?;
        let content = &self.contents.list[content as usize];
        Ok(FileInfo { size: content.size, digest: content.digest })
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory), and when the target is empty or over 4,095 bytes.
    pub fn add_symlink(&mut self, path: &[u8], metadata: &Metadata, target: &[u8]) -> Result<(), Error> {
        checked_target(path, target)?;
        self.add(path, metadata, Body::Symlink(Box::new(target.into())))
    }

    /// Adds a device, pipe or socket.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory), and when a device number is out of range.
    pub fn add_special(&mut self, path: &[u8], metadata: &Metadata, special: Special) -> Result<(), Error> {
        checked_special(path, special)?;
        self.add(path, metadata, Body::Special(special))
    }

    /// Adds one more name for the inode at `target`, which must exist and not be a directory.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory), and when there is nothing to link to.
    pub fn add_hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Error> {
        self.tree.check(path)?;
        let Some(inode) = self.tree.find(target) else {
            return Err(Error::path(target, "a hard link leads to it, and it does not exist"));
        };
        if matches!(self.tree.inodes[inode as usize].body, Body::Directory(_)) {
            return Err(Error::path(target, "a hard link leads to it, and it is a directory"));
        }
        self.tree.link(path, inode)
    }

    /// Removes the entry at `path` with all below it; returns whether there was one.
    ///
    /// # Errors
    /// Fails on the root.
    pub fn remove(&mut self, path: &[u8]) -> Result<bool, Error> {
        self.tree.remove(path)
    }

    /// Whether there is an entry at `path`.
    pub fn contains(&self, path: &[u8]) -> bool {
        self.tree.find(path).is_some()
    }

    /// Writes the tables and the superblock. The file is not synced.
    ///
    /// # Errors
    /// Fails when the image cannot be written or exceeds a limit of the format.
    pub fn finish(self) -> Result<Summary, Error> {
        self.finish_with(Described::Yes)
    }

    /// As [`finish`](Self::finish), without describing what the image contains: no index, no content digest. That saves a
    /// third of the memory that an entry takes.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_without_index(self) -> Result<StoredSummary, Error> {
        Ok(StoredSummary::from(self.finish_with(Described::No)?))
    }

    pub(crate) fn finish_with(mut self, described: Described) -> Result<Summary, Error> {
        self.contents.fragments.close(&self.contents.lending, &mut self.pipeline)?;
        // Nothing is added any more, so nothing has to be found.
        self.contents.forget();
        let (output, ledger) = self.pipeline.finish()?;
        let origins = self.contents.fragments.origins().iter().enumerate();
        let fragments = origins.map(|(index, origin)| match *origin {
            Origin::Packed(_) => ledger.fragments.get(index).copied().flatten().ok_or(Error::Poisoned),
            Origin::Copied { run, offset, size } => {
                Ok(FragmentEntry { start: ledger.runs[run as usize] + offset, size })
            }
        });
        let finish = Finish {
            fragments: fragments.collect::<Result<_, _>>()?,
            options: &self.options,
            tree: &self.tree,
            contents: &self.contents,
            xattrs: &self.xattrs,
            ledger: &ledger,
            data_start: self.data_start,
            described,
            encoder: (!self.is_foreign).then(|| self.options.encoder()),
        };
        finish.write(output)
    }

    fn add(&mut self, path: &[u8], metadata: &Metadata, body: Body) -> Result<(), Error> {
        self.tree.check(path)?;
        let attributes = self.attributes(path, metadata)?;
        self.tree.insert(path, Inode { attributes, body })
    }

    fn attributes(&mut self, path: &[u8], metadata: &Metadata) -> Result<Attributes, Error> {
        let mtime = u32::try_from(metadata.mtime.max(0)).unwrap_or(u32::MAX);
        let mtime = self.options.clamp_mtime.map_or(mtime, |latest| mtime.min(latest));
        let xattrs = self.xattr_set(path, &metadata.xattrs)?;
        Ok(Attributes { mode: metadata.mode & 0o7777, uid: metadata.uid, gid: metadata.gid, mtime, xattrs })
    }

    fn xattr_set(&mut self, path: &[u8], set: &Xattrs) -> Result<u32, Error> {
        if set.is_empty() {
            return Ok(0);
        }
        if set.is_shared_with(&self.recent_xattrs.0) {
            return Ok(self.recent_xattrs.1);
        }
        if let Some(&known) = self.known_xattrs.get(set) {
            self.recent_xattrs = (set.clone(), known);
            return Ok(known);
        }
        let flaw = |reason| Err(Error::Unsupported { path: path.to_vec(), reason });
        let mut total = 0;
        for (name, value) in set {
            let Some((_, rest)) = XattrPrefix::split(name) else {
                return flaw("only user, trusted and security extended attributes can be stored");
            };
            if rest.len() > usize::from(u16::MAX) || rest.contains(&0) {
                return flaw("the name of an extended attribute is too long or contains a zero byte");
            }
            total += name.len() + value.len();
        }
        if total > XATTRS_MAX {
            return flaw("its extended attributes exceed 1 MiB");
        }
        let limit = || Error::Limit { what: "sets of extended attributes", limit: u64::from(u32::MAX) };
        let index = u32::try_from(self.xattrs.len()).map_err(|_| limit())?;
        self.xattrs.push(set.clone());
        self.known_xattrs.insert(set.clone(), index);
        self.recent_xattrs = (set.clone(), index);
        Ok(index)
    }
}

/// Refuses link targets that no kernel follows.
fn checked_target(path: &[u8], target: &[u8]) -> Result<(), Error> {
    let reason = match target {
        b"" => "the target of a symbolic link is empty",
        _ if target.len() > TARGET_MAX => "the target of a symbolic link is longer than 4,095 bytes",
        _ if target.contains(&0) => "the target of a symbolic link contains a zero byte",
        _ => return Ok(()),
    };
    Err(Error::Unsupported { path: path.to_vec(), reason })
}

/// Refuses device numbers that an inode has no room for.
fn checked_special(path: &[u8], special: Special) -> Result<(), Error> {
    match special {
        Special::CharDevice { major, minor } | Special::BlockDevice { major, minor }
            if major > 0xfff || minor > 0xf_ffff =>
        {
            let reason = "device numbers have at most 12 bits of major and 20 of minor";
            Err(Error::Unsupported { path: path.to_vec(), reason })
        }
        _ => Ok(()),
    }
}

/// Whether the options of a codec differ from what readers assume without them. LZ4 always has some.
fn compressor_options(codec: Codec) -> Option<Vec<u8>> {
    let words: &[u32] = match codec {
        Codec::Lz4 => &[1, 0],
        Codec::Zstd { level } => &[u32::try_from(level.clamp(1, 22)).unwrap_or(1)],
        Codec::Gzip { .. } => return None,
        // A dictionary of one block and no filters are what readers assume.
        #[cfg(feature = "xz")]
        Codec::Xz { .. } => return None,
    };
    Some(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

fn has_compressor_options(codec: Codec) -> bool {
    compressor_options(codec).is_some()
}

fn write_compressor_options(output: &mut Output, codec: Codec) -> Result<(), Error> {
    if let Some(options) = compressor_options(codec) {
        output.append(&MetadataHeader::new(options.len(), false).to_bytes())?;
        output.append(&options)?;
    }
    Ok(())
}
