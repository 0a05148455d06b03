//! Damaged and malicious images: an error at worst, soon, and without using much memory.

use std::fs::File;
use std::os::unix::fs::FileExt;

use hypr_squash::{BlockSize, Codec, Options, Piece, Reader, Special, Writer};

use crate::support::{file_bytes, metadata, open, options, text, write};

fn small(writer: &mut Writer) {
    let xattrs = [("user.a", &b"value of some length"[..]), ("user.b", b"value of some length")];
    let xattrs = xattrs.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
    writer.add_file(b"a/file", &metadata(0o644), &mut &text("file", 10_000)[..]).unwrap();
    writer.add_file(b"a/tail", &hypr_squash::Metadata { xattrs, ..metadata(0o644) }, &mut &b"tail"[..]).unwrap();
    writer.add_hard_link(b"b", b"a/tail").unwrap();
    writer.add_symlink(b"c/d/link", &metadata(0o777), b"../target").unwrap();
    writer.add_special(b"c/device", &metadata(0o600), Special::CharDevice { major: 1, minor: 3 }).unwrap();
    for number in 0..300 {
        writer.add_special(format!("many/{number:03}").as_bytes(), &metadata(0o600), Special::Fifo).unwrap();
    }
}

/// Reads all that can be read, up to a bound for what is nothing but holes.
fn read_all(reader: &Reader) -> Result<(), hypr_squash::Error> {
    hypr_squash::verify(reader).map(drop).or_else(|_| {
        for entry in reader.walk() {
            let (path, node) = entry?;
            let _ = (node.metadata(), node.kind(), reader.lookup(&path));
            let Ok(mut content) = node.open() else { continue };
            let mut rest = 1 << 20;
            while let Ok(Some(piece)) = content.next_piece() {
                let (Piece::Bytes(&[.., _]) | Piece::Hole(_)) = piece else { break };
                rest -= 4096;
                if rest < 0 {
                    break;
                }
            }
        }
        Ok(())
    })
}

/// A small generator of numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

#[test]
fn mutated_images_do_not_panic_or_hang() {
    let total = if cfg!(debug_assertions) { 6_000 } else { 200_000 };
    let mut numbers = Numbers(7);
    for codec in [Codec::Zstd { level: 3 }, Codec::Lz4, Codec::Gzip { level: 6 }] {
        for fill in [small as fn(&mut Writer), |writer| writer.add_directory(b"a/b/c", &metadata(0o755)).unwrap()] {
            let (file, _) = write(Options { codec, block_size: BlockSize::MIN, ..options(1) }, fill);
            let bytes = file_bytes(&file);
            let used = usize::try_from(open(&file).info().bytes_used).unwrap();
            let tables = usize::try_from(open(&file).data_range().end).unwrap();
            for _ in 0..total / 6 {
                let mut mutated = bytes.clone();
                for _ in 0..=numbers.next(3) {
                    // Tables are where it hurts; data is but bytes.
                    let at =
                        if numbers.next(4) == 0 { numbers.next(used) } else { tables + numbers.next(used - tables) };
                    mutated[at] = match numbers.next(4) {
                        0 => 0,
                        1 => 0xff,
                        2 => mutated[at] ^ (1 << numbers.next(8)),
                        _ => numbers.next(256).to_le_bytes()[0],
                    };
                }
                file.write_all_at(&mutated, 0).unwrap();
                if let Ok(reader) = Reader::open(file.try_clone().unwrap()) {
                    let _ = read_all(&reader);
                }
            }
        }
    }
}

/// Offset of the directory table, whose small blocks are stored raw behind two bytes of header.
fn listings(bytes: &[u8]) -> usize {
    let start = u64::from_le_bytes(bytes[72..80].try_into().unwrap());
    let start = usize::try_from(start).unwrap();
    assert_eq!(bytes[start + 1] & 0x80, 0x80, "the listings are stored raw");
    start + 2
}

/// An image of `a/b`, both directories; the listing of `a` comes first.
fn nested() -> (File, Vec<u8>) {
    let (file, _) = write(options(1), |writer| writer.add_directory(b"a/b", &metadata(0o755)).unwrap());
    let bytes = file_bytes(&file);
    (file, bytes)
}

#[test]
fn a_directory_within_itself_is_an_error() {
    let (file, mut bytes) = nested();
    let at = listings(&bytes);
    // Both listings have one header and one entry with a name of one byte. Let `b` be the inode of `a`.
    let (header, entry) = (12, 9);
    let root = at + header + entry;
    assert_eq!((bytes[at + header + 8], bytes[root + header + 8]), (b'b', b'a'));
    bytes.copy_within(root..root + header + 8, at);
    file.write_all_at(&bytes, 0).unwrap();
    let reader = open(&file);
    let error = reader.walk().find_map(Result::err).expect("the walk ends with an error");
    assert!(error.to_string().contains("a directory is in two places"), "{error}");
    assert!(hypr_squash::verify(&reader).is_err());
    assert!(hypr_squash::content_digest(&reader, None).is_err());
    // A path of any length still ends.
    assert!(reader.lookup("a/b/b/b/b/b/b".as_bytes()).unwrap().is_some());
}

#[test]
fn names_that_lead_elsewhere_are_an_error() {
    for name in [b'/', 0, b'.'] {
        let (file, mut bytes) = nested();
        let at = listings(&bytes) + 12 + 8;
        bytes[at] = name;
        file.write_all_at(&bytes, 0).unwrap();
        let error = open(&file).walk().find_map(Result::err).unwrap();
        assert!(error.to_string().contains("directory table"), "{error}");
    }
}

#[test]
fn huge_counts_do_not_take_memory() {
    let (file, bytes) = nested();
    // Inodes, fragments and ids of the superblock.
    for (at, width) in [(4, 4), (16, 4), (26, 2)] {
        let mut huge = bytes.clone();
        huge[at..at + width].fill(0xff);
        file.write_all_at(&huge, 0).unwrap();
        assert!(Reader::open(file.try_clone().unwrap()).is_err(), "count at {at}");
    }
}
