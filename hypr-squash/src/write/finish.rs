//! Writes the tables once all data is written.
//!
//! Directories come in post-order. In a directory's turn the inodes of its children are written, side by side, then
//! its listing, which points at them; its own inode follows in its parent's turn. So inode numbers in a listing are
//! near each other and one header stands for many entries.

use std::collections::HashMap;

use super::children::Iter;
use super::committer::Ledger;
use super::contents::{Content, Contents, Data};
use super::fragments::Origin;
use super::listing::{Child, write_listing};
use super::metadata_writer::{MetadataWriter, write_lookup_table};
use super::output::Output;
use super::tree::{Body, Inode, InodeIndex, Tree};
use super::xattr_table::XattrTable;
use super::{Described, Summary};
use crate::format::{
    self, DirectoryBody, FileBody, InodeType, NO_FRAGMENT, NO_TABLE, Position, StoredSize, Superblock,
};
use crate::index::{Files, PackedFragment};
use crate::{Digest, Error, FragmentEntry, Index, Options, Special, Xattrs};

/// All that is known when the last data is written.
pub(super) struct Finish<'a> {
    pub(super) options: &'a Options,
    pub(super) tree: &'a Tree,
    pub(super) contents: &'a Contents,
    pub(super) xattrs: &'a [Xattrs],
    pub(super) ledger: &'a Ledger,
    pub(super) fragments: Vec<FragmentEntry>,
    pub(super) described: Described,
    /// What compressed all blocks, if one encoder did.
    pub(super) encoder: Option<String>,
    /// Byte offset in the image of the first data.
    pub(super) data_start: u64,
}

/// Order and numbers of the inodes.
pub(super) struct Numbering {
    /// Directories, each after all below it.
    directories: Vec<InodeIndex>,
    /// By index; zero for inodes that no entry leads to.
    pub(super) numbers: Vec<u32>,
    /// Names of each inode; for directories, what `nlink` tells.
    pub(super) links: Vec<u32>,
    /// Directory that holds each directory.
    parents: HashMap<InodeIndex, InodeIndex>,
    count: u32,
}

/// A content's place in the image.
pub(super) struct Placed<'a> {
    pub(super) start: u64,
    pub(super) blocks: &'a [StoredSize],
    pub(super) stored: u64,
}

