//! The entries of a directory that is being put together.
//!
//! Nearly all come in the order of their names. So they are kept in a list that is sorted as long as that costs little,
//! at eight bytes each and a name; a large directory whose entries come in another order becomes a search tree.

use std::collections::{BTreeMap, btree_map};
use std::slice;

use super::tree::InodeIndex;

/// Entries that a list may have if one is to be put into the middle of it, or taken out.
const SMALL: usize = 512;
/// Longest name with the byte that tells its length.
const NAME_SIZE: usize = 256;

/// Names, at most 255 bytes each, and inodes.
#[derive(Debug, Clone)]
pub(super) enum Children {
    List(List),
    Tree(BTreeMap<Box<[u8]>, InodeIndex>),
}

/// Entries in the order of their names.
#[derive(Debug, Clone, Default)]
pub(super) struct List {
    /// A byte that tells the length, then the name; in the order in which they came.
    names: Vec<u8>,
    /// Where each name is, and the inode.
    entries: Vec<(u32, InodeIndex)>,
}

/// The entries in bytewise order of their names.
#[derive(Debug)]
pub(super) enum Iter<'a> {
    List(&'a [u8], slice::Iter<'a, (u32, InodeIndex)>),
    Tree(btree_map::Iter<'a, Box<[u8]>, InodeIndex>),
    /// There is no directory.
    Nothing,
}

impl Children {
    pub(super) fn new() -> Self {
        Self::List(List::default())
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<InodeIndex> {
        match self {
            Self::List(list) => list.find(name).ok().map(|at| list.entries[at].1),
            Self::Tree(tree) => tree.get(name).copied(),
        }
    }

    /// Makes `name` lead to an inode; returns the one that it led to before.
    pub(super) fn insert(&mut self, name: &[u8], inode: InodeIndex) -> Option<InodeIndex> {
        let list = match self {
            Self::List(list) => list,
            Self::Tree(tree) => return tree.insert(name.into(), inode),
        };
        match list.find(name) {
            Ok(at) => Some(std::mem::replace(&mut list.entries[at].1, inode)),
            Err(at) if list.has_room() && (at == list.entries.len() || list.entries.len() < SMALL) => {
                let start = list.add(name);
                list.entries.insert(at, (start, inode));
                None
            }
            Err(_) => self.tree().insert(name.into(), inode),
        }
    }

    /// Returns the inode that `name` led to.
    pub(super) fn remove(&mut self, name: &[u8]) -> Option<InodeIndex> {
        if let Self::List(list) = self
            && list.entries.len() < SMALL
        {
            let inode = list.find(name).ok().map(|at| list.entries.remove(at).1);
            // What was removed leaves its name behind, which must not add up.
            if list.names.len() > 2 * SMALL * NAME_SIZE {
                *list = list.iter().collect();
            }
            return inode;
        }
        self.tree().remove(name)
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        match self {
            Self::List(list) => list.iter(),
            Self::Tree(tree) => Iter::Tree(tree.iter()),
        }
    }

    fn tree(&mut self) -> &mut BTreeMap<Box<[u8]>, InodeIndex> {
        if let Self::List(_) = self {
            *self = Self::Tree(self.iter().map(|(name, inode)| (name.into(), inode)).collect());
        }
        match self {
            Self::Tree(tree) => tree,
            Self::List(_) => unreachable!("it was made a tree above"),
        }
    }
}

impl List {
    fn iter(&self) -> Iter<'_> {
        Iter::List(&self.names, self.entries.iter())
    }

    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        let end = self.entries.len();
        match self.entries.last() {
            Some((start, _)) if name_at(&self.names, *start) >= name => {
                self.entries.binary_search_by(|(start, _)| name_at(&self.names, *start).cmp(name))
            }
            _ => Err(end),
        }
    }

    /// Whether a name more has a place that fits into 32 bits.
    fn has_room(&self) -> bool {
        u32::try_from(self.names.len()).is_ok()
    }

    fn add(&mut self, name: &[u8]) -> u32 {
        let start = u32::try_from(self.names.len()).expect("it was looked whether there is room");
        self.names.push(u8::try_from(name.len()).expect("names were checked before"));
        self.names.extend_from_slice(name);
        start
    }
}

impl<'a> FromIterator<(&'a [u8], InodeIndex)> for List {
    fn from_iter<I: IntoIterator<Item = (&'a [u8], InodeIndex)>>(entries: I) -> Self {
        let mut list = Self::default();
        for (name, inode) in entries {
            let start = list.add(name);
            list.entries.push((start, inode));
        }
        list
    }
}

fn name_at(names: &[u8], start: u32) -> &[u8] {
    let start = start as usize;
    &names[start + 1..start + 1 + usize::from(names[start])]
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], InodeIndex);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::List(names, entries) => entries.next().map(|&(start, inode)| (name_at(names, start), inode)),
            Self::Tree(entries) => entries.next().map(|(name, &inode)| (&name[..], inode)),
            Self::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does the same to a directory and to a map.
    fn compare(steps: impl Iterator<Item = (u32, bool)>) {
        let (mut children, mut expected) = (Children::new(), BTreeMap::new());
        for (inode, (number, is_added)) in (0..).zip(steps) {
            let name = format!("{number:x}").into_bytes();
            match is_added {
                true => assert_eq!(children.insert(&name, inode), expected.insert(name.clone(), inode)),
                false => assert_eq!(children.remove(&name), expected.remove(&name)),
            }
            assert_eq!(children.get(&name), expected.get(&name).copied());
        }
        assert!(children.iter().eq(expected.iter().map(|(name, inode)| (&name[..], *inode))));
    }

    #[test]
    fn a_directory_is_a_map_in_any_order() {
        let mixed = |number: u32| number.wrapping_mul(2_654_435_761) >> 20;
        for count in [0, 1, 2, 500, 3000] {
            compare((0..count).map(|number| (0x10_0000 + number, true)));
            compare((0..count).rev().map(|number| (0x10_0000 + number, true)));
            compare((0..count).map(|number| (mixed(number), number % 3 > 0)));
            compare((0..2 * count).map(|number| (0x10_0000 + number % count.max(1), number < count)));
        }
    }

    #[test]
    fn names_that_are_gone_take_no_room() {
        let mut children = Children::new();
        for number in 0..20_000 {
            let name = [b'x'; 200].map(|byte| byte + u8::try_from(number % 7).unwrap());
            children.insert(&name, number);
            assert_eq!(children.remove(&name), Some(number));
        }
        let Children::List(list) = children else { panic!("a small directory is a list") };
        assert!(list.names.len() <= 2 * SMALL * NAME_SIZE);
    }
}
