//! Sizes, counts and contents at which encoders break.

use std::io::Read;
use std::os::unix::fs::FileExt;

use hypr_squash::{BlockSize, Codec, Options, content_digest};

use crate::support::{metadata, noise, open, options, tree, write};

const BLOCK: usize = 128 << 10;

fn file_bytes(file: &std::fs::File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn contents_of_every_size_come_back() {
    for codec in [Codec::default(), Codec::Lz4, Codec::Gzip { level: 6 }] {
        let sizes =
            [0, 1, 2, 4095, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 17, 80 * BLOCK, 80 * BLOCK + 5];
        let content = |size: usize| {
            let mut bytes = noise(&size.to_string(), size);
            bytes.iter_mut().step_by(2).for_each(|byte| *byte = 7);
            bytes
        };
        let (file, summary) = write(Options { codec, ..options(3) }, |writer| {
            for size in sizes {
                let bytes = content(size);
                let info = writer.add_file(format!("f{size}").as_bytes(), &metadata(0o644), &mut &bytes[..]).unwrap();
                assert_eq!((info.size, info.digest), (size as u64, blake3::hash(&bytes)));
            }
        });
        let bytes = file_bytes(&file);
        assert_eq!(blake3::hash(&bytes), summary.file_digest);
        assert_eq!((bytes.len() as u64, bytes.len() % 4096), (summary.bytes, 0));
        let reader = open(&file);
        for size in sizes {
            let node = reader.lookup(format!("f{size}").as_bytes()).unwrap().unwrap();
            let mut read = Vec::new();
            node.open().unwrap().read_to_end(&mut read).unwrap();
            assert!(read == content(size), "{codec:?} {size}");
            assert_eq!(node.content_digest().unwrap(), blake3::hash(&read));
        }
        assert_eq!(content_digest(&reader, None).unwrap(), summary.content_digest);
        assert_eq!(tree(&reader).len(), sizes.len() + 1);
        assert_eq!(summary.dead_bytes, 0);
    }
}

#[test]
fn block_sizes_at_both_ends_work() {
    for block_size in [BlockSize::MIN, BlockSize::MAX] {
        let bytes = noise("blocks", 3_000_001);
        let (file, _) = write(Options { block_size, ..options(2) }, |writer| {
            writer.add_file(b"a/b/c", &metadata(0o644), &mut &bytes[..]).unwrap();
        });
        assert!(tree(&open(&file))[b"a/b/c".as_slice()].content == bytes);
    }
}
