//! Makes one image of a stack of layers without compressing anything anew.
//!
//! Every data block is compressed alone and every file's blocks lie side by side, so the blocks of the files that are
//! left are copied as they are, neighbours together, and only the tables are written anew. Nothing else is copied:
//! what upper layers deleted or replaced is not in the result. Fragment blocks hold the tails of several files; one
//! with a byte that no file is left for is taken apart, and its tails are packed again with others.
//!
//! A layer of another codec or block size is read and compressed again. With one layer, a merge removes what is dead
//! in an image; with another codec, it converts it.

mod fragment;
mod keys;
mod live;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;

use live::{Equality, Live};
use stored::Stored;

use crate::overlay::{Identity, Node};
use crate::write::{StoredFile, Tail};
use crate::{Digest, Error, FileType, Kind, Options, Overlay, Reader, Summary, Writer};

/// How [`merge`] makes an image.
#[derive(Debug, Clone, Default)]
pub struct MergeOptions {
    /// Codec, block size, threads and times of the result.
    pub options: Options,
    /// Whether the result will lie on other layers: then whiteouts and the marks of opaque directories stay.
    pub keep_whiteouts: bool,
}

/// Merges `layers`, lowest first, into one image in the empty file `out`, which is open for reading and writing.
///
/// Attributes of overlayfs do not enter the image, except for the marks that `keep_whiteouts` asks for. Files of equal
/// content are stored once, whichever layers they are from; layers opened with their index save reading for that.
///
/// # Errors
/// Fails when a layer is corrupt or uses overlayfs features beyond whiteouts and opaque directories, or when `out`
/// cannot be written.
pub fn merge(layers: &[Arc<Reader>], out: File, options: &MergeOptions) -> Result<Summary, Error> {
    merge_some(layers, &copied_from(layers, options), Equality::Content, out, options)
}

/// As [`merge`], but decompresses nothing to find equal files: those that no index knows are stored once only where
/// they are stored alike, or were in their layer. That is several times as fast for layers without an index, and the
/// result may be larger where layers share short files.
///
/// # Errors
/// As [`merge`].
pub fn merge_stored(layers: &[Arc<Reader>], out: File, options: &MergeOptions) -> Result<StoredSummary, Error> {
    let summary = merge_some(layers, &copied_from(layers, options), Equality::Stored, out, options)?;
    Ok(StoredSummary {
        file_digest: summary.file_digest,
        bytes: summary.bytes,
        bytes_used: summary.bytes_used,
        inodes: summary.inodes,
        recompressed: summary.recompressed,
    })
}

/// What is known of an image of [`merge_stored`], which never saw the contents of its files.
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

/// As [`merge`], but compresses everything anew, also where a layer has the codec and block size of the result: for
/// another level, as of a release that is read more often than it is made.
///
/// # Errors
/// As [`merge`].
pub fn recompress(layers: &[Arc<Reader>], out: File, options: &MergeOptions) -> Result<Summary, Error> {
    merge_some(layers, &vec![false; layers.len()], Equality::Content, out, options)
}

/// The layers whose blocks can be copied.
fn copied_from(layers: &[Arc<Reader>], options: &MergeOptions) -> Vec<bool> {
    let same = |layer: &Arc<Reader>| {
        let info = layer.info();
        info.compression == options.options.codec.id() && info.block_size == options.options.block_size
    };
    layers.iter().map(same).collect()
}

