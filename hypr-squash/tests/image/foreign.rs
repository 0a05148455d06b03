//! Images of other programs are read.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use hypr_squash::{Kind, Reader, verify};

use crate::oracles::everything;
use crate::support::{Entry, Tree, open, options, skipped, tree, write};

/// The tree with one of everything, as a directory.
fn extracted(directory: &Path) -> Option<Tree> {
    if !rustix::process::geteuid().is_root() {
        skipped("making devices and owners needs root");
        return None;
    }
    let (file, _) = write(options(2), everything);
    std::fs::create_dir(directory).unwrap();
    hypr_squash::extract(&open(&file), File::open(directory).unwrap(), &Default::default()).unwrap();
    Some(tree(&open(&file)))
}

/// Makes an image with a program; `None` when it is not installed.
fn made_by(program: &str, arguments: &[&str], image: &Path) -> Option<Reader> {
    match Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) => assert!(status.success(), "{program} {arguments:?}"),
        Err(error) => {
            skipped(&format!("{program}: {error}"));
            return None;
        }
    }
    Some(Reader::open(File::open(image).unwrap()).unwrap())
}

#[test]
fn images_of_mksquashfs_are_read_in_all_variants() {
    let directory = tempfile::tempdir().unwrap();
    let (source, image) = (directory.path().join("source"), directory.path().join("image"));
    let Some(expected) = extracted(&source) else { return };
    for variant in [
        "-comp gzip",
        "-comp lz4",
        "-comp zstd -b 4096 -always-use-fragments",
        "-comp zstd -b 1M -no-fragments -no-exports",
        "-comp gzip -noI -noId -noD -noF -noX -no-tailends",
        "-comp lz4 -Xhc -no-duplicates -processors 1",
    ] {
        let paths = [source.to_str().unwrap(), image.to_str().unwrap(), "-noappend", "-no-progress"];
        let arguments: Vec<&str> = paths.into_iter().chain(variant.split(' ')).collect();
        let Some(reader) = made_by("mksquashfs", &arguments, &image) else { return };
        let found = tree(&reader);
        for (path, entry) in &expected {
            // Symbolic links it sometimes makes hard links of and sometimes not.
            let strip = |entry: &Entry| match entry.kind {
                Kind::Symlink { .. } => Entry { first: Vec::new(), ..entry.clone() },
                _ => entry.clone(),
            };
            assert_eq!(found.get(path).map(strip), Some(strip(entry)), "{variant}: {}", path.escape_ascii());
        }
        assert_eq!(found.len(), expected.len(), "{variant}");
        let report = verify(&reader).unwrap_or_else(|error| panic!("{variant}: {error}"));
        assert_eq!(report.paths, expected.len() as u64);
    }
}

#[test]
fn images_of_gensquashfs_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let (source, image) = (directory.path().join("source"), directory.path().join("image"));
    let Some(expected) = extracted(&source) else { return };
    let paths = ["-x", "-k", "-f", "-q", "-c", "zstd", "-D", source.to_str().unwrap(), image.to_str().unwrap()];
    let Some(reader) = made_by("gensquashfs", &paths, &image) else { return };
    verify(&reader).unwrap();
    let found = tree(&reader);
    for (path, entry) in &expected {
        let found = &found[path];
        assert!(found.kind == entry.kind && found.content == entry.content, "{}", path.escape_ascii());
    }
}

#[test]
fn what_is_not_squashfs_is_told_apart() {
    let message = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        Reader::open(file).unwrap_err().to_string()
    };
    assert_eq!(message(b""), "not a squashfs image");
    assert_eq!(message(&[0; 4096]), "not a squashfs image");
    let (file, _) = write(options(1), everything);
    let bytes = crate::support::file_bytes(&file);
    for length in [96, 1000, bytes.len() / 2, bytes.len() - 4096] {
        let message = message(&bytes[..length]);
        assert_eq!(message, "corrupt squashfs image: superblock at offset 40: the image is cut short", "{length}");
    }
    let mut version = bytes.clone();
    version[28] = 3;
    assert_eq!(message(&version), "squashfs version 3.0 is not supported, only 4.0 is");
    let mut lzo = bytes;
    lzo[20] = 3;
    assert_eq!(message(&lzo), "squashfs compression lzo is not supported");
}
