//! Directories on disk, into images and out again.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use hypr_squash::{
    Denied, DirectoryOptions, ExtractOptions, Kind, Metadata, Overlay, OverlayNames, Owners, Special, Summary, Xattrs,
    extract, extract_overlay, pack_directory, verify,
};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use crate::oracles::everything;
use crate::support::{disk_tree, metadata, noise, open, options, skipped, text, tree, write};

fn pack(directory: &Path, options: hypr_squash::Options) -> (File, Summary) {
    let directory = Dir::open_ambient_dir(directory, ambient_authority()).unwrap();
    write(options, |writer| {
        let stats = pack_directory(writer, &directory, &DirectoryOptions::default()).unwrap();
        assert!(stats.entries > 0);
    })
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skipped("owners, devices and trusted attributes need root");
    }
    is_root
}

fn set(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn sample(root: &Path) {
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::write(root.join("a/text"), text("text", 300_000)).unwrap();
    fs::write(root.join("a/b/small"), b"small").unwrap();
    fs::write(root.join("a/b/empty"), b"").unwrap();
    fs::hard_link(root.join("a/text"), root.join("a/b/c/again")).unwrap();
    symlink("../a/nowhere", root.join("a/link")).unwrap();
    let mut sparse = File::create(root.join("sparse")).unwrap();
    sparse.seek(SeekFrom::Start(5 << 20)).unwrap();
    sparse.write_all(b"data after a hole").unwrap();
    sparse.set_len(20 << 20).unwrap();
    sparse.write_all_at(&noise("x", 70_000), 9 << 20).unwrap();
    let _ = UnixListener::bind(root.join("socket")).unwrap();
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    rustix::fs::mknodat(CWD, root.join("zero"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 5))
        .unwrap();
    std::os::unix::fs::lchown(root.join("a/link"), Some(5), Some(6)).unwrap();
    std::os::unix::fs::chown(root.join("a/b"), Some(70_000), Some(0)).unwrap();
    set(&root.join("a/b"), "trusted.overlay.opaque", b"y");
    set(&root.join("a/text"), "security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    set(&root.join("a/text"), "user.note", &noise("note", 3000));
    set(&root.join("zero"), "trusted.t", b"on a device");
    set(&root.join("a/link"), "trusted.t", b"on a link");
    fs::set_permissions(root.join("a/b/small"), std::os::unix::fs::PermissionsExt::from_mode(0o4751)).unwrap();
    for path in ["a/text", "a/b/c", "a/b", "sparse", ""] {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000 + path.len() as u64);
        File::open(root.join(path)).unwrap().set_modified(time).unwrap();
    }
}

#[test]
fn a_directory_survives_packing_and_extracting() {
    if !is_root() {
        return;
    }
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(source.path());
    let (file, summary) = pack(source.path(), options(2));
    assert_eq!(pack(source.path(), options(1)).1.file_digest, summary.file_digest);
    assert!(summary.bytes < 500_000, "holes are not stored");
    let (expected, reader) = (disk_tree(source.path()), open(&file));
    assert!(tree(&reader) == expected);
    let report = verify(&reader).unwrap();
    assert_eq!((report.paths, report.inodes), (expected.len() as u64, expected.len() as u64 - 1));
    let extracted = extract(&reader, File::open(target.path()).unwrap(), &ExtractOptions::default()).unwrap();
    assert_eq!(extracted.entries, expected.len() as u64);
    assert!(disk_tree(target.path()) == expected);
    let sparse = fs::metadata(target.path().join("sparse")).unwrap();
    assert!(std::os::unix::fs::MetadataExt::blocks(&sparse) < 2000, "holes stay holes");
}

#[test]
fn everything_is_extracted_as_it_is() {
    if !is_root() {
        return;
    }
    let target = tempfile::tempdir().unwrap();
    let (file, _) = write(options(2), everything);
    verify(&open(&file)).unwrap();
    extract(&open(&file), File::open(target.path()).unwrap(), &ExtractOptions::default()).unwrap();
    assert!(disk_tree(target.path()) == tree(&open(&file)));
}

#[test]
fn deep_trees_are_extracted() {
    let target = tempfile::tempdir().unwrap();
    let deep = ["a-name-of-some-length"; 300].join("/");
    let (file, _) = write(options(1), |writer| {
        writer.add_file(deep.as_bytes(), &metadata(0o644), &mut &b"deep"[..]).unwrap();
    });
    let options = ExtractOptions { owners: Owners::Ignore, ..ExtractOptions::default() };
    let extracted = extract(&open(&file), File::open(target.path()).unwrap(), &options).unwrap();
    assert_eq!(extracted.entries, 301);
    let (again, _) = pack(target.path(), crate::support::options(1));
    assert!(open(&again).lookup(deep.as_bytes()).unwrap().is_some());
}

#[test]
fn extraction_does_not_follow_links_out_of_the_directory() {
    let (target, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(outside.path(), target.path().join("d")).unwrap();
    fs::create_dir(target.path().join("e")).unwrap();
    symlink(outside.path().join("made"), target.path().join("e/file")).unwrap();
    let options = ExtractOptions { owners: Owners::Ignore, ..ExtractOptions::default() };
    for path in [b"d/file".as_slice(), b"d/e/f", b"e/file"] {
        let (file, _) = write(crate::support::options(1), |writer| {
            writer.add_file(path, &metadata(0o644), &mut &b"escaped"[..]).unwrap();
        });
        let result = extract(&open(&file), File::open(target.path()).unwrap(), &options);
        assert!(result.is_err(), "{}", path.escape_ascii());
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn stacks_are_extracted_as_they_look() {
    let target = tempfile::tempdir().unwrap();
    let layer = |fill: &dyn Fn(&mut hypr_squash::Writer)| Arc::new(open(&write(options(1), fill).0));
    let lower = layer(&|writer| {
        writer.add_file(b"kept", &metadata(0o644), &mut &b"kept"[..]).unwrap();
        writer.add_hard_link(b"kept2", b"kept").unwrap();
        writer.add_file(b"gone", &metadata(0o644), &mut &b"gone"[..]).unwrap();
    });
    let upper = layer(&|writer| {
        writer.add_special(b"gone", &metadata(0), Special::CharDevice { major: 0, minor: 0 }).unwrap();
        writer.add_file(b"new", &metadata(0o600), &mut &b"new"[..]).unwrap();
    });
    let options = ExtractOptions { owners: Owners::Ignore, ..ExtractOptions::default() };
    extract_overlay(&Overlay::new(vec![lower, upper]), File::open(target.path()).unwrap(), &options).unwrap();
    let found = disk_tree(target.path());
    let paths: Vec<_> = found.iter().map(|(path, entry)| (path.as_slice(), entry.first.as_slice())).collect();
    let expected: [(&[u8], &[u8]); 4] = [(b"", b""), (b"kept", b"kept"), (b"kept2", b"kept"), (b"new", b"new")];
    assert_eq!(paths, expected);
}

#[test]
fn opaque_directories_can_be_marked_for_unprivileged_mounts() {
    if !is_root() {
        return;
    }
    let target = tempfile::tempdir().unwrap();
    let xattrs = Xattrs::from([(b"trusted.overlay.opaque".to_vec(), b"y".to_vec())]);
    let (file, _) = write(options(1), |writer| {
        writer.add_directory(b"d", &Metadata { xattrs, ..metadata(0o755) }).unwrap();
    });
    let options =
        ExtractOptions { overlay_names: OverlayNames::User, denied: Denied::Skip, ..ExtractOptions::default() };
    extract(&open(&file), File::open(target.path()).unwrap(), &options).unwrap();
    let found = disk_tree(target.path());
    assert_eq!(
        found[b"d".as_slice()].metadata.xattrs,
        Xattrs::from([(b"user.overlay.opaque".to_vec(), b"y".to_vec())])
    );
    assert_eq!(found[b"d".as_slice()].kind, Kind::Directory);
}
