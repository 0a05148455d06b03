//! What an earlier image lends must not change a byte, and must spare the reading.

use std::collections::BTreeMap;
use std::sync::Arc;

use hypr_squash::{BlockSize, Codec, Digest, Index, Metadata, Options, Reader, Summary, Writer};

const BLOCK: usize = 4096;

/// Numbers from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }
}

type Files = BTreeMap<Vec<u8>, Vec<u8>>;

fn content(numbers: &mut Numbers) -> Vec<u8> {
    let size = match numbers.below(12) {
        0 => 0,
        1 => BLOCK - 1,
        2 => BLOCK,
        3 => BLOCK + 1,
        4 => BLOCK * (1 + numbers.below(8)),
        5 => BLOCK * 3 + numbers.below(BLOCK),
        _ => 1 + numbers.below(BLOCK / 3),
    };
    let kind = numbers.below(8);
    let mut bytes: Vec<u8> = (0..size)
        .map(|at| match kind {
            0 => 0,
            1 => u8::try_from(numbers.below(256)).unwrap(),
            // Holes between data.
            2 if (at / BLOCK).is_multiple_of(2) => 0,
            _ => b"etaoin shrdlu\n"[numbers.below(14)],
        })
        .collect();
    if kind == 3 {
        // The beginning of others, with another end.
        bytes.iter_mut().take(size.saturating_sub(9)).zip((0..7).cycle()).for_each(|(byte, value)| *byte = value);
    }
    bytes
}

fn edit(files: &mut Files, numbers: &mut Numbers) {
    let name = |numbers: &mut Numbers| format!("d{}/f{}", numbers.below(4), numbers.below(20)).into_bytes();
    match numbers.below(6) {
        0 => drop(files.remove(&name(numbers))),
        1 => {
            // The content of another file once more.
            let copied = files.values().nth(numbers.below(files.len().max(1))).cloned();
            files.insert(name(numbers), copied.unwrap_or_default());
        }
        _ => drop(files.insert(name(numbers), content(numbers))),
    }
}

/// Packs the files; with the image, how many bytes of them were read.
fn pack(files: &Files, options: &Options, lenders: &[Arc<Reader>]) -> (Arc<Reader>, Summary, usize) {
    let file = tempfile::tempfile().unwrap();
    let mut writer = Writer::create(file.try_clone().unwrap(), options.clone()).unwrap();
    for lender in lenders {
        assert!(writer.lend(lender), "an image of the same encoder can lend");
    }
    let mut read = 0;
    for (path, content) in files {
        let (metadata, digest) = (Metadata { mode: 0o644, ..Metadata::default() }, blake3::hash(content));
        if lenders.is_empty() || !writer.add_known_file(path, &metadata, content.len() as u64, digest).unwrap() {
            writer.add_file(path, &metadata, &mut &content[..]).unwrap();
            read += content.len();
        }
    }
    let summary = writer.finish().unwrap();
    let index = Index::from_bytes(&summary.index.to_bytes()).unwrap();
    (Arc::new(Reader::open_with_index(file, index).unwrap()), summary, read)
}

fn options(codec: Codec) -> Options {
    Options { codec, block_size: BlockSize::new(4096).unwrap(), ..Options::default() }
}

#[test]
fn a_thousand_edits_give_the_bytes_of_cold_packs() {
    for (seed, codec) in [(11, Codec::default()), (12, Codec::Lz4), (13, Codec::Gzip { level: 6 })] {
        let options = options(codec);
        let mut numbers = Numbers(seed);
        let mut files = Files::new();
        for _ in 0..40 {
            edit(&mut files, &mut numbers);
        }
        let mut earlier = vec![pack(&files, &options, &[]).0];
        for round in 0..350 {
            let before: Vec<Digest> = files.values().map(|content| blake3::hash(content)).collect();
            edit(&mut files, &mut numbers);
            let (_, cold, _) = pack(&files, &options, &[]);
            let (image, lent, read) = pack(&files, &options, &earlier);
            assert_eq!(lent.file_digest, cold.file_digest, "seed {seed}, round {round}");
            assert_eq!(lent.index, cold.index, "seed {seed}, round {round}");
            assert_eq!(lent.content_digest, cold.content_digest);
            let is_new = |content: &&Vec<u8>| !before.contains(&blake3::hash(content));
            let new: usize = files.values().filter(is_new).map(Vec::len).sum();
            assert!(read <= new, "seed {seed}, round {round}: {read} bytes read for {new} new ones");
            hypr_squash::verify(&image).unwrap();
            // One lender for most of the time, two now and then.
            if !numbers.below(5).is_multiple_of(5) || earlier.len() > 1 {
                earlier.clear();
            }
            earlier.insert(0, image);
        }
    }
}

#[test]
fn only_images_of_the_same_encoder_lend() {
    let mut files = Files::new();
    files.insert(b"a".to_vec(), vec![b'a'; 10_000]);
    let zstd = options(Codec::default());
    let (image, ..) = pack(&files, &zstd, &[]);
    let lends = |image: &Arc<Reader>, options: &Options| {
        Writer::create(tempfile::tempfile().unwrap(), options.clone()).unwrap().lend(image)
    };
    assert!(lends(&image, &zstd));
    assert!(!lends(&image, &options(Codec::Zstd { level: 4 })));
    assert!(!lends(&image, &options(Codec::Lz4)));
    assert!(!lends(&image, &Options { block_size: BlockSize::new(8192).unwrap(), ..zstd.clone() }));
    let merged = tempfile::tempfile().unwrap();
    let merge_options = hypr_squash::MergeOptions { options: zstd.clone(), ..Default::default() };
    let summary = hypr_squash::merge(&[image], merged.try_clone().unwrap(), &merge_options).unwrap();
    let merged = Arc::new(Reader::open_with_index(merged, summary.index).unwrap());
    assert!(!lends(&merged, &zstd), "nobody knows who compressed what was merged");
    let plain = Arc::new(Reader::open(merged.file().try_clone().unwrap()).unwrap());
    assert!(!lends(&plain, &zstd), "without an index nothing is known");
}

#[test]
fn an_index_that_lies_is_found_out_or_does_no_harm() {
    let mut files = Files::new();
    for number in 0..20_u8 {
        files.insert(vec![b'f', b'a' + number], vec![number; 100]);
    }
    let options = options(Codec::default());
    let (image, summary, _) = pack(&files, &options, &[]);
    // An index of other contents at the same places.
    let mut others = files.clone();
    others.values_mut().for_each(|content| content.iter_mut().for_each(|byte| *byte ^= 0x55));
    let (_, wrong, _) = pack(&others, &options, &[]);
    assert_ne!(summary.index, wrong.index);
    let liar = Arc::new(Reader::open_with_index(image.file().try_clone().unwrap(), wrong.index).unwrap());
    let mut writer = Writer::create(tempfile::tempfile().unwrap(), options).unwrap();
    assert!(writer.lend(&liar));
    let metadata = Metadata::default();
    for (path, content) in others.iter().take(3) {
        let digest = blake3::hash(content);
        assert!(writer.add_known_file(path, &metadata, content.len() as u64, digest).unwrap());
    }
    let error = writer.finish().unwrap_err().to_string();
    assert!(error.contains("not what the index says"), "{error}");
}