impl Finish<'_> {
    pub(super) fn write(self, mut output: Output) -> Result<Summary, Error> {
        let codec = self.options.codec;
        let data_end = output.position();
        let numbering = self.number();
        let mut ids = Ids::default();
        let mut xattrs = XattrTable::new(codec)?;
        let (inodes, directories, references) = self.write_inodes(&numbering, &mut ids, &mut xattrs)?;
        let root = references[Tree::ROOT as usize];
        let (inode_table, _) = inodes.finish(&mut output)?;
        let (directory_table, _) = directories.finish(&mut output)?;

        let entries: Vec<u8> = self.fragments.iter().flat_map(|fragment| fragment.to_bytes()).collect();
        let (_, fragment_table) = write_lookup_table(&mut output, codec, &entries)?;
        let export_table = write_lookup_table(&mut output, codec, &numbering.export(&references))?.1;
        let entries: Vec<u8> = ids.list.iter().flat_map(|id| id.to_le_bytes()).collect();
        let (_, id_table) = write_lookup_table(&mut output, codec, &entries)?;
        let xattr_table = xattrs.finish(&mut output)?;

        drop(references);
        let (content_digest, files, live) = match self.described {
            Described::Yes => self.describe(&numbering),
            Described::No => (Digest::from_bytes([0; 32]), Files::default(), data_end - self.data_start),
        };
        let block_size = self.options.block_size;
        let mut flags = format::flags::DUPLICATES | format::flags::EXPORTABLE;
        if super::has_compressor_options(codec) {
            flags |= format::flags::COMPRESSOR_OPTIONS;
        }
        let bytes_used = output.position();
        let (file_digest, groups, bytes) = output.finish(&Superblock {
            inodes: numbering.count,
            created: 0,
            block_size: block_size.bytes(),
            fragments: u32::try_from(self.fragments.len()).expect("fragment blocks are counted in 32 bits"),
            compression: codec.id().number(),
            block_log: block_size.log2(),
            flags,
            ids: u16::try_from(ids.list.len()).expect("ids are counted in 16 bits"),
            major: Superblock::MAJOR,
            minor: Superblock::MINOR,
            root: root.reference(),
            bytes_used,
            id_table,
            xattr_table,
            inode_table,
            directory_table,
            fragment_table,
            export_table,
        })?;
        debug_assert_ne!(fragment_table, NO_TABLE, "unsquashfs takes it for the end of the directory table");
        Ok(Summary {
            file_digest,
            content_digest,
            bytes,
            bytes_used,
            inodes: numbering.count,
            dead_bytes: (data_end - self.data_start).saturating_sub(live),
            duplicate_bytes: self.contents.duplicate_bytes,
            recompressed: Vec::new(),
            lent_bytes: self.ledger.lent,
            groups,
            index: Index::new(files, self.packed_fragments(), self.encoder.clone(), file_digest),
        })
    }

    pub(super) fn children(&self, directory: InodeIndex) -> Iter<'_> {
        match &self.tree.inodes[directory as usize].body {
            Body::Directory(children) => children.iter(),
            _ => Iter::Nothing,
        }
    }

    pub(super) fn is_directory(&self, inode: InodeIndex) -> bool {
        matches!(self.tree.inodes[inode as usize].body, Body::Directory(_))
    }

    fn number(&self) -> Numbering {
        let total = self.tree.inodes.len();
        let mut numbering = Numbering {
            directories: Vec::new(),
            numbers: vec![0; total],
            links: vec![0; total],
            parents: HashMap::new(),
            count: 0,
        };
        // A directory is put back under its children and taken up again when they are done.
        let mut stack = vec![(Tree::ROOT, false)];
        while let Some((directory, is_done)) = stack.pop() {
            if !is_done {
                stack.push((directory, true));
                let below = stack.len();
                stack.extend(
                    self.children(directory)
                        .map(|(_, child)| child)
                        .filter(|&c| self.is_directory(c))
                        .map(|c| (c, false)),
                );
                stack[below..].reverse();
                continue;
            }
            numbering.directories.push(directory);
            let mut links = 2;
            for (_, child) in self.children(directory) {
                if self.is_directory(child) {
                    links += 1;
                    numbering.parents.insert(child, directory);
                } else {
                    numbering.links[child as usize] += 1;
                }
                if numbering.numbers[child as usize] == 0 {
                    numbering.count += 1;
                    numbering.numbers[child as usize] = numbering.count;
                }
            }
            numbering.links[directory as usize] = links;
        }
        numbering.count += 1;
        numbering.numbers[Tree::ROOT as usize] = numbering.count;
        numbering
    }

    fn write_inodes(
        &self,
        numbering: &Numbering,
        ids: &mut Ids,
        xattrs: &mut XattrTable,
    ) -> Result<(MetadataWriter, MetadataWriter, Vec<Position>), Error> {
        let mut inodes = MetadataWriter::new(self.options.codec)?;
        let mut directories = MetadataWriter::new(self.options.codec)?;
        let mut references = vec![Position::default(); self.tree.inodes.len()];
        let mut is_written = vec![false; self.tree.inodes.len()];
        // Listings whose directory has no inode yet.
        let mut listings: HashMap<InodeIndex, (DirectoryBody, Vec<u8>)> = HashMap::new();
        let mut bytes = Vec::new();
        let mut write = |at: InodeIndex, listing: Option<(DirectoryBody, Vec<u8>)>| -> Result<Position, Error> {
            let inode = &self.tree.inodes[at as usize];
            let (body, tail) = self.body(inode, at, numbering, listing);
            let attributes = &inode.attributes;
            let encoded = format::Inode {
                mode: attributes.mode,
                uid_index: ids.index(attributes.uid)?,
                gid_index: ids.index(attributes.gid)?,
                mtime: attributes.mtime,
                number: numbering.numbers[at as usize],
                nlink: numbering.links[at as usize],
                xattr: xattrs.index(attributes.xattrs, &self.xattrs[attributes.xattrs as usize])?,
                body,
            };
            bytes.clear();
            encoded.write(&tail, &mut bytes);
            let position = inodes.position();
            inodes.write(&bytes)?;
            Ok(position)
        };
        for &directory in &numbering.directories {
            let mut children = Vec::new();
            for (name, child) in self.children(directory) {
                if !std::mem::replace(&mut is_written[child as usize], true) {
                    references[child as usize] = write(child, listings.remove(&child))?;
                }
                children.push(Child {
                    name,
                    inode: references[child as usize],
                    number: numbering.numbers[child as usize],
                    kind: kind(&self.tree.inodes[child as usize].body),
                });
            }
            listings.insert(directory, write_listing(&mut directories, &children)?);
        }
        references[Tree::ROOT as usize] = write(Tree::ROOT, listings.remove(&Tree::ROOT))?;
        Ok((inodes, directories, references))
    }

    /// The part of an inode that depends on its type, and what follows it.
    fn body(
        &self,
        inode: &Inode,
        at: InodeIndex,
        numbering: &Numbering,
        listing: Option<(DirectoryBody, Vec<u8>)>,
    ) -> (format::Body, Vec<u8>) {
        match &inode.body {
            Body::Directory(_) => {
                let (body, index) = listing.expect("the listing is written before the inode");
                // The parent of the root has the number after the last, by custom.
                let parent = numbering.parents.get(&at).map_or(numbering.count + 1, |&p| numbering.numbers[p as usize]);
                (format::Body::Directory(DirectoryBody { parent, ..body }), index)
            }
            Body::File(content) => {
                let content = &self.contents.list[*content as usize];
                let placed = self.place(content);
                let body = FileBody {
                    start: placed.start,
                    size: content.size,
                    sparse: self.sparse(content, placed.blocks),
                    fragment: content.tail.map_or(NO_FRAGMENT, |tail| tail.fragment()),
                    fragment_offset: content.tail.map_or(0, |tail| tail.offset),
                };
                (format::Body::File(body), placed.blocks.iter().flat_map(|block| block.word().to_le_bytes()).collect())
            }
            Body::Symlink(target) => {
                let length = u32::try_from(target.len()).expect("targets were checked when they were added");
                (format::Body::Symlink(length), target.to_vec())
            }
            Body::Special(special) => (special_body(*special), Vec::new()),
        }
    }

    pub(super) fn place<'s>(&'s self, content: &'s Content) -> Placed<'s> {
        let (start, blocks) = match &content.data {
            Data::None => (0, &[][..]),
            Data::Extent(extent) => match self.ledger.extents.get(extent.0 as usize) {
                Some(extent) => (extent.start.unwrap_or(0), &extent.blocks[..]),
                None => (0, &[][..]),
            },
            Data::Copied(copied) => match copied.run {
                Some(run) => (self.ledger.runs[run as usize] + copied.offset, &copied.blocks[..]),
                None => (0, &copied.blocks[..]),
            },
        };
        Placed { start, blocks, stored: blocks.iter().map(|block| u64::from(block.bytes())).sum() }
    }

    /// Bytes of a content that are holes.
    fn sparse(&self, content: &Content, blocks: &[StoredSize]) -> u64 {
        let block_size = u64::from(self.options.block_size.bytes());
        let holes = blocks.iter().filter(|block| block.is_hole()).count() as u64 * block_size;
        let whole = blocks.len() as u64 * block_size;
        let last_is_hole = blocks.last().is_some_and(|block| block.is_hole());
        // The last block may reach beyond the end. A file of nothing but holes keeps one byte, as kernels expect.
        let excess = if last_is_hole { whole.saturating_sub(content.size) } else { 0 };
        (holes - excess).min(content.size.saturating_sub(1))
    }

    /// All fragment blocks with what was packed into them.
    fn packed_fragments(&self) -> Vec<PackedFragment> {
        let filled = |origin: &Origin| match origin {
            Origin::Packed(filled) => Some(*filled),
            Origin::Copied { .. } => None,
        };
        let origins = self.contents.fragments.origins().iter().map(filled);
        self.fragments.iter().zip(origins).map(|(&entry, filled)| PackedFragment { entry, filled }).collect()
    }
}

