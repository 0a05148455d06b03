//! Merges of stacks, small ones by hand and random ones against the kernel.

mod kernel;
mod stacks;

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::{MergeOptions, merge};
use crate::testing::{WHITEOUT, image, image_with, listing, metadata, opaque};
use crate::{BlockSize, Codec, FileType, Kind, Options, Overlay, Reader, Summary};

/// The merged image and what the merge says about it.
fn merged(layers: &[Arc<Reader>], options: &MergeOptions) -> (Arc<Reader>, Summary, File) {
    let file = tempfile::tempfile().unwrap();
    let summary = merge(layers, file.try_clone().unwrap(), options).unwrap();
    (Arc::new(Reader::open(file.try_clone().unwrap()).unwrap()), summary, file)
}

fn one(reader: &Arc<Reader>) -> Overlay {
    Overlay::part(vec![Arc::clone(reader)])
}

/// Bytes that do not compress and differ by `seed`.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Asserts that every byte of the data area belongs to a file, so that nothing deleted is left.
fn assert_all_live(reader: &Reader) {
    let mut live = Vec::new();
    let mut tails = vec![Vec::new(); reader.info().fragments as usize];
    for visit in reader.walk() {
        let (_, node) = visit.unwrap();
        if node.file_type() != FileType::File {
            continue;
        }
        let extent = node.extent().unwrap();
        live.push(extent.start..extent.start + extent.stored());
        if let Some(tail) = extent.fragment {
            tails[tail.index as usize].push(u64::from(tail.offset)..u64::from(tail.offset + tail.size));
        }
    }
    for (index, tails) in tails.into_iter().enumerate() {
        let index = u32::try_from(index).unwrap();
        let whole = 0..reader.fragment(index).unwrap().len() as u64;
        assert_eq!(super::stored::coalesce(tails), std::slice::from_ref(&whole), "fragment block {index}");
        let entry = reader.fragment_entry(index).unwrap();
        live.push(entry.start..entry.start + u64::from(entry.size.bytes()));
    }
    live.retain(|range| !range.is_empty());
    let area = reader.data_range();
    let live = super::stored::coalesce(live);
    // In front of the data, up to ten bytes tell the options of the compressor.
    let start = live.first().map_or(area.end, |range| range.start);
    assert!(start - area.start <= 10, "{area:?} and {live:?}");
    assert!(live.len() <= 1 && live.last().is_none_or(|range| range.end == area.end), "{area:?} and {live:?}");
}

#[test]
fn deletions_and_replacements_take_effect_and_vanish() {
    let lower = image(|writer| {
        writer.add_directory(b"", &metadata(0o755))?;
        writer.add_file(b"etc/passwd", &metadata(0o644), &mut &b"root"[..])?;
        writer.add_file(b"etc/gone", &metadata(0o644), &mut &b"gone"[..])?;
        writer.add_file(b"opaque/hidden", &metadata(0o644), &mut &b"hidden"[..])?;
        writer.add_file(b"file-to-directory", &metadata(0o644), &mut &b"file"[..])?;
        writer.add_file(b"directory-to-file/x", &metadata(0o644), &mut &b"x"[..])?;
        writer.add_file(b"chmod", &metadata(0o644), &mut &noise(1, 300_000)[..])?;
        Ok(())
    });
    let upper = image(|writer| {
        writer.add_directory(b"", &metadata(0o700))?;
        writer.add_directory(b"etc", &metadata(0o750))?;
        writer.add_special(b"etc/gone", &metadata(0), WHITEOUT)?;
        writer.add_special(b"never-there", &metadata(0), WHITEOUT)?;
        writer.add_directory(b"opaque", &opaque(0o755))?;
        writer.add_file(b"opaque/seen", &metadata(0o644), &mut &b"seen"[..])?;
        writer.add_directory(b"file-to-directory", &metadata(0o755))?;
        writer.add_file(b"directory-to-file", &metadata(0o644), &mut &b"now"[..])?;
        writer.add_file(b"chmod", &metadata(0o600), &mut &noise(1, 300_000)[..])?;
        Ok(())
    });
    let (reader, summary, _) = merged(&[lower, upper], &MergeOptions::default());
    let lines = listing(&one(&reader));
    let expected = [
        " d700 1:2 3",
        "chmod f600 1:2 3 ",
        "directory-to-file f644 1:2 3 now",
        "etc d750 1:2 3",
        "etc/passwd f644 1:2 3 root",
        "file-to-directory d755 1:2 3",
        "opaque d755 1:2 3",
        "opaque/seen f644 1:2 3 seen",
    ];
    assert_eq!(lines.len(), expected.len());
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line:?}");
    }
    assert_eq!(summary.dead_bytes, 0);
    assert_all_live(&reader);
}

