//! Damaged archives never panic and never yield paths that lead outside.

use super::super::EntryKind;
use super::{build, file, read_all, reseal, sparse};

/// A small generator, so that every run mutates alike.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub(super) fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

#[test]
fn sparse_contents_have_their_holes() {
    let mut stored = b"2\n0\n4\n1000\n3\n".to_vec();
    stored.resize(512, 0);
    stored.extend(b"datamor");
    let (entry, content) = read_all(&sparse(b"s", &stored, 2000)).unwrap().remove(0);
    assert_eq!((&entry.path[..], entry.kind), (&b"s"[..], EntryKind::File { size: 2000 }));
    let expected = [b"data".to_vec(), vec![0; 996], b"mor".to_vec(), vec![0; 997]].concat();
    assert!(content == expected);
}

#[test]
fn mutated_archives_do_not_panic() {
    let long = [b'n'; 200];
    let mut stored = b"2\n0\n4\n1000\n3\n".to_vec();
    stored.resize(512, 0);
    stored.extend(b"datamor");
    let seeds = [
        build(&[(b"d/a", file(b"abc"), b"abc"), (b"d/h", EntryKind::HardLink { target: b"d/a".to_vec() }, b"")]),
        build(&[(&[&long[..], b"/", &long[..]].concat(), file(b"abc"), b"abc")]),
        sparse(b"s", &stored, 2000),
    ];
    let values = [0, 1, 0x20, b'0', b'7', 0x7f, 0x80, 0xff, b'\n', b'=', b'/', b'.', b'L', b'K', b'S', b'x', b'g'];
    let mut random = Random::new();
    for round in 0..30_000 {
        let mut tar = seeds[round % seeds.len()].clone();
        for _ in 0..=random.next(4) {
            let at = random.next(tar.len());
            tar[at] = values[random.next(values.len())];
        }
        // Most mutations would only be found by the checksum.
        for block in tar.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
            if random.next(8) != 0 {
                reseal(block);
            }
        }
        tar.truncate(tar.len() - random.next(2) * random.next(600));
        if let Ok(entries) = read_all(&tar) {
            for (entry, _) in entries {
                let mut components = entry.path.split(|byte| *byte == b'/');
                assert!(entry.path.is_empty() || components.all(|name| !matches!(name, b"" | b"." | b"..")));
            }
        }
    }
}
