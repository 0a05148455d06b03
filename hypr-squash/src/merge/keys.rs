//! Finds equal files by what is stored for them, without decompressing anything.
//!
//! Blocks of the same bytes, lengths and codec have the same content, so files of such blocks are equal. Only files
//! whose lists of block lengths are equal are read for that, which hardly any two different files have. Tails in
//! fragment blocks are equal when they are in the same place.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Digest, Error, FileExtent, Node, Reader};

/// What a file is compared by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key {
    /// Files with this key are equal.
    Known(Digest),
    /// An index says that files with this key are equal.
    Told(Digest),
}

/// Stands for contents that are not known.
#[derive(Debug)]
pub(super) struct Keys<'a> {
    layers: &'a [Arc<Reader>],
    /// The first file of each list of block lengths.
    shapes: HashMap<Digest, First>,
}

#[derive(Debug)]
struct First {
    layer: usize,
    start: u64,
    /// BLAKE3 of the stored bytes, once another file was compared with this one.
    digest: Option<Digest>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(layers: &'a [Arc<Reader>]) -> Self {
        Self { layers, shapes: HashMap::new() }
    }

    /// The digest from the layer's index, which files of one content have in common if the index is right; without one,
    /// a key that only equal files have in common.
    pub(super) fn key(&mut self, layer: usize, node: &Node, extent: &FileExtent) -> Result<Key, Error> {
        match node.indexed_digest(extent) {
            Some(digest) => Ok(Key::Told(digest)),
            None => self.stored_key(layer, extent).map(Key::Known),
        }
    }

    /// A key that no other file has unless it is stored in the same place.
    pub(super) fn place_key(layer: usize, extent: &FileExtent) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("hypr-squash stored place");
        let (fragment, offset) = extent.fragment.map_or((u32::MAX, 0), |tail| (tail.index, tail.offset));
        for number in [layer as u64, extent.size, extent.start, u64::from(fragment), u64::from(offset)] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.finalize()
    }

    fn stored_key(&mut self, layer: usize, extent: &FileExtent) -> Result<Digest, Error> {
        let info = self.layers[layer].info();
        let mut hasher = blake3::Hasher::new_derive_key("hypr-squash stored content");
        hasher.update(&info.compression.number().to_le_bytes());
        hasher.update(&info.block_size.bytes().to_le_bytes());
        hasher.update(&extent.size.to_le_bytes());
        extent.blocks.iter().for_each(|block| _ = hasher.update(&block.word().to_le_bytes()));
        if let Some(tail) = extent.fragment {
            hasher.update(&(layer as u64).to_le_bytes());
            hasher.update(&extent.start.to_le_bytes());
            hasher.update(&tail.index.to_le_bytes());
            hasher.update(&tail.offset.to_le_bytes());
            return Ok(hasher.finalize());
        }
        let shape = hasher.finalize();
        if extent.stored() == 0 {
            return Ok(shape);
        }
        let first = self.shapes.entry(shape).or_insert(First { layer, start: extent.start, digest: None });
        if (first.layer, first.start) == (layer, extent.start) {
            return Ok(shape);
        }
        let first_digest = match first.digest {
            Some(digest) => digest,
            None => *first.digest.insert(stored(&self.layers[first.layer], first.start, extent.stored())?),
        };
        let digest = stored(&self.layers[layer], extent.start, extent.stored())?;
        if digest == first_digest {
            return Ok(shape);
        }
        hasher.update(digest.as_bytes());
        Ok(hasher.finalize())
    }
}

/// BLAKE3 of stored bytes.
fn stored(reader: &Reader, mut offset: u64, mut length: u64) -> Result<Digest, Error> {
    const PIECE: usize = 1 << 20;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; usize::try_from(length).map_or(PIECE, |length| length.min(PIECE))];
    while length > 0 {
        let part = usize::try_from(length).map_or(piece.len(), |length| length.min(piece.len()));
        reader.read_raw(offset, &mut piece[..part])?;
        hasher.update(&piece[..part]);
        offset += part as u64;
        length -= part as u64;
    }
    Ok(hasher.finalize())
}
