//! Sizes, counts and contents at which encoders break.

use std::io::Read;

use hypr_squash::{BlockSize, Codec, Metadata, Options, Reader, Writer, content_digest};

use crate::oracles::everything;
use crate::support::{file_bytes, metadata, noise, open, options, text, tree, write};

const BLOCK: usize = 128 << 10;

fn add(writer: &mut Writer, path: &str, content: &[u8]) {
    let info = writer.add_file(path.as_bytes(), &metadata(0o644), &mut &content[..]).unwrap();
    assert_eq!((info.size, info.digest), (content.len() as u64, blake3::hash(content)));
}

fn content(reader: &Reader, path: &str) -> Vec<u8> {
    let node = reader.lookup(path.as_bytes()).unwrap().unwrap();
    let mut read = Vec::new();
    node.open().unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(node.content_digest().unwrap(), blake3::hash(&read));
    read
}

#[test]
fn contents_of_every_size_come_back() {
    let sizes = [0, 1, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 17, 80 * BLOCK, 80 * BLOCK + 5];
    for codec in [Codec::default(), Codec::Lz4, Codec::Gzip { level: 1 }] {
        let (file, summary) = write(Options { codec, ..options(3) }, |writer| {
            for size in sizes {
                add(writer, &format!("f{size}"), &text(&size.to_string(), size));
            }
        });
        let bytes = file_bytes(&file);
        assert_eq!(blake3::hash(&bytes), summary.file_digest);
        assert_eq!((bytes.len() as u64, bytes.len() % 4096), (summary.bytes, 0));
        let reader = open(&file);
        for size in sizes {
            assert!(content(&reader, &format!("f{size}")) == text(&size.to_string(), size), "{codec:?} {size}");
        }
        assert_eq!(content_digest(&reader, None).unwrap(), summary.content_digest);
        assert_eq!(summary.dead_bytes, 0);
    }
}

#[test]
fn block_sizes_at_both_ends_work() {
    for block_size in [BlockSize::MIN, BlockSize::MAX] {
        let bytes = noise("blocks", 3_000_001);
        let (file, _) = write(Options { block_size, ..options(2) }, |writer| add(writer, "a/b/c", &bytes));
        assert!(tree(&open(&file))[b"a/b/c".as_slice()].content == bytes);
    }
}

#[test]
fn threads_do_not_change_a_byte() {
    let image = |threads| {
        let (file, summary) = write(options(threads), |writer| {
            everything(writer);
            for number in 0..40 {
                add(writer, &format!("more/{number}"), &text(&number.to_string(), number * 9_999));
            }
        });
        (blake3::hash(&file_bytes(&file)), summary.file_digest, summary.content_digest)
    };
    let one = image(1);
    assert_eq!(one.0, one.1);
    for threads in [2, 3, 16] {
        assert_eq!(image(threads), one, "{threads} threads");
    }
}

#[test]
fn equal_contents_are_stored_once() {
    let (small, large) = (noise("small", 5000), noise("large", 30 * BLOCK + 7));
    let size = |copies: usize| {
        let (file, summary) = write(options(2), |writer| {
            for copy in 0..copies {
                add(writer, &format!("small{copy}"), &small);
                add(writer, &format!("large{copy}"), &large);
            }
        });
        assert_eq!(summary.dead_bytes, 0);
        assert_eq!(summary.duplicate_bytes, ((copies - 1) * (small.len() + large.len())) as u64);
        for copy in 0..copies {
            assert!(content(&open(&file), &format!("large{copy}")) == large);
            assert!(content(&open(&file), &format!("small{copy}")) == small);
        }
        summary.bytes
    };
    assert!(size(5) <= size(1) + 4096);
}

/// Contents longer than what is held back before it is known whether they are duplicates.
#[test]
fn long_contents_with_common_beginnings_keep_their_rest() {
    let segment = 8 << 20;
    let base = noise("base", 2 * segment + 3 * BLOCK + 11);
    let mut holes = base.clone();
    holes[segment - 2 * BLOCK..segment + BLOCK].fill(0);
    let variants: Vec<Vec<u8>> = vec![
        base.clone(),
        base[..segment].to_vec(),
        base[..2 * segment].to_vec(),
        base[..segment + 1].to_vec(),
        [&base[..2 * segment], b"another end"].concat(),
        [&base[..segment], &noise("second", segment)[..], &base[..BLOCK]].concat(),
        [&base[..BLOCK], &noise("first", BLOCK)[..]].concat(),
        holes.clone(),
        [&holes[..segment], b"x"].concat(),
        base.clone(),
        base[..2 * segment].to_vec(),
    ];
    let image = |threads| {
        write(options(threads), |writer| {
            for (number, variant) in variants.iter().enumerate() {
                add(writer, &number.to_string(), variant);
            }
        })
    };
    let (file, summary) = image(2);
    let reader = open(&file);
    for (number, variant) in variants.iter().enumerate() {
        assert!(content(&reader, &number.to_string()) == *variant, "variant {number}");
    }
    assert_eq!(summary.dead_bytes, 0);
    assert_eq!(blake3::hash(&file_bytes(&file)), summary.file_digest);
    assert_eq!(image(1).1.file_digest, summary.file_digest);
}