/// Merges; `copied` tells the layers whose blocks are copied.
fn merge_some(
    layers: &[Arc<Reader>],
    copied: &[bool],
    equality: Equality,
    out: File,
    options: &MergeOptions,
) -> Result<Summary, Error> {
    let overlay = match options.keep_whiteouts {
        true => Overlay::part(layers.to_vec()),
        false => Overlay::new(layers.to_vec()),
    };
    let mut writer = Writer::create(out, options.options.clone())?;
    let live = Live::collect(&overlay, copied, equality)?;
    let stored = Stored::copy(&live, layers, &mut writer)?;
    let mut merger = Merger { writer, live, stored, layers, names: HashMap::new(), sealed: HashSet::new() };
    if merger.live.compresses_again() {
        // What was copied is known before anything equal is compressed again; the paths get their inodes below.
        for visit in overlay.walk() {
            let (path, node) = visit?;
            merger.add_copied(&path, &node)?;
        }
    }
    for visit in overlay.walk() {
        let (path, node) = visit?;
        merger.add(path, &node)?;
    }
    let mut summary = merger.writer.finish()?;
    summary.recompressed = (0..).zip(copied).filter(|(_, copied)| !**copied).map(|(layer, _)| layer).collect();
    Ok(summary)
}

struct Merger<'a> {
    writer: Writer,
    live: Live,
    stored: Stored,
    layers: &'a [Arc<Reader>],
    /// The first name of every inode that has several.
    names: HashMap<Identity, Vec<u8>>,
    /// Directories that show nothing of what lies below the layers.
    sealed: HashSet<Vec<u8>>,
}

impl Merger<'_> {
    fn add(&mut self, path: Vec<u8>, node: &Node) -> Result<(), Error> {
        let metadata = node.metadata().map_err(|error| error.at(&path))?;
        let is_sealed = self.is_sealed(&path);
        if node.is_whiteout() && is_sealed {
            // It hides nothing, and the kernel would list it in a directory that merges with no other.
            return Ok(());
        }
        if node.is_directory() {
            if is_sealed || node.is_opaque() {
                self.sealed.insert(path.clone());
            }
            return self.writer.add_directory(&path, &metadata);
        }
        let identity = node.identity().ok_or(Error::path(&path, "it belongs to no layer"))?;
        if let Some(first) = self.names.get(&identity) {
            return self.writer.add_hard_link(&path, first);
        }
        match node.kind()? {
            Kind::Directory => {}
            Kind::File { size } => {
                let known = match self.live.file(identity) {
                    Some(file) => self.writer.add_known_file(&path, &metadata, size, file.digest)?,
                    None => false,
                };
                if !known && !self.add_copied(&path, node)? {
                    self.writer.add_file(&path, &metadata, &mut node.open()?)?;
                }
            }
            Kind::Symlink { target } => self.writer.add_symlink(&path, &metadata, &target)?,
            Kind::Special(special) => self.writer.add_special(&path, &metadata, special)?,
        }
        if node.inode().is_some_and(|inode| inode.nlink() > 1) && node.file_type() != FileType::Directory {
            self.names.insert(identity, path);
        }
        Ok(())
    }

    /// Adds a file whose stored bytes were copied; whether it is one.
    fn add_copied(&mut self, path: &[u8], node: &Node) -> Result<bool, Error> {
        let (Some(identity), Some(inode)) = (node.identity(), node.inode()) else { return Ok(false) };
        let Some(file) = self.live.file(identity).filter(|file| file.copied) else { return Ok(false) };
        let extent = inode.extent()?;
        let data = self.stored.data(identity.layer, &extent);
        let bytes;
        let tail = match extent.fragment {
            None => Tail::None,
            Some(tail) => match self.stored.fragment(identity.layer, tail.index) {
                Some(fragment) => Tail::Fragment(fragment, tail.offset),
                None => {
                    bytes = self.layers[identity.layer].fragment(tail.index)?;
                    Tail::Bytes(fragment::tail(&bytes, tail)?)
                }
            },
        };
        let file = StoredFile { size: extent.size, digest: file.digest, data, blocks: &extent.blocks, tail };
        self.writer.add_stored_file(path, &node.metadata().map_err(|error| error.at(path))?, &file)?;
        Ok(true)
    }

    /// Whether the directory that `path` is in shows nothing of what lies below the layers.
    fn is_sealed(&self, path: &[u8]) -> bool {
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &path[..at]);
        !path.is_empty() && self.sealed.contains(parent)
    }
}
