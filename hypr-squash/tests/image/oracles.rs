//! What other implementations see in our images: the kernel, unsquashfs, rdsquashfs, backhand.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hypr_squash::{BlockSize, Codec, Metadata, Options, Special, Writer, Xattrs};

use crate::support::{Tree, disk_tree, metadata, noise, open, options, skipped, text, tree, write_to};

/// A tree with one of everything.
pub(crate) fn everything(writer: &mut Writer) {
    let block = writer.options().block_size.bytes() as usize;
    let xattrs = |pairs: &[(&str, &[u8])]| -> Xattrs {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()
    };
    let shared = noise("shared", 300);
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    writer.add_directory(b"", &Metadata { mode: 0o755, mtime: 1, ..Metadata::default() }).unwrap();
    for size in [0, 1, 100, block - 1, block, block + 1, 3 * block, 3 * block + 100] {
        let path = format!("sizes/{size}");
        writer.add_file(path.as_bytes(), &metadata(0o644), &mut &text(&path, size)[..]).unwrap();
    }
    let (zeros, data) = (vec![0; 2 * block], text("hole", block + 5));
    for (name, content) in [
        ("start", [&zeros[..], &data].concat()),
        ("end", [&data[..block], &zeros, &zeros[..7]].concat()),
        ("middle", [&data[..block], &zeros, &data].concat()),
        ("only", zeros.clone()),
        ("short", zeros[..99].to_vec()),
        ("odd", zeros[..block + 99].to_vec()),
    ] {
        writer.add_file(format!("holes/{name}").as_bytes(), &metadata(0o600), &mut &content[..]).unwrap();
    }
    let suid =
        Metadata { mode: 0o4755, uid: 0, gid: 0, mtime: 0, xattrs: xattrs(&[("security.capability", capability)]) };
    writer.add_file(b"bin/suid", &suid, &mut &b"#!/bin/sh\n"[..]).unwrap();
    let many =
        xattrs(&[("user.a", b""), ("user.long", &shared), ("trusted.overlay.opaque", b"y"), ("user.z", b"12345678")]);
    let other = xattrs(&[("user.b", &shared), ("user.long", &shared)]);
    writer.add_directory(b"opaque", &Metadata { xattrs: many.clone(), ..metadata(0o1777) }).unwrap();
    writer
        .add_symlink(
            b"opaque/link",
            &Metadata { mode: 0o777, xattrs: xattrs(&[("trusted.t", b"1")]), ..metadata(0) },
            b"../bin/suid",
        )
        .unwrap();
    writer
        .add_special(
            b"opaque/null",
            &Metadata { xattrs: xattrs(&[("trusted.t", b"2")]), ..metadata(0o666) },
            Special::CharDevice { major: 1, minor: 3 },
        )
        .unwrap();
    writer.add_file(b"opaque/a", &Metadata { xattrs: other, ..metadata(0o644) }, &mut &b"a"[..]).unwrap();
    writer.add_file(b"opaque/b", &Metadata { xattrs: many, ..metadata(0o644) }, &mut &b"b"[..]).unwrap();
    writer.add_hard_link(b"opaque/again", b"sizes/100").unwrap();
    writer.add_hard_link(b"zz", b"sizes/100").unwrap();
    writer.add_special(b"dev/sda", &metadata(0o660), Special::BlockDevice { major: 259, minor: 70_000 }).unwrap();
    writer.add_special(b"dev/whiteout", &metadata(0), Special::CharDevice { major: 0, minor: 0 }).unwrap();
    writer.add_special(b"dev/fifo", &metadata(0o600), Special::Fifo).unwrap();
    writer.add_special(b"dev/socket", &metadata(0o755), Special::Socket).unwrap();
    writer.add_hard_link(b"dev/fifo2", b"dev/fifo").unwrap();
    writer.add_symlink(b"link", &metadata(0o777), b"nowhere \xff").unwrap();
    writer.add_symlink(b"longest", &metadata(0o777), &[b'x'; 4095]).unwrap();
    writer.add_hard_link(b"link2", b"link").unwrap();
    writer.add_file(b"names/\xff\xfe \n", &metadata(0o644), &mut &b"not text"[..]).unwrap();
    writer.add_file(&[b"names/".as_slice(), &[b'n'; 255]].concat(), &metadata(0o644), &mut &b"long"[..]).unwrap();
    writer
        .add_directory(b"empty", &Metadata { mtime: i64::from(u32::MAX), uid: u32::MAX - 1, ..metadata(0o555) })
        .unwrap();
    for count in [1, 256, 257] {
        for number in 0..count {
            let path = format!("count{count}/{number}");
            writer.add_file(path.as_bytes(), &metadata(0o644), &mut path.as_bytes()).unwrap();
        }
    }
    for number in 0..3000 {
        writer
            .add_symlink(format!("big/entry with a longer name {number:05}").as_bytes(), &metadata(0o777), b"x")
            .unwrap();
    }
}

/// An image in a directory that goes away with it.
struct Image {
    directory: tempfile::TempDir,
    expected: Tree,
}