#[test]
fn equal_beginnings_with_another_rest_are_not_confused() {
    let base = noise("trap", 3 * BLOCK);
    let mut variants =
        vec![base.clone(), base[..BLOCK].to_vec(), base[..2 * BLOCK].to_vec(), base[..BLOCK + 9].to_vec()];
    for at in [0, BLOCK - 1, BLOCK, 2 * BLOCK, 3 * BLOCK - 1] {
        let mut variant = base.clone();
        variant[at] ^= 1;
        variants.push(variant);
    }
    let (file, _) = write(options(2), |writer| {
        for (number, variant) in variants.iter().enumerate() {
            add(writer, &number.to_string(), variant);
        }
    });
    let reader = open(&file);
    for (number, variant) in variants.iter().enumerate() {
        assert!(content(&reader, &number.to_string()) == *variant, "variant {number}");
    }
}

#[test]
fn replaced_entries_leave_only_dead_bytes() {
    let (file, summary) = write(options(1), |writer| {
        add(writer, "a", &noise("first", 2 * BLOCK));
        add(writer, "small", &noise("tail", 700));
        add(writer, "a", &noise("second", 100));
        add(writer, "small", b"other");
        writer.add_directory(b"d/e", &metadata(0o700)).unwrap();
        add(writer, "d/e/f", b"below");
        add(writer, "d", b"a file now");
    });
    assert_eq!(summary.dead_bytes, 2 * BLOCK as u64 + 700 + 5);
    let tree = tree(&open(&file));
    let paths: Vec<_> = tree.keys().map(|path| String::from_utf8_lossy(path)).collect();
    assert_eq!(paths, ["", "a", "d", "small"]);
    assert_eq!(tree[b"d".as_slice()].content, b"a file now");
}

#[test]
fn times_are_brought_into_range() {
    for (clamp, mtime, stored) in [
        (None, -5, 0),
        (None, 5, 5),
        (None, i64::MAX, i64::from(u32::MAX)),
        (Some(100), 101, 100),
        (Some(100), 99, 99),
        (Some(0), i64::MIN, 0),
    ] {
        let (file, _) = write(Options { clamp_mtime: clamp, ..options(1) }, |writer| {
            writer.add_directory(b"d", &Metadata { mtime, ..metadata(0o755) }).unwrap();
        });
        assert_eq!(tree(&open(&file))[b"d".as_slice()].metadata.mtime, stored, "{clamp:?} {mtime}");
    }
}

#[test]
fn volatile_times_do_not_count_in_the_content_digest() {
    let digest = |mtime, volatile_from| {
        let (file, summary) = write(Options { volatile_from, ..options(1) }, |writer| {
            writer.add_directory(b"d", &Metadata { mtime, ..metadata(0o755) }).unwrap();
        });
        assert_eq!(content_digest(&open(&file), volatile_from).unwrap(), summary.content_digest);
        summary.content_digest
    };
    assert_eq!(digest(1000, Some(1000)), digest(2000, Some(1000)));
    assert_ne!(digest(999, Some(1000)), digest(2000, Some(1000)));
    assert_ne!(digest(1000, None), digest(2000, None));
}

#[test]
fn the_index_agrees_with_the_image() {
    let (file, summary) = write(options(2), everything);
    let bytes = summary.index.to_bytes();
    let index = hypr_squash::Index::from_bytes(&bytes).unwrap();
    assert_eq!(index, summary.index);
    let reader = Reader::open_with_index(file.try_clone().unwrap(), index).unwrap();
    for entry in summary.index.entries() {
        let node = reader.lookup(&entry.path).unwrap().unwrap();
        let extent = node.extent().unwrap();
        assert_eq!((node.inode_number(), extent.size, extent.stored()), (entry.inode, entry.size, entry.stored));
        assert_eq!(node.content_digest().unwrap(), entry.digest);
    }
    // One of another image is not believed.
    let (other, _) = write(options(1), |writer| add(writer, "sizes/1", b"?"));
    let reader = Reader::open_with_index(other, summary.index).unwrap();
    let node = reader.lookup(b"sizes/1").unwrap().unwrap();
    assert_eq!(node.content_digest().unwrap(), blake3::hash(b"?"));
}