#[test]
fn no_byte_of_a_deleted_file_is_left() {
    let secret = noise(7, 32);
    for (size, position) in [(32, 0), (5000, 2000), (300_000, 299_000), (131_072, 100)] {
        let mut content = noise(8, size);
        content[position..position + 32].copy_from_slice(&secret);
        let lower = image(|writer| {
            for number in 0..20u64 {
                writer.add_file(
                    format!("k{number}").as_bytes(),
                    &metadata(0o644),
                    &mut &noise(number + 100, 3000)[..],
                )?;
                if number == 10 {
                    writer.add_file(b"secret", &metadata(0o600), &mut &content[..])?;
                }
            }
            Ok(())
        });
        let upper = image(|writer| writer.add_special(b"secret", &metadata(0), WHITEOUT));
        let (reader, _, mut file) = merged(&[lower, upper], &MergeOptions::default());
        assert_all_live(&reader);
        let holds = |bytes: &[u8]| bytes.windows(32).any(|window| window == secret);
        for index in 0..reader.info().fragments {
            assert!(!holds(&reader.fragment(index).unwrap()));
        }
        let mut raw = Vec::new();
        std::io::Seek::rewind(&mut file).unwrap();
        std::io::Read::read_to_end(&mut file, &mut raw).unwrap();
        assert!(!holds(&raw), "noise is stored as it is, so it would be seen");
    }
}

/// As above, where blocks are compressed: every one of them is decompressed, and there is nothing between them.
#[test]
fn no_block_holds_what_was_deleted() {
    let secret = noise(7, 32);
    let text = |seed: u64, size: usize| -> Vec<u8> { noise(seed, size).iter().map(|byte| b'a' + byte % 8).collect() };
    let holds = |bytes: &[u8]| bytes.windows(32).any(|window| window == secret);
    for (size, at) in [(200, 50), (5000, 4000), (131_072, 131_040), (400_000, 200_000)] {
        let mut content = text(size as u64, size);
        content[at..at + 32].copy_from_slice(&secret);
        let lower = image(|writer| {
            for number in 0..30_usize {
                let path = format!("d/k{number}");
                writer.add_file(path.as_bytes(), &metadata(0o644), &mut &text(number as u64, 900 * number)[..])?;
            }
            writer.add_file(b"d/k15-secret", &metadata(0o600), &mut &content[..]).map(drop)
        });
        let upper = image(|writer| writer.add_special(b"d/k15-secret", &metadata(0), WHITEOUT));
        for keep_whiteouts in [false, true] {
            let options = MergeOptions { keep_whiteouts, ..MergeOptions::default() };
            let (reader, _, _) = merged(&[lower.clone(), upper.clone()], &options);
            assert_all_live(&reader);
            assert!((0..reader.info().fragments).all(|index| !holds(&reader.fragment(index).unwrap())));
            for entry in reader.walk() {
                let (path, node) = entry.unwrap();
                let mut read = Vec::new();
                std::io::Read::read_to_end(&mut node.open().unwrap(), &mut read).unwrap();
                assert!(!holds(&read), "{}", path.escape_ascii());
            }
        }
    }
}

#[test]
fn equal_files_of_different_layers_are_stored_once() {
    let content = noise(3, 400_000);
    let layers: Vec<_> = (0..4)
        .map(|number| {
            image(|writer| {
                writer.add_file(format!("copy{number}").as_bytes(), &metadata(0o644), &mut &content[..]).map(drop)
            })
        })
        .collect();
    let (reader, summary, _) = merged(&layers, &MergeOptions::default());
    assert!(summary.bytes < 450_000, "{}", summary.bytes);
    assert_all_live(&reader);
    let digests: Vec<_> = summary.index.entries().map(|entry| entry.digest).collect();
    assert_eq!(digests, [blake3::hash(&content); 4]);
}

