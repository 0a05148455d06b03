//! Goes through the union once: puts every entry into the tree of the result, and notes which stored bytes it needs.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::keys::{Key, Keys};
use super::{Equality, Error};
use crate::overlay::{Identity, Node};
use crate::write::{Entered, Writer};
use crate::{Digest, FileExtent, FileReader, FileType, Kind, Node as Inode, Overlay, Reader};

/// What is left of the layers.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Contents that are copied as they are stored, in the order in which a walk comes by them.
    pub(super) copied: Vec<Copied>,
    /// Files with a content that is copied, by its place in the list above.
    pub(super) files: Vec<(Entered, usize)>,
    /// Files of layers with another codec or block size.
    pub(super) encoded: Vec<Encoded>,
}

/// A content and where it is stored.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) layer: usize,
    pub(super) extent: FileExtent,
    /// That of the content, or what stands for it where files are compared as they are stored.
    pub(super) digest: Digest,
    trust: Trust,
}

/// A file whose content is read and compressed again.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) path: Vec<u8>,
    pub(super) inode: Inode,
    pub(super) entered: Entered,
}

/// A directory on the way to what is visited.
struct Open {
    /// Bytes of its path.
    length: usize,
    entered: Entered,
    /// Whether it shows nothing of what lies below the layers.
    is_sealed: bool,
}

impl Survey {
    /// Enters all that `overlay` shows; `can_copy` tells the layers whose blocks are copied.
    pub(super) fn take(
        overlay: &Overlay,
        can_copy: &[bool],
        equality: Equality,
        writer: &mut Writer,
    ) -> Result<Self, Error> {
        let mut surveyor = Surveyor {
            layers: overlay.layers(),
            survey: Self::default(),
            writer,
            can_copy,
            equality,
            keys: Keys::new(overlay.layers()),
            contents: HashTable::new(),
            hashing: RandomState::new(),
            pieces: Default::default(),
            names: HashMap::new(),
        };
        let mut open: Vec<Open> = Vec::new();
        for visit in overlay.walk() {
            let (path, node) = visit?;
            surveyor.visit(path, &node, &mut open)?;
        }
        let mut survey = surveyor.survey;
        if equality == Equality::Stored && can_copy.contains(&false) {
            // What is compressed again is found by its true digest, and must not meet one that an index made up.
            for Copied { layer, extent, digest, .. } in &mut survey.copied {
                *digest = Keys::place_key(*layer, extent);
            }
        }
        Ok(survey)
    }
}

/// Whose word for equality it is: what an index made up must not meet what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Trust {
    Known,
    Told,
}

struct Surveyor<'a> {
    layers: &'a [Arc<Reader>],
    survey: Survey,
    writer: &'a mut Writer,
    can_copy: &'a [bool],
    equality: Equality,
    keys: Keys<'a>,
    /// Places in the list of contents, found by digest, length and whose word that is.
    contents: HashTable<usize>,
    hashing: RandomState,
    /// Where stored bytes of two files are read to be compared.
    pieces: [Vec<u8>; 2],
    /// Inodes with several names.
    names: HashMap<Identity, Entered>,
}