impl Numbering {
    /// References of all inodes in the order of their numbers.
    fn export(&self, references: &[Position]) -> Vec<u8> {
        let mut by_number = vec![0; self.count as usize];
        for (&number, reference) in self.numbers.iter().zip(references).filter(|(number, _)| **number > 0) {
            by_number[number as usize - 1] = reference.reference();
        }
        by_number.iter().flat_map(|reference| reference.to_le_bytes()).collect()
    }
}

/// User and group ids in the order of their first use.
#[derive(Debug, Default)]
struct Ids {
    list: Vec<u32>,
    known: HashMap<u32, u16>,
}

impl Ids {
    const MAX: u16 = u16::MAX;

    fn index(&mut self, id: u32) -> Result<u16, Error> {
        if let Some(&index) = self.known.get(&id) {
            return Ok(index);
        }
        let index = u16::try_from(self.list.len()).ok().filter(|&index| index < Self::MAX);
        let index = index.ok_or(Error::Limit { what: "different user and group ids", limit: u64::from(Self::MAX) })?;
        self.list.push(id);
        self.known.insert(id, index);
        Ok(index)
    }
}

fn kind(body: &Body) -> InodeType {
    match body {
        Body::Directory(_) => InodeType::Directory,
        Body::File(_) => InodeType::File,
        Body::Symlink(_) => InodeType::Symlink,
        Body::Special(Special::BlockDevice { .. }) => InodeType::BlockDevice,
        Body::Special(Special::CharDevice { .. }) => InodeType::CharDevice,
        Body::Special(Special::Fifo) => InodeType::Fifo,
        Body::Special(Special::Socket) => InodeType::Socket,
    }
}

fn special_body(special: Special) -> format::Body {
    // As the kernel packs it: 8 bits of minor, 12 of major, 12 more of minor. The ranges were checked before.
    let pack = |major: u32, minor: u32| (minor & 0xff) | major << 8 | (minor & !0xff) << 12;
    match special {
        Special::BlockDevice { major, minor } => format::Body::BlockDevice(pack(major, minor)),
        Special::CharDevice { major, minor } => format::Body::CharDevice(pack(major, minor)),
        Special::Fifo => format::Body::Fifo,
        Special::Socket => format::Body::Socket,
    }
}
