//! Layers made into directory trees, and archives that no layer makes.

use std::{
    fs::{self, File, Permissions},
    io::{Seek, SeekFrom, Write},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
    },
    path::Path,
};

use hypr_squash::{
    Metadata, Special,
    tar::{Builder, EntryKind},
};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, getxattr, mknodat, setxattr};

use crate::{
    baseline::Baseline,
    capture::{self, Options},
    extract::{Error, Summary, extract},
    marks::Marks,
};

fn capture(dir: &Path, marks: Marks) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = Options { marks, baseline: &Baseline::default(), skip: &[] };
    capture::capture(File::open(dir).unwrap().as_fd(), &options, &mut bytes).unwrap();
    bytes
}

fn extracted(archive: &[u8]) -> (tempfile::TempDir, Result<Summary, Error>) {
    let dir = tempfile::tempdir().unwrap();
    let result = extract(&mut &*archive, File::open(dir.path()).unwrap().as_fd());
    (dir, result)
}

/// An archive as hypr sends it, of entries that belong to whoever runs the test.
fn archive(entries: &[(&str, EntryKind, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, data) in entries {
        builder.append(path.as_bytes(), &metadata(0o755), kind, &mut &**data).unwrap();
    }
    builder.finish().unwrap()
}

fn metadata(mode: u16) -> Metadata {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Metadata { mode, uid, gid, mtime: 1_600_000_000, ..Metadata::default() }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("a/b")).unwrap();
    fs::write(at("a/file"), vec![5; 300_000]).unwrap();
    fs::write(at("a/empty"), "").unwrap();
    fs::hard_link(at("a/file"), at("z")).unwrap();
    symlink("../nowhere", at("a/b/link")).unwrap();
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from(0o640), 0).unwrap();
    fs::write(at(&"n".repeat(255)), "long").unwrap();
    setxattr(at("a/file"), "user.a=b%3D", b"1\n2", XattrFlags::empty()).unwrap();
    setxattr(at("a"), "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    fs::set_permissions(at("a/b"), Permissions::from_mode(0o1777)).unwrap();
    if is_root() {
        mknodat(CWD, at("gone"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        chown(at("a/file"), Some(1234), Some(4_000_000)).unwrap();
        lchown(at("a/b/link"), Some(7), Some(8)).unwrap();
        setxattr(at("a/empty"), "security.capability", &CAPABILITY, XattrFlags::empty()).unwrap();
        fs::set_permissions(at("a/file"), Permissions::from_mode(0o4755)).unwrap();
    }
    let first = capture(dir.path(), Marks::User);
    let (copy, result) = extracted(&first);
    let summary = result.unwrap();
    assert_eq!((summary.devices, summary.xattrs), (0, 0));
    assert!(capture(copy.path(), Marks::User) == first);
    assert_eq!(fs::metadata(copy.path().join("a")).unwrap().mtime(), fs::metadata(at("a")).unwrap().mtime());
}

/// `cap_net_raw+ep` as revision 2 has it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn zeroes_become_holes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse");
    let mut file = File::create(&path).unwrap();
    file.seek(SeekFrom::Start(20 << 20)).unwrap();
    file.write_all(b"data").unwrap();
    file.set_len(40 << 20).unwrap();
    let content = fs::read(&path).unwrap();
    let size = content.len() as u64;
    let (copy, result) = extracted(&archive(&[("sparse", EntryKind::File { size }, &content)]));
    result.unwrap();
    let path = copy.path().join("sparse");
    assert!(fs::read(&path).unwrap() == content);
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn an_opaque_directory_is_marked_as_a_user_may() {
    let mut builder = Builder::new(Vec::new());
    let mut metadata = metadata(0o755);
    metadata.xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    builder.append(b"dir", &metadata, &EntryKind::Directory, &mut &b""[..]).unwrap();
    let (copy, result) = extracted(&builder.finish().unwrap());
    result.unwrap();
    let mut value = [0; 8];
    let length = getxattr(copy.path().join("dir"), "user.overlay.opaque", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"y");
}

#[test]
fn devices_are_left_out_with_all_their_names() {
    let null = EntryKind::Special(Special::CharDevice { major: 1, minor: 3 });
    let link = EntryKind::HardLink { target: b"dev-null".to_vec() };
    let (copy, result) = extracted(&archive(&[("dev-null", null, b""), ("other", link, b""), ("z", file(), b"z")]));
    assert_eq!(result.unwrap(), Summary { entries: 1, devices: 2, xattrs: 0 });
    assert_eq!(fs::read_dir(copy.path()).unwrap().count(), 1);
}

fn file() -> EntryKind {
    EntryKind::File { size: 1 }
}

#[test]
fn nothing_is_made_through_a_link_or_outside() {
    let outside = tempfile::tempdir().unwrap();
    let link = EntryKind::Symlink { target: outside.path().to_str().unwrap().as_bytes().to_vec() };
    for path in ["link/file", "../file", "a/../file", "/file", "a//b", "./file", "a/./b", "link", "", "file/"] {
        let (_dir, result) = extracted(&archive(&[("link", link.clone(), b""), (path, file(), b"x")]));
        assert!(result.is_err(), "{path}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{path}");
    }
    for target in ["../x", "/etc/passwd", "link/x", ""] {
        let hard = EntryKind::HardLink { target: target.as_bytes().to_vec() };
        let (_dir, result) = extracted(&archive(&[("link", link.clone(), b""), ("hard", hard, b"")]));
        assert!(result.is_err(), "{target}");
    }
}

#[test]
fn what_hypr_would_not_write_is_refused() {
    let good = archive(&[("a", EntryKind::Directory, b""), ("a/file", file(), b"x")]);
    assert!(extracted(&good).1.is_ok());
    for length in (0..good.len()).step_by(100).chain([512, 1024, 1536, 2048, 2560]) {
        if length < good.len() {
            assert!(extracted(&good[..length]).1.is_err(), "cut off at {length}");
        }
    }
    for (at, byte) in [(0, b'b'), (100, b'9'), (124, 0x80), (156, b'S'), (156, b'g'), (257, b'U'), (263, b' ')] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert!(extracted(&bad).1.is_err(), "byte {at}");
        seal(&mut bad);
        assert!(extracted(&bad).1.is_err() || at == 0, "byte {at}, with a right checksum");
    }
    let twice = archive(&[("a", file(), b"x"), ("a", file(), b"y")]);
    let error = extracted(&twice).1.unwrap_err().to_string();
    insta::assert_snapshot!(error, @"cannot extract /a of the layer: File exists (os error 17)");
}

/// Makes the checksum of the first header right again.
fn seal(archive: &mut [u8]) {
    archive[148..156].fill(b' ');
    let sum: u32 = archive[..512].iter().map(|byte| u32::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
