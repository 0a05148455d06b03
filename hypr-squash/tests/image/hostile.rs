//! Damaged and malicious images: an error at worst, soon, and without using much memory.

use std::fs::File;
use std::os::unix::fs::FileExt;

use hypr_squash::{BlockSize, Metadata, Options, Reader};

use crate::support::{file_bytes, metadata, noise, open, options, write};

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

/// Lets the first file claim what follows its list of blocks, the inode and the list of the second.
#[test]
fn inodes_that_share_a_list_of_blocks_are_an_error() {
    let block = 1 << 20;
    // With a block size of 1 MiB all words of the second inode can pass for lengths of blocks.
    let options = Options { block_size: BlockSize::MAX, ..options(1) };
    let (file, _) = write(options, |writer| {
        let plain = Metadata::default();
        writer.add_file(b"a", &plain, &mut &vec![b'a'; block + 10][..]).unwrap();
        let second = [noise("second", 16 * block), noise("tail", 10)].concat();
        writer.add_file(b"b", &plain, &mut &second[..]).unwrap();
        writer.add_file(b"c", &plain, &mut &noise("more data", 5000)[..]).unwrap();
    });
    let bytes = file_bytes(&file);
    let table = usize::try_from(u64::from_le_bytes(bytes[64..72].try_into().unwrap())).unwrap();
    let length = usize::from(u16::from_le_bytes(bytes[table..table + 2].try_into().unwrap()));
    assert!(length < 0x8000, "the inodes are compressed");
    let mut inodes = zstd::bulk::decompress(&bytes[table + 2..table + 2 + length], 8192).unwrap();
    assert_eq!(inodes[28..32], u32::try_from(block + 10).unwrap().to_le_bytes(), "the size of the first file");
    // Its own list, 32 bytes of inode, and the list behind that. The second's tail comes to lie in a fragment block, as
    // the mark of none is no length.
    let claimed = 2 + 8 + 17;
    inodes[28..32].copy_from_slice(&u32::try_from((claimed - 1) * block + 10).unwrap().to_le_bytes());
    inodes[32 + 8 + 20..32 + 8 + 24].fill(0);
    let packed = zstd::bulk::compress(&inodes, 19).unwrap();
    assert!(packed.len() <= length, "the new block takes the place of the old one");
    file.write_all_at(&u16::try_from(packed.len()).unwrap().to_le_bytes(), table as u64).unwrap();
    file.write_all_at(&packed, table as u64 + 2).unwrap();
    let reader = open(&file);
    assert_eq!(reader.lookup(b"a").unwrap().unwrap().extent().unwrap().blocks.len(), claimed);
    let error = reader.lookup(b"b").unwrap().unwrap().extent().unwrap_err().to_string();
    let expected = format!("corrupt squashfs image: inode table at offset {table}: two inodes share a list of blocks");
    assert_eq!(error, expected);
    assert!(hypr_squash::verify(&open(&file)).is_err());
}