impl Image {
    fn new(options: Options, fill: impl FnOnce(&mut Writer)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file =
            File::options().read(true).write(true).create_new(true).open(directory.path().join("image")).unwrap();
        write_to(&file, options, fill);
        let expected = tree(&open(&file));
        Self { directory, expected }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn target(&self) -> PathBuf {
        self.directory.path().join("target")
    }
}

/// Runs a program; `None`, with a line that says so, when it is not installed.
pub(crate) fn run(program: &str, arguments: &[&OsStr]) -> Option<Vec<u8>> {
    let output = match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(error) => {
            skipped(&format!("{program}: {error}"));
            return None;
        }
    };
    let messages = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&messages));
    Some(output.stdout)
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Unmounts when it goes out of scope.
pub(crate) struct Mount(pub(crate) PathBuf);

impl Mount {
    pub(crate) fn new(image: &Path, target: PathBuf) -> Option<Self> {
        if !is_root() {
            skipped("mounting needs root");
            return None;
        }
        std::fs::create_dir(&target).unwrap();
        let arguments = ["-t", "squashfs", "-o", "loop,ro"].map(OsStr::new);
        run("mount", &[&arguments[..], &[image.as_os_str(), target.as_os_str()]].concat())?;
        Some(Self(target))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

pub(crate) fn assert_same(found: &Tree, expected: &Tree, who: &str) {
    for (path, entry) in expected {
        assert_eq!(found.get(path), Some(entry), "{who}: {}", path.escape_ascii());
    }
    assert_eq!(found.len(), expected.len(), "{who}");
}

const CODECS: &[Codec] = &[
    Codec::Zstd { level: 3 },
    Codec::Lz4,
    Codec::Gzip { level: 6 },
    #[cfg(feature = "xz")]
    Codec::Xz { level: 6 },
];

#[test]
fn the_kernel_sees_the_same_tree() {
    for &codec in CODECS {
        let image = Image::new(Options { codec, ..options(2) }, everything);
        let Some(mount) = Mount::new(&image.path(), image.target()) else { return };
        assert_same(&disk_tree(&mount.0), &image.expected, "kernel");
        // Every name is also found by a look-up, which goes through the directory index.
        for path in image.expected.keys() {
            assert!(mount.0.join(OsStr::from_bytes(path)).symlink_metadata().is_ok(), "{}", path.escape_ascii());
        }
        assert!(mount.0.join("big/entry with a longer name 0300").symlink_metadata().is_err());
    }
}

#[test]
fn unsquashfs_extracts_the_same_tree() {
    for &codec in CODECS {
        let image = Image::new(Options { codec, block_size: BlockSize::MIN, ..options(2) }, everything);
        let (path, target) = (image.path(), image.target());
        let mut arguments = vec![OsStr::new("-no-progress"), OsStr::new("-d"), target.as_os_str(), path.as_os_str()];
        if !is_root() {
            skipped("extracting devices and owners needs root");
            return;
        }
        if run("unsquashfs", &arguments).is_none() {
            return;
        }
        let mut expected = image.expected.clone();
        let mut found = disk_tree(&target);
        // It gives special files no extended attributes and leaves the times of some to chance.
        for tree in [&mut found, &mut expected] {
            for entry in tree.values_mut().filter(|entry| matches!(entry.kind, hypr_squash::Kind::Special(_))) {
                entry.metadata.xattrs.clear();
            }
        }
        assert_same(&found, &expected, "unsquashfs");
        arguments = vec![OsStr::new("-lln"), path.as_os_str()];
        let listing = run("unsquashfs", &arguments).unwrap();
        let listing = String::from_utf8_lossy(&listing);
        let suid = listing.lines().find(|line| line.ends_with(" squashfs-root/bin/suid")).unwrap();
        let words: Vec<_> = suid.split_whitespace().collect();
        assert_eq!(words[..5], ["-rwsr-xr-x", "0/0", "10", "1970-01-01", "00:00"]);
    }
}

#[test]
fn rdsquashfs_reads_every_file() {
    let image = Image::new(options(2), everything);
    for (path, entry) in &image.expected {
        let hypr_squash::Kind::File { .. } = entry.kind else { continue };
        if path.starts_with(b"count") {
            continue;
        }
        let archive = image.path();
        let arguments = [OsStr::new("-c"), OsStr::from_bytes(path), archive.as_os_str()];
        let Some(content) = run("rdsquashfs", &arguments) else { return };
        assert!(content == entry.content, "{}", path.escape_ascii());
    }
}

#[test]
fn backhand_reads_every_file() {
    for codec in [Codec::Zstd { level: 3 }, Codec::Gzip { level: 6 }] {
        let image = Image::new(Options { codec, ..options(2) }, |writer| {
            everything(writer);
            // It takes link targets of up to 255 bytes.
            writer.remove(b"longest").unwrap();
        });
        let file = std::io::BufReader::new(File::open(image.path()).unwrap());
        let archive = backhand::FilesystemReader::from_reader(file).unwrap();
        let mut files = 0;
        for node in archive.files() {
            let path = node.fullpath.as_os_str().as_bytes().strip_prefix(b"/").unwrap();
            let expected = &image.expected[path];
            assert_eq!(
                u32::from(node.header.permissions),
                u32::from(expected.metadata.mode),
                "{}",
                path.escape_ascii()
            );
            if let backhand::InnerNode::File(file) = &node.inner {
                let mut content = Vec::new();
                std::io::Read::read_to_end(&mut archive.file(file).reader(), &mut content).unwrap();
                assert!(content == expected.content, "{}", path.escape_ascii());
                files += 1;
            }
        }
        assert!(files > 500, "{files}");
    }
}
