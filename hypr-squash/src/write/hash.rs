//! BLAKE3 of a file whose first bytes are known last, and most of which may be hashed elsewhere.
//!
//! BLAKE3 is a binary tree over chunks of 1 KiB whose left subtrees are full. So groups of [`GROUP`] bytes are subtrees
//! of any longer file, whoever hashes them, and only the first of them, which holds the superblock, is kept until the
//! end. The others are joined as a binary counter counts: what is left of each doubling is a sibling of the growing
//! left spine.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::Digest;
use crate::format::Superblock;

/// Bytes of a group: a power of two, and small enough for a core's own cache.
pub(crate) const GROUP: usize = 256 << 10;

/// The chaining value of the whole group at byte `offset` of the file.
pub(super) fn hash_group(offset: u64, bytes: &[u8]) -> ChainingValue {
    let mut hasher = subtree(offset);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

/// Hashes a file from behind its superblock on.
#[derive(Debug)]
pub(super) struct FileHasher {
    /// The first group as far as it is known, with room for the superblock.
    head: Vec<u8>,
    /// The siblings of the left spine, each as long as all before it together.
    spine: Vec<ChainingValue>,
    /// The subtrees behind the spine, each longer than the next.
    subtrees: Vec<ChainingValue>,
    /// Groups in the spine and the subtrees, the first one included.
    groups: u64,
    /// The last whole group, which is only joined to others once there is more: the root is joined in another way.
    last: Option<ChainingValue>,
    /// The group that is being filled.
    current: blake3::Hasher,
    length: usize,
    /// Where that group begins.
    start: u64,
    /// All whole groups behind the first one.
    all: Vec<ChainingValue>,
}

impl FileHasher {
    pub(super) fn new() -> Self {
        Self {
            head: vec![0; Superblock::SIZE],
            spine: Vec::new(),
            subtrees: Vec::new(),
            groups: 1,
            last: None,
            current: subtree(GROUP as u64),
            length: 0,
            start: GROUP as u64,
            all: Vec::new(),
        }
    }

    /// Goes on behind the first group, `head`, and these that follow it.
    pub(super) fn resume(head: Vec<u8>, groups: &[ChainingValue]) -> Self {
        debug_assert_eq!(head.len(), GROUP, "the first group is whole");
        let mut hasher = Self { head, ..Self::new() };
        groups.iter().for_each(|group| hasher.push(*group));
        hasher
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        let missing = GROUP - self.head.len();
        let (head, mut bytes) = bytes.split_at(missing.min(bytes.len()));
        self.head.extend_from_slice(head);
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at((GROUP - self.length).min(bytes.len()));
            self.current.update(part);
            self.length += part.len();
            bytes = rest;
            if self.length == GROUP {
                let group = self.current.finalize_non_root();
                self.length = 0;
                self.push(group);
            }
        }
    }

    /// Appends a whole group, hashed by [`hash_group`]; only where one begins.
    pub(super) fn push(&mut self, group: ChainingValue) {
        debug_assert!(self.head.len() == GROUP && self.length == 0, "a group begins here");
        self.all.push(group);
        if let Some(last) = self.last.replace(group) {
            self.join(last);
        }
        self.start += GROUP as u64;
        self.current = subtree(self.start);
    }

    fn join(&mut self, mut group: ChainingValue) {
        self.groups += 1;
        for _ in 0..self.groups.trailing_zeros() {
            let Some(left) = self.subtrees.pop() else {
                self.spine.push(group);
                return;
            };
            group = merge_subtrees_non_root(&left, &group, Mode::Hash);
        }
        self.subtrees.push(group);
    }

    /// The digest of the file, and the chaining values of its whole groups behind the first one.
    pub(super) fn finish(mut self, superblock: &[u8; Superblock::SIZE]) -> (Digest, Vec<ChainingValue>) {
        self.head[..Superblock::SIZE].copy_from_slice(superblock);
        let end = match (self.length, self.last.take()) {
            (0, None) => return (blake3::hash(&self.head), self.all),
            (0, Some(last)) => last,
            (_, last) => {
                if let Some(last) = last {
                    self.join(last);
                }
                self.current.finalize_non_root()
            }
        };
        let join = |left: &ChainingValue, right: &ChainingValue| merge_subtrees_non_root(left, right, Mode::Hash);
        let end = self.subtrees.iter().rev().fold(end, |end, subtree| join(subtree, &end));
        let first = hash_group(0, &self.head);
        let spine = self.spine.iter().fold(first, |spine, sibling| join(&spine, sibling));
        (merge_subtrees_root(&spine, &end, Mode::Hash), self.all)
    }
}

fn subtree(start: u64) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start);
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_that_of_the_whole_file() {
        let bytes: Vec<u8> = (0..2_430_000_u32).map(|number| (number * 7 % 251) as u8).collect();
        let superblock = bytes[..96].try_into().unwrap();
        let sizes = [96, 97, 1023, 1024, 1025, 4096, 12_288, 70_000, GROUP - 1, GROUP, GROUP + 1, 2 * GROUP - 7];
        let groups = (2..=9).flat_map(|groups| [groups * GROUP - 1, groups * GROUP, groups * GROUP + 1027]);
        for size in sizes.into_iter().chain(groups) {
            let expected = blake3::hash(&bytes[..size]);
            for step in [1000, 4096, GROUP - 1, GROUP, 5 * GROUP / 2] {
                let mut hasher = FileHasher::new();
                for part in bytes[96..size].chunks(step) {
                    hasher.update(part);
                }
                assert_eq!(hasher.finish(superblock).0, expected, "{size} bytes by {step}");
            }
            // Every other group is hashed elsewhere.
            let mut hasher = FileHasher::new();
            hasher.update(&bytes[96..size.min(GROUP)]);
            for (number, group) in bytes[..size].chunks(GROUP).enumerate().skip(1) {
                match group.len() == GROUP && number % 2 == 0 {
                    true => hasher.push(hash_group((number * GROUP) as u64, group)),
                    false => hasher.update(group),
                }
            }
            let (digest, groups) = hasher.finish(superblock);
            assert_eq!(digest, expected, "{size} bytes by groups");
            // A file that begins alike is hashed from any group on.
            for kept in (0..=groups.len()).filter(|_| size >= GROUP) {
                let mut hasher = FileHasher::resume(bytes[..GROUP].to_vec(), &groups[..kept]);
                hasher.update(&bytes[(kept + 1) * GROUP..size]);
                assert_eq!(hasher.finish(superblock).0, expected, "{size} bytes, {kept} groups known");
            }
        }
    }
}
