//! A pack that borrows gives the bytes of one that does not.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::testing::{image_with, metadata};
use crate::{BlockSize, Codec, Error, Options, Reader, Summary, Writer};

type Tree = BTreeMap<Vec<u8>, Vec<u8>>;

/// Small numbers from one seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }

    /// Content of every kind: nothing, zeros, text, noise, and all of them in turn.
    fn content(&mut self) -> Vec<u8> {
        const EDGES: [usize; 9] = [0, 1, 4095, 4096, 4097, 8192, 12_288, 40_000, 300];
        let size = match self.below(3) {
            0 => EDGES[self.below(EDGES.len())],
            _ => self.below(3000),
        };
        let seed = self.below(40).to_le_bytes();
        let mut noise = vec![0; size];
        blake3::Hasher::new().update(&seed).finalize_xof().fill(&mut noise);
        match self.below(5) {
            0 => vec![0; size],
            1 => noise,
            2 => {
                noise.iter_mut().enumerate().filter(|(at, _)| at / 4096 % 2 == 0).for_each(|(_, byte)| *byte = 0);
                noise
            }
            _ => noise.iter().map(|byte| b'a' + byte % 4).collect(),
        }
    }

    fn edit(&mut self, tree: &mut Tree) {
        let path = format!("d{}/f{}", self.below(4), self.below(12)).into_bytes();
        let copied = tree.values().nth(self.below(tree.len().max(1))).cloned();
        match (self.below(6), copied) {
            (0, _) => drop(tree.remove(&path)),
            (1, Some(content)) => drop(tree.insert(path, content)),
            _ => drop(tree.insert(path, self.content())),
        }
    }
}

fn options(codec: Codec) -> Options {
    let threads = NonZeroUsize::new(2).unwrap();
    Options { codec, block_size: BlockSize::MIN, threads, ..Options::default() }
}

enum Way<'a> {
    Cold,
    /// With contents read as if nothing was known of them.
    Reading(&'a [Arc<Reader>]),
    /// With digests known before; contents in the set must not be asked for.
    Knowing(&'a [Arc<Reader>], &'a Tree),
}

fn pack(tree: &Tree, options: &Options, way: &Way<'_>) -> (Arc<Reader>, Summary) {
    let fill = |writer: &mut Writer| -> Result<(), Error> {
        if let Way::Reading(memos) | Way::Knowing(memos, _) = way {
            memos.iter().for_each(|memo| _ = writer.lend(memo));
        }
        for (path, content) in tree {
            let (size, digest) = (content.len() as u64, blake3::hash(content));
            if let Way::Knowing(_, lent) = way {
                if writer.add_known_file(path, &metadata(0o644), size, digest)? {
                    continue;
                }
                assert!(!lent.values().any(|known| known == content), "{} is not lent", path.escape_ascii());
            }
            writer.add_file(path, &metadata(0o644), &mut &content[..])?;
        }
        Ok(())
    };
    image_with(options.clone(), fill)
}

fn bytes(reader: &Reader) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(reader.file().metadata().unwrap().len()).unwrap()];
    reader.file().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn assert_same(left: &(Arc<Reader>, Summary), right: &(Arc<Reader>, Summary), what: &str) {
    assert!(bytes(&left.0) == bytes(&right.0), "{what}: other bytes");
    assert_eq!(left.1.file_digest, right.1.file_digest, "{what}");
    assert_eq!(left.1.content_digest, right.1.content_digest, "{what}");
    assert_eq!(left.1.index, right.1.index, "{what}");
    assert_eq!(left.1.duplicate_bytes, right.1.duplicate_bytes, "{what}");
    assert_eq!(left.1.dead_bytes, right.1.dead_bytes, "{what}");
}

