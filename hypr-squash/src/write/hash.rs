//! BLAKE3 of a file whose first bytes are known last.
//!
//! BLAKE3 is a binary tree over chunks of 1 KiB whose left subtrees are full. So the subtrees over the chunks 1, 2 to
//! 3, 4 to 7, ... are siblings of the growing left spine of any longer file. They are hashed as the bytes come; only
//! the first chunk, which holds the superblock, is kept, and joined with one node a doubling at the end.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::Digest;
use crate::format::Superblock;

const CHUNK: usize = 1024;

/// Hashes a file from behind its superblock on.
#[derive(Debug)]
pub(super) struct FileHasher {
    /// The first chunk as far as it is known, with room for the superblock.
    head: Vec<u8>,
    /// Finished subtrees, each as long as all before it together.
    subtrees: Vec<ChainingValue>,
    /// The subtree that is being filled; it begins at `start` and may get as long as that.
    current: blake3::Hasher,
    start: u64,
    length: u64,
}

impl FileHasher {
    pub(super) fn new() -> Self {
        Self {
            head: vec![0; Superblock::SIZE],
            subtrees: Vec::new(),
            current: subtree(CHUNK as u64),
            start: CHUNK as u64,
            length: 0,
        }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        let missing = CHUNK - self.head.len();
        let (head, rest) = bytes.split_at(missing.min(bytes.len()));
        self.head.extend_from_slice(head);
        bytes = rest;
        while !bytes.is_empty() {
            if self.length == self.start {
                let next = subtree(self.start * 2);
                self.subtrees.push(std::mem::replace(&mut self.current, next).finalize_non_root());
                self.start *= 2;
                self.length = 0;
            }
            let room = usize::try_from(self.start - self.length).unwrap_or(usize::MAX);
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            self.current.update(part);
            self.length += part.len() as u64;
            bytes = rest;
        }
    }

    pub(super) fn finish(mut self, superblock: &[u8; Superblock::SIZE]) -> Digest {
        self.head[..Superblock::SIZE].copy_from_slice(superblock);
        if self.length == 0 {
            return blake3::hash(&self.head);
        }
        let last = self.current.finalize_non_root();
        let first = blake3::Hasher::new().update(&self.head).finalize_non_root();
        let spine =
            self.subtrees.iter().fold(first, |spine, subtree| merge_subtrees_non_root(&spine, subtree, Mode::Hash));
        merge_subtrees_root(&spine, &last, Mode::Hash)
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
        let bytes: Vec<u8> = (0..70_000_u32).map(|number| (number * 7 % 251) as u8).collect();
        let superblock = bytes[..96].try_into().unwrap();
        let sizes = [96, 97, 1023, 1024, 1025, 2047, 2048, 2049, 4096, 4097, 8192, 12_288, 65_536, 65_537, 70_000];
        for size in sizes {
            for step in [1, 13, 1024, 5000, 100_000] {
                let mut hasher = FileHasher::new();
                for part in bytes[96..size].chunks(step) {
                    hasher.update(part);
                }
                assert_eq!(hasher.finish(superblock), blake3::hash(&bytes[..size]), "{size} bytes by {step}");
            }
        }
    }
}