#[test]
fn hard_links_stay_together_and_lose_deleted_names() {
    let lower = image(|writer| {
        writer.add_file(b"a", &metadata(0o644), &mut &b"linked"[..])?;
        writer.add_hard_link(b"b", b"a")?;
        writer.add_hard_link(b"d/c", b"a")
    });
    let upper = image(|writer| writer.add_special(b"a", &metadata(0), WHITEOUT));
    let (reader, _, _) = merged(&[lower, upper], &MergeOptions::default());
    let lines = listing(&one(&reader));
    assert_eq!(lines[1..], ["b f644 1:2 3 linked", "d d755 0:0 0", "d/c f644 1:2 3 linked = b"]);
    assert_eq!(reader.lookup(b"b").unwrap().unwrap().nlink(), 2);
}

#[test]
fn the_bytes_do_not_depend_on_threads_and_the_digest_not_on_the_way() {
    let layers = stacks::Random::new(5).stack();
    let mut digests = Vec::new();
    for threads in [1, 2, 3, 16] {
        let threads = NonZeroUsize::new(threads).unwrap();
        let options = MergeOptions { options: Options { threads, ..Options::default() }, keep_whiteouts: false };
        let (_, summary, mut file) = merged(&layers, &options);
        let mut raw = Vec::new();
        std::io::Seek::rewind(&mut file).unwrap();
        std::io::Read::read_to_end(&mut file, &mut raw).unwrap();
        assert_eq!(blake3::hash(&raw), summary.file_digest);
        digests.push((summary.file_digest, summary.content_digest));
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
    // The same tree, added entry by entry.
    let overlay = Overlay::new(layers);
    let (_, summary) = image_with(Options::default(), |writer| {
        let mut names: HashMap<_, Vec<u8>> = HashMap::new();
        for visit in overlay.walk() {
            let (path, node) = visit?;
            let metadata = node.metadata()?;
            if let Some(first) = names.get(&node.identity()).filter(|_| !node.is_directory()) {
                writer.add_hard_link(&path, first)?;
                continue;
            }
            names.insert(node.identity(), path.clone());
            match node.kind()? {
                Kind::Directory => writer.add_directory(&path, &metadata)?,
                Kind::File { .. } => drop(writer.add_file(&path, &metadata, &mut node.open()?)?),
                Kind::Symlink { target } => writer.add_symlink(&path, &metadata, &target)?,
                Kind::Special(special) => writer.add_special(&path, &metadata, special)?,
            }
        }
        Ok(())
    });
    assert_eq!(summary.content_digest, digests[0].1);
}

#[test]
fn layers_of_other_codecs_and_block_sizes_are_compressed_again() {
    let fill = |name: &'static str| {
        move |writer: &mut crate::Writer| {
            writer.add_file(name.as_bytes(), &metadata(0o644), &mut &noise(9, 200_000)[..])?;
            writer.add_file(format!("{name}-text").as_bytes(), &metadata(0o644), &mut &b"text ".repeat(30_000)[..])?;
            Ok(())
        }
    };
    let small = Options { block_size: BlockSize::new(4096).unwrap(), ..Options::default() };
    let layers = [
        image(fill("a")),
        image_with(Options { codec: Codec::Lz4, ..Options::default() }, fill("b")).0,
        image_with(Options { codec: Codec::Gzip { level: 6 }, ..Options::default() }, fill("c")).0,
        image_with(small.clone(), fill("d")).0,
    ];
    let expected = listing(&Overlay::new(layers.to_vec()));
    for options in [Options::default(), small, Options { codec: Codec::Lz4, ..Options::default() }] {
        let (reader, summary, _) = merged(&layers, &MergeOptions { options: options.clone(), keep_whiteouts: false });
        assert_eq!(listing(&one(&reader)), expected);
        assert_eq!(reader.info().compression, options.codec.id());
        assert_eq!(reader.info().block_size, options.block_size);
        assert_all_live(&reader);
        let same = |layer: &&crate::Reader| {
            layer.info().compression == options.codec.id() && layer.info().block_size == options.block_size
        };
        let others = layers.iter().map(|layer| &**layer).enumerate().filter(|(_, layer)| !same(layer));
        assert_eq!(summary.recompressed, others.map(|(place, _)| place).collect::<Vec<_>>());
    }
}

