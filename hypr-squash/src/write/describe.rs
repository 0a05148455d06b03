//! Tells what an image contains, once it is known where everything went.

use std::collections::HashMap;

use super::finish::{Finish, Numbering};
use super::fragments::Origin;
use super::tree::{Body, InodeIndex, Tree};
use crate::Digest;
use crate::index::{Files, Record};
use crate::tree_digest::{Attributes, Item, TreeHasher};

/// What a walk over the tree gathers.
struct Description<'a> {
    finish: &'a Finish<'a>,
    numbering: &'a Numbering,
    hasher: TreeHasher,
    files: Files,
    /// First paths of inodes with several names.
    first_names: HashMap<InodeIndex, Vec<u8>>,
    /// By content, whether a file has it.
    is_live: Vec<bool>,
}

impl Finish<'_> {
    /// The content digest, the files for the sidecar index, and the bytes of data that are alive.
    pub(super) fn describe(&self, numbering: &Numbering) -> (Digest, Files, u64) {
        let mut description = Description {
            finish: self,
            numbering,
            hasher: TreeHasher::new(self.options.volatile_from),
            files: Files::default(),
            first_names: HashMap::new(),
            is_live: vec![false; self.contents.list.len()],
        };
        let mut path = Vec::new();
        description.visit(&path, Tree::ROOT);
        // Directories on the way: the length of the path, and what is still to come.
        let mut open = vec![(0, self.children(Tree::ROOT))];
        while let Some((length, children)) = open.last_mut() {
            let Some((name, child)) = children.next() else {
                open.pop();
                continue;
            };
            path.truncate(*length);
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            description.visit(&path, child);
            if self.is_directory(child) {
                open.push((path.len(), self.children(child)));
            }
        }
        (description.hasher.finish(), description.files, self.live_bytes(&description.is_live))
    }

    /// Stored bytes that the live contents need. Dead tails inside a live fragment block count as dead.
    fn live_bytes(&self, is_live: &[bool]) -> u64 {
        let mut live = 0;
        let mut tails: HashMap<u32, u64> = HashMap::new();
        for (content, _) in self.contents.list.iter().zip(is_live).filter(|(_, is_live)| **is_live) {
            let placed = self.place(content);
            live += placed.stored;
            if let Some(tail) = content.tail {
                *tails.entry(tail.fragment()).or_default() += content.size % u64::from(self.options.block_size.bytes());
            }
        }
        for (&fragment, &tails) in &tails {
            live += u64::from(self.fragments[fragment as usize].size.bytes());
            if let Origin::Packed(filled) = self.contents.fragments.origins()[fragment as usize] {
                live = live.saturating_sub(u64::from(filled).saturating_sub(tails));
            }
        }
        live
    }
}

impl Description<'_> {
    fn visit(&mut self, path: &[u8], at: InodeIndex) {
        if let Some(first) = self.first_names.get(&at) {
            return self.hasher.hard_link(path, first);
        }
        let finish = self.finish;
        let inode = &finish.tree.inodes[at as usize];
        let attributes = Attributes {
            mode: inode.attributes.mode,
            uid: inode.attributes.uid,
            gid: inode.attributes.gid,
            mtime: i64::from(inode.attributes.mtime),
            xattrs: &finish.xattrs[inode.attributes.xattrs as usize],
        };
        let item = match &inode.body {
            Body::Directory(_) => Item::Directory,
            Body::File(index) => self.file(path, at, *index),
            Body::Symlink(target) => Item::Symlink(target),
            Body::Special(special) => Item::Special(*special),
        };
        self.hasher.entry(path, &attributes, &item);
        if !finish.is_directory(at) && self.numbering.links[at as usize] > 1 {
            self.first_names.insert(at, path.to_vec());
        }
    }

    fn file(&mut self, path: &[u8], at: InodeIndex, index: u32) -> Item<'static> {
        self.is_live[index as usize] = true;
        let contents = self.finish.contents;
        let content = &contents.list[index as usize];
        let placed = self.finish.place(content);
        let prefixes: Vec<_> =
            contents.beginnings.get(&index).into_iter().flatten().map(|prefix| *prefix.as_bytes()).collect();
        let record = Record {
            inode: self.numbering.numbers[at as usize],
            digest: content.digest,
            size: content.size,
            start: placed.start,
            stored: placed.stored,
            fragment: content.tail.map(|tail| (tail.fragment(), tail.offset)),
            prefixes: &prefixes,
        };
        self.files.push(path, &record);
        Item::File { size: content.size, digest: content.digest }
    }
}