impl Surveyor<'_> {
    fn visit(&mut self, path: Vec<u8>, node: &Node, open: &mut Vec<Open>) -> Result<(), Error> {
        let metadata = node.metadata().map_err(|error| error.at(&path))?;
        let Some(slash) = parent_length(&path) else {
            let entered = self.writer.enter_root(&metadata)?;
            open.push(Open { length: 0, entered, is_sealed: node.is_opaque() });
            return Ok(());
        };
        // A walk comes from a directory to what is in it, so the parent is among those on the way.
        while open.len() > 1 && open.last().is_some_and(|last| last.length != slash) {
            open.pop();
        }
        let parent = open.last().ok_or(Error::path(&path, "it is in no directory"))?;
        let (directory, is_sealed) = (parent.entered, parent.is_sealed);
        if node.is_whiteout() && is_sealed {
            // It hides nothing, and the kernel would list it in a directory that merges with no other.
            return Ok(());
        }
        if node.is_directory() {
            let entered = self.writer.enter_directory(directory, &path, &metadata)?;
            open.push(Open { length: path.len(), entered, is_sealed: is_sealed || node.is_opaque() });
            return Ok(());
        }
        let (Some(identity), Some(inode)) = (node.identity(), node.inode()) else {
            return Err(Error::path(&path, "it belongs to no layer"));
        };
        if let Some(&first) = self.names.get(&identity) {
            return self.writer.enter_link(directory, &path, first);
        }
        let entered = match node.kind()? {
            Kind::Directory => return Err(Error::path(&path, "it is a directory and it is not one")),
            Kind::Symlink { target } => self.writer.enter_symlink(directory, &path, &metadata, &target)?,
            Kind::Special(special) => self.writer.enter_special(directory, &path, &metadata, special)?,
            Kind::File { size } => {
                let entered = self.writer.enter_file(directory, &path, &metadata)?;
                if size > 0 && self.can_copy[identity.layer] {
                    self.copy(entered, identity.layer, inode)?;
                } else {
                    self.survey.encoded.push(Encoded { path, inode: inode.clone(), entered });
                }
                entered
            }
        };
        if inode.nlink() > 1 && node.file_type() != FileType::Directory {
            self.names.insert(identity, entered);
        }
        Ok(())
    }

    fn copy(&mut self, entered: Entered, layer: usize, inode: &Inode) -> Result<(), Error> {
        let extent = inode.extent()?;
        let key = match self.equality {
            Equality::Content => Key::Known(inode.digest_of(&extent)?),
            Equality::Stored => self.keys.key(layer, inode, &extent)?,
        };
        let (trust, digest) = match key {
            Key::Known(digest) => (Trust::Known, digest),
            Key::Told(digest) => (Trust::Told, digest),
        };
        let mut content = Copied { layer, extent, digest, trust };
        if let Some(place) = self.find(&content)
            && !self.is_proven(place, &content)?
        {
            // An index led to two contents by one digest; this one gets a key of its own.
            content.digest = Keys::place_key(layer, &content.extent);
            content.trust = Trust::Known;
        }
        let (hashing, copied) = (&self.hashing, &mut self.survey.copied);
        let hash = |content: &Copied| hashing.hash_one((content.digest, content.extent.size));
        let is_it = |place: &usize| copied[*place].is_called(&content);
        match self.contents.entry(hash(&content), is_it, |place| hash(&copied[*place])) {
            Entry::Occupied(known) => {
                let place = *known.get();
                self.survey.files.push((entered, place));
                // Low layers are large, and what all others share is mostly theirs: their blocks stay whole.
                if layer < copied[place].layer {
                    copied[place] = content;
                }
            }
            Entry::Vacant(vacant) => {
                vacant.insert(copied.len());
                self.survey.files.push((entered, copied.len()));
                copied.push(content);
            }
        }
        Ok(())
    }

    /// The place of a content that is called like this one.
    fn find(&self, content: &Copied) -> Option<usize> {
        let hash = self.hashing.hash_one((content.digest, content.extent.size));
        self.contents.find(hash, |place| self.survey.copied[*place].is_called(content)).copied()
    }

    /// Whether a content is the one at a place, which is called like it. What an index tells is looked at.
    fn is_proven(&mut self, place: usize, content: &Copied) -> Result<bool, Error> {
        let known = &self.survey.copied[place];
        if content.trust == Trust::Known || (known.layer == content.layer && known.extent == content.extent) {
            return Ok(true);
        }
        // What is stored alike need not be decompressed.
        if known.extent.blocks == content.extent.blocks {
            let layers = [&self.layers[known.layer], &self.layers[content.layer]];
            let starts = [known.extent.start, content.extent.start];
            if same_bytes(layers, starts, known.extent.stored(), &mut self.pieces)? {
                let rest = |content: &Copied| {
                    let fragment = content.extent.fragment;
                    let size = fragment.map_or(0, |tail| u64::from(tail.size));
                    let extent = FileExtent { size, start: 0, blocks: Vec::new(), fragment };
                    self.layers[content.layer].open_extent(extent)
                };
                return same_content(rest(known), rest(content));
            }
        }
        same_content(self.open(known), self.open(content))
    }

    fn open(&self, content: &Copied) -> FileReader {
        self.layers[content.layer].open_extent(content.extent.clone())
    }
}

impl Copied {
    /// Whether another goes by the same digest and length, on the same authority.
    fn is_called(&self, other: &Self) -> bool {
        self.trust == other.trust && self.digest == other.digest && self.extent.size == other.extent.size
    }
}

/// Whether two images store the same bytes from two places on.
fn same_bytes(
    layers: [&Arc<Reader>; 2],
    mut offsets: [u64; 2],
    mut length: u64,
    pieces: &mut [Vec<u8>; 2],
) -> Result<bool, Error> {
    const PIECE: usize = 64 << 10;
    while length > 0 {
        let part = usize::try_from(length).map_or(PIECE, |length| length.min(PIECE));
        for ((layer, offset), piece) in layers.iter().zip(&mut offsets).zip(pieces.iter_mut()) {
            piece.resize(part, 0);
            layer.read_raw(*offset, piece)?;
            *offset += part as u64;
        }
        if pieces[0] != pieces[1] {
            return Ok(false);
        }
        length -= part as u64;
    }
    Ok(true)
}

/// Whether two files are equal; one with a hole and one with zeros that are stored count as different.
fn same_content(mut one: FileReader, mut other: FileReader) -> Result<bool, Error> {
    loop {
        match (one.next_piece()?, other.next_piece()?) {
            (None, None) => return Ok(true),
            (one, other) if one != other => return Ok(false),
            _ => {}
        }
    }
}

/// Bytes of the path of the directory that `path` is in; the root is in none.
fn parent_length(path: &[u8]) -> Option<usize> {
    (!path.is_empty()).then(|| path.iter().rposition(|byte| *byte == b'/').unwrap_or(0))
}