#[test]
fn files_that_are_stored_alike_are_found_without_an_index() {
    let unknown = |fill: &dyn Fn(&mut crate::Writer) -> Result<(), crate::Error>| {
        let reader = image(fill);
        std::sync::Arc::new(crate::Reader::open(reader.file().try_clone().unwrap()).unwrap())
    };
    let (long, short) = (noise(1, 300_000), noise(2, 5000));
    let lower = unknown(&|writer| {
        writer.add_file(b"a", &metadata(0o644), &mut &long[..])?;
        writer.add_file(b"b", &metadata(0o644), &mut &noise(3, 300_000)[..])?;
        writer.add_file(b"c", &metadata(0o644), &mut &short[..])?;
        writer.add_file(b"d", &metadata(0o644), &mut &short[..]).map(drop)
    });
    let upper = unknown(&|writer| {
        writer.add_file(b"e", &metadata(0o644), &mut &long[..])?;
        writer.add_file(b"f", &metadata(0o644), &mut &vec![0; 300_000][..])?;
        writer.add_special(b"b", &metadata(0), crate::testing::WHITEOUT)
    });
    let layers = [lower, upper];
    let file = tempfile::tempfile().unwrap();
    let summary = crate::merge_stored(&layers, file.try_clone().unwrap(), &MergeOptions::default()).unwrap();
    let reader = std::sync::Arc::new(crate::Reader::open(file).unwrap());
    assert_eq!(listing(&one(&reader)), listing(&Overlay::new(layers.to_vec())));
    assert!(summary.bytes_used < 300_000 + 5000 + 4096, "{} bytes", summary.bytes_used);
    crate::verify(&reader).unwrap();
    let (_, full, _) = merged(&layers, &MergeOptions::default());
    assert_eq!(full.file_digest, summary.file_digest, "nothing here is equal but stored otherwise");
}

#[test]
fn an_index_that_calls_different_files_equal_does_no_harm() {
    let fill = |seed: u64| {
        image(|writer| {
            writer.add_file(b"long", &metadata(0o644), &mut &noise(seed, 300_000)[..])?;
            writer.add_file(b"short", &metadata(0o644), &mut &noise(seed + 10, 900)[..])?;
            writer.add_file(b"same", &metadata(0o644), &mut &noise(5, 900)[..]).map(drop)
        })
    };
    let (lower, upper) = (fill(1), fill(2));
    // The contents of both have the same places, so the lower one's index seems to fit the upper image.
    let liar = lower.index().unwrap().clone();
    let upper = crate::Reader::open_with_index(upper.file().try_clone().unwrap(), liar).unwrap();
    let renamed = image(|writer| {
        for name in ["long", "short", "same"] {
            let node = lower.lookup(name.as_bytes())?.unwrap();
            writer.add_file(format!("lower-{name}").as_bytes(), &metadata(0o644), &mut node.open()?)?;
        }
        Ok(())
    });
    let layers = [renamed, std::sync::Arc::new(upper)];
    let file = tempfile::tempfile().unwrap();
    let summary = crate::merge_stored(&layers, file.try_clone().unwrap(), &MergeOptions::default()).unwrap();
    let reader = std::sync::Arc::new(crate::Reader::open(file).unwrap());
    assert_eq!(listing(&one(&reader)), listing(&Overlay::new(layers.to_vec())));
    assert!(summary.bytes_used < 2 * 300_900 + 900 + 4096, "what is really equal is stored once");

    // What is compressed again does have the content that the index claims for another file.
    let (other, _) = image_with(Options { codec: Codec::Lz4, ..Options::default() }, |writer| {
        writer.add_file(b"other", &metadata(0o644), &mut &noise(1, 300_000)[..]).map(drop)
    });
    let layers = [layers[1].clone(), other];
    let file = tempfile::tempfile().unwrap();
    crate::merge_stored(&layers, file.try_clone().unwrap(), &MergeOptions::default()).unwrap();
    let reader = std::sync::Arc::new(crate::Reader::open(file).unwrap());
    assert_eq!(listing(&one(&reader)), listing(&Overlay::new(layers.to_vec())));
}

