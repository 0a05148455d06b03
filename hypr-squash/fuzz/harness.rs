//! What the fuzz targets do with their bytes: nothing may panic, and what was accepted must hold what it promises.
//!
//! The tests try it on a few seeds and on flipped bytes of them, with any compiler.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use hypr_squash::{Index, MergeOptions, Metadata, Options, Piece, Reader, Writer, tar};

/// Content read of one file; what is nothing but holes may be very long.
const READ_MAX: usize = 4 << 20;

/// Opens an image and reads all that is in it.
pub fn reader(bytes: &[u8]) {
    let Ok(reader) = Reader::open(file(bytes)) else { return };
    let verified = hypr_squash::verify(&reader);
    let mut paths = 0;
    for entry in reader.walk() {
        let Ok((path, node)) = entry else {
            assert!(verified.is_err(), "a walk finds what verifying does not");
            return;
        };
        let _ = (node.metadata(), node.kind(), node.extent());
        assert!(path.is_empty() || reader.lookup(&path).is_ok_and(|found| found.is_some()) || verified.is_err());
        paths += 1;
        let Ok(mut content) = node.open() else { continue };
        let mut read = 0;
        while let Ok(Some(piece)) = content.next_piece() {
            read += match piece {
                Piece::Bytes(bytes) => bytes.len(),
                Piece::Hole(length) => length,
            };
            if read > READ_MAX {
                break;
            }
        }
    }
    if let Ok(report) = verified {
        assert_eq!(report.paths, paths);
    }
}

/// Merges two layers, the first of which begins with its length in four bytes.
pub fn merge(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return };
    let Some((lower, upper)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else { return };
    let layers: Vec<_> =
        [lower, upper].iter().filter_map(|layer| Reader::open(file(layer)).ok().map(Arc::new)).collect();
    // Holes of any length are read where files are compared.
    let content = |reader: &Arc<Reader>| {
        reader.walk().map_while(Result::ok).map(|(_, node)| node.size()).fold(0, u64::saturating_add)
    };
    if layers.iter().any(|layer| content(layer) > READ_MAX as u64) {
        return;
    }
    for merged in [true, false] {
        let out = file(b"");
        let options = MergeOptions { keep_whiteouts: !merged, ..MergeOptions::default() };
        let clone = out.try_clone().expect("a descriptor can be copied");
        let result = match merged {
            true => hypr_squash::merge(&layers, clone, &options).map(drop),
            false => hypr_squash::merge_stored(&layers, clone, &options).map(drop),
        };
        if result.is_ok() {
            let made = Reader::open(out).expect("what was made can be opened");
            // Data is copied unread, so it may be damaged; the tables are new.
            assert!(made.walk().all(|entry| entry.is_ok()), "the tables of a merge are whole");
        }
    }
}

/// Packs an archive in both readings, and reads the image.
pub fn tar(bytes: &[u8]) {
    for whiteouts in [tar::Whiteouts::None, tar::Whiteouts::Oci, tar::Whiteouts::Overlay] {
        let out = file(b"");
        let clone = out.try_clone().expect("a descriptor can be copied");
        let mut writer = Writer::create(clone, Options::default()).expect("a temporary file can be written");
        let options = tar::ReadOptions { whiteouts, ..tar::ReadOptions::default() };
        if tar::unpack_into(&mut writer, bytes, &options).is_ok() && writer.finish().is_ok() {
            let made = Reader::open(out).expect("what was made can be opened");
            hypr_squash::verify(&made).expect("what was made is whole");
        }
    }
}

/// Decodes an index, and uses it for an image that it is not of.
pub fn index(bytes: &[u8]) {
    // Most flipped bytes would only be found by the digest at the end.
    let mut sealed = bytes.to_vec();
    if let Some((body, digest)) = sealed.split_last_chunk_mut::<32>() {
        *digest = *hypr_squash::Digest::as_bytes(&blake3::hash(body));
    }
    for bytes in [bytes, &sealed] {
        let Ok(index) = Index::from_bytes(bytes) else { continue };
        assert_eq!(Index::from_bytes(&index.to_bytes()).ok().as_ref(), Some(&index), "it survives a round trip");
        let reader =
            Reader::open_with_index(image(), index).expect("an index does not keep an image from being opened");
        for entry in reader.walk() {
            let (_, node) = entry.expect("the image is whole");
            let _ = node.content_digest();
        }
        let out = file(b"");
        hypr_squash::merge_stored(&[Arc::new(reader)], out, &MergeOptions::default()).expect("the image is whole");
    }
}

/// A small image with a little of everything.
pub fn image() -> File {
    let file = file(b"");
    let clone = file.try_clone().expect("a descriptor can be copied");
    let mut writer = Writer::create(clone, Options::default()).expect("a temporary file can be written");
    let metadata = Metadata { mode: 0o644, mtime: 1, ..Metadata::default() };
    let filled: Result<(), hypr_squash::Error> = (|| {
        writer.add_file(b"usr/bin/a", &metadata, &mut &b"content ".repeat(40_000)[..])?;
        writer.add_file(b"usr/bin/b", &metadata, &mut &b"short"[..])?;
        writer.add_hard_link(b"usr/c", b"usr/bin/b")?;
        writer.add_symlink(b"bin", &metadata, b"usr/bin")
    })();
    filled.and_then(|()| writer.finish().map(drop)).expect("the image can be written");
    file
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file can be made");
    file.write_all(bytes).expect("a temporary file can be written");
    file
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn image_bytes() -> Vec<u8> {
        let file = image();
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// The seed itself, and the seed with each of many bytes flipped.
    fn around(seed: &[u8], target: fn(&[u8])) {
        target(seed);
        let mut bytes = seed.to_vec();
        for at in (0..seed.len()).step_by(seed.len() / 150 + 1) {
            bytes[at] ^= 0x55;
            target(&bytes);
            bytes[at] = seed[at];
        }
    }

    #[test]
    fn images_and_layers() {
        let image = image_bytes();
        around(&image, reader);
        let length = u32::try_from(image.len()).unwrap().to_le_bytes();
        around(&[&length[..], &image, &image].concat(), merge);
    }

    #[test]
    fn archives() {
        let mut archive = Vec::new();
        let reader = Arc::new(Reader::open(image()).unwrap());
        let overlay = hypr_squash::Overlay::new(vec![reader]);
        hypr_squash::tar::write(&overlay, &mut archive, &Default::default()).unwrap();
        around(&archive, tar);
    }

    #[test]
    fn indexes() {
        let out = file(b"");
        let layers = [Arc::new(Reader::open(image()).unwrap())];
        let summary = hypr_squash::merge(&layers, out, &MergeOptions::default()).unwrap();
        around(&summary.index.to_bytes(), index);
    }
}