#[test]
fn edits_borrowed_are_those_packed_cold() {
    let mut random = Random(7);
    let mut tree = Tree::new();
    let mut memos: Vec<Arc<Reader>> = Vec::new();
    let mut earlier = Tree::new();
    for round in 0..300 {
        for _ in 0..=random.below(3) {
            random.edit(&mut tree);
        }
        let options = options(if round % 10 == 9 { Codec::Lz4 } else { Codec::default() });
        let cold = pack(&tree, &options, &Way::Cold);
        assert_same(&cold, &pack(&tree, &options, &Way::Reading(&memos)), &format!("round {round}, reading"));
        // After a round with another codec, its long contents are no use.
        let lent = if round % 10 == 0 || round % 10 == 9 { Tree::new() } else { earlier };
        let way = Way::Knowing(&memos, &lent);
        let known = pack(&tree, &options, &way);
        assert_same(&cold, &known, &format!("round {round}, knowing"));
        // What was lent lends again.
        memos.insert(0, known.0);
        memos.truncate(1 + random.below(2));
        earlier = tree.clone();
    }
}

#[test]
fn an_unchanged_tree_is_lent_whole_and_a_changed_file_costs_its_neighbours() {
    let noise = |number: u32, length| {
        let mut content = vec![0; length];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut content);
        content
    };
    let mut tree: Tree =
        (0..400).map(|at| (format!("f{at:03}").into_bytes(), noise(at, 200 + at as usize * 20))).collect();
    let options = options(Codec::default());
    let (image, summary) = pack(&tree, &options, &Way::Cold);
    let data: u64 = summary.index.entries().map(|entry| entry.size).sum();
    let memos = [image];
    for way in [Way::Reading(&memos), Way::Knowing(&memos, &tree)] {
        assert_eq!(pack(&tree, &options, &way).1.lent_bytes, data, "noise is stored as it is");
    }
    let earlier = tree.clone();
    tree.insert(b"f100".to_vec(), noise(1000, 900));
    let lent = pack(&tree, &options, &Way::Knowing(&memos, &earlier)).1.lent_bytes;
    assert!(data - lent < 16 * 4096, "{} of {data} bytes are not lent", data - lent);
}

#[test]
fn long_contents_are_lent_from_their_beginnings_on() {
    let options = options(Codec::default());
    let mut content: Vec<u8> = (0..(20_u32 << 20) / 4).flat_map(|word| (word / 7).to_le_bytes()).collect();
    let text = |content: &[u8]| content.to_vec();
    let mut tree = Tree::from([(b"a".to_vec(), text(&content)), (b"b".to_vec(), text(&content[..17 << 20]))]);
    let first = pack(&tree, &options, &Way::Cold);
    let memos = [first.0];
    assert_same(&pack(&tree, &options, &Way::Cold), &pack(&tree, &options, &Way::Knowing(&memos, &tree)), "equal");
    // Another middle, another end, a part of it, and a duplicate that is read after it was lent.
    content[9 << 20] ^= 1;
    tree.insert(b"c".to_vec(), text(&content));
    tree.insert(b"d".to_vec(), text(&content[..8 << 20]));
    content.push(1);
    tree.insert(b"e".to_vec(), text(&content));
    let cold = pack(&tree, &options, &Way::Cold);
    assert_same(&cold, &pack(&tree, &options, &Way::Reading(&memos)), "reading");
    assert_same(&cold, &pack(&tree, &options, &Way::Knowing(&memos, &Tree::new())), "knowing");

    let duplicate = tree[&b"a"[..]].clone();
    let fill = |memos: &[Arc<Reader>]| {
        image_with(options.clone(), |writer| {
            memos.iter().for_each(|memo| assert!(writer.lend(memo)));
            let digest = blake3::hash(&duplicate);
            if !writer.add_known_file(b"x", &metadata(0o644), duplicate.len() as u64, digest)? {
                writer.add_file(b"x", &metadata(0o644), &mut &duplicate[..])?;
            }
            writer.add_file(b"y", &metadata(0o644), &mut &duplicate[..]).map(drop)
        })
    };
    let (cold, lent) = (fill(&[]), fill(&memos));
    assert_eq!(cold.1.file_digest, lent.1.file_digest);
    assert_eq!(lent.1.dead_bytes, 0);
}