#[test]
fn recompressing_changes_the_level_and_nothing_else() {
    let layer = image(|writer| {
        for number in 0..20_u32 {
            let content: Vec<u8> = noise(u64::from(number), 40_000).iter().map(|byte| b'a' + byte % 16).collect();
            writer.add_file(format!("f{number:02}").as_bytes(), &metadata(0o644), &mut &content[..])?;
        }
        writer.add_special(b"deleted", &metadata(0), crate::testing::WHITEOUT)
    });
    let options = |level| MergeOptions {
        options: Options { codec: Codec::Zstd { level }, ..Options::default() },
        keep_whiteouts: true,
    };
    let again = |level| {
        let file = tempfile::tempfile().unwrap();
        let summary = crate::recompress(std::slice::from_ref(&layer), file.try_clone().unwrap(), &options(level));
        (crate::Reader::open(file).unwrap(), summary.unwrap())
    };
    let (small, summary) = again(15);
    assert_eq!(summary.recompressed, [0]);
    assert_eq!(listing(&Overlay::part(vec![small.into()])), listing(&Overlay::part(vec![layer.clone()])));
    let (same, summary) = again(3);
    assert_eq!(summary.bytes_used, layer.info().bytes_used, "the level of the image itself gives the image itself");
    assert_eq!(same.info(), layer.info());
}

#[test]
fn times_are_clamped_on_the_way() {
    let layer = image(|writer| {
        let late = crate::Metadata { mtime: 2_000_000_000, ..metadata(0o644) };
        writer.add_file(b"late", &late, &mut &b""[..]).map(drop)
    });
    let options = Options { clamp_mtime: Some(1_000_000_000), ..Options::default() };
    let (reader, _, _) = merged(&[layer], &MergeOptions { options, keep_whiteouts: false });
    assert_eq!(reader.lookup(b"late").unwrap().unwrap().metadata().unwrap().mtime, 1_000_000_000);
}

#[test]
fn no_layers_are_an_empty_image() {
    let (reader, _, _) = merged(&[], &MergeOptions::default());
    assert_eq!(listing(&one(&reader)), [" d755 0:0 0"]);
}

#[test]
fn random_stacks_merge_to_what_the_union_shows() {
    for seed in 0..60 {
        let layers = stacks::Random::new(seed).stack();
        let expected = listing(&Overlay::new(layers.clone()));
        let (whole, _, _) = merged(&layers, &MergeOptions::default());
        assert_eq!(listing(&one(&whole)), expected, "seed {seed}");
        assert_all_live(&whole);
        let unknown = |layer: &std::sync::Arc<crate::Reader>| {
            std::sync::Arc::new(crate::Reader::open(layer.file().try_clone().unwrap()).unwrap())
        };
        let (file, unknown): (_, Vec<_>) = (tempfile::tempfile().unwrap(), layers.iter().map(unknown).collect());
        crate::merge_stored(&unknown, file.try_clone().unwrap(), &MergeOptions::default()).unwrap();
        let stored = std::sync::Arc::new(crate::Reader::open(file).unwrap());
        assert_eq!(listing(&one(&stored)), expected, "seed {seed}");
        // A group in the middle can be merged first.
        let from = layers.len() / 3;
        let to = (from + 3).min(layers.len());
        let keep = MergeOptions { keep_whiteouts: true, ..MergeOptions::default() };
        let (group, _, _) = merged(&layers[from..to], &keep);
        let stack: Vec<_> = layers[..from].iter().chain([&group]).chain(&layers[to..]).cloned().collect();
        assert_eq!(listing(&Overlay::new(stack.clone())), expected, "seed {seed}");
        assert!(Overlay::part(vec![group]).walk().all(|visit| visit.is_ok()));
        let (again, _, _) = merged(&stack, &MergeOptions::default());
        assert_eq!(listing(&one(&again)), expected, "seed {seed}");
    }
}
