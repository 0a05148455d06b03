//! Makes sure that the directories of an image form a tree.
//!
//! An image may say that a directory contains itself, that two directories share a child, or that many directories
//! share one long listing. A walk over such an image would never end, or end after a time that has no relation to the
//! image's size. So each directory belongs to the entry that it was first reached by, and each byte of the directory
//! table to the directory that first listed it; the second claim on either is an error, whoever walks. The same holds for
//! what follows inodes in their table, or as many inodes as there are bytes could claim one long list of blocks.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};

use crate::format::Position;

/// Who reached what first. A directory is known by the position of its inode.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Directory to its parent and the number of its entry there.
    parents: HashMap<Position, (Position, u32)>,
    listings: Ranges,
    tails: Ranges,
}

/// Parts of a table: their start, their end and the position of the inode that they belong to.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<Position, (Position, Position)>);

impl Claims {
    pub(super) fn claim_root(&mut self, root: Position) {
        self.parents.insert(root, (root, u32::MAX));
    }

    /// Whether `child` is reached by nothing but entry number `entry` of `parent`.
    pub(super) fn claim_child(&mut self, child: Position, parent: Position, entry: u32) -> bool {
        match self.parents.entry(child) {
            Entry::Occupied(known) => *known.get() == (parent, entry),
            Entry::Vacant(vacant) => {
                vacant.insert((parent, entry));
                true
            }
        }
    }

    /// Whether the bytes from `start` to `end` of the directory table are listed by nothing but `owner`.
    pub(super) fn claim_listing(&mut self, owner: Position, start: Position, end: Position) -> bool {
        self.listings.claim(owner, start, end)
    }

    /// Whether the bytes from `start` to `end` of the inode table, a list of blocks or an index, follow no inode but
    /// `owner`.
    pub(super) fn claim_tail(&mut self, owner: Position, start: Position, end: Position) -> bool {
        self.tails.claim(owner, start, end)
    }
}

impl Ranges {
    fn claim(&mut self, owner: Position, start: Position, end: Position) -> bool {
        if let Some((&from, &(to, by))) = self.0.range(..=start).next_back() {
            if by == owner && from == start {
                return true;
            }
            if to > start {
                return false;
            }
        }
        if self.0.range(start..end).next().is_some() {
            return false;
        }
        self.0.insert(start, (end, owner));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u16) -> Position {
        Position { block: 0, offset }
    }

    #[test]
    fn a_directory_has_one_parent() {
        let mut claims = Claims::default();
        claims.claim_root(at(0));
        assert!(claims.claim_child(at(1), at(0), 0));
        assert!(claims.claim_child(at(1), at(0), 0), "reading twice is fine");
        assert!(!claims.claim_child(at(1), at(0), 1), "two names");
        assert!(!claims.claim_child(at(1), at(1), 0), "its own child");
        assert!(!claims.claim_child(at(0), at(1), 0), "the root below");
    }

    #[test]
    fn listings_do_not_overlap() {
        let mut claims = Claims::default();
        assert!(claims.claim_listing(at(1), at(10), at(20)));
        assert!(claims.claim_listing(at(1), at(10), at(20)), "reading twice is fine");
        assert!(claims.claim_listing(at(2), at(20), at(30)));
        for (start, end) in [(10, 20), (15, 25), (5, 11), (5, 40), (29, 31)] {
            assert!(!claims.claim_listing(at(3), at(start), at(end)), "{start}..{end}");
        }
    }
}
