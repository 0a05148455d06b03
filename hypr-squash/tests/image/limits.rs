//! The limits of the format, from both sides.

use std::fs::File;
use std::io::Read;

use hypr_squash::{Error, Metadata, Piece, Special, Writer, Xattrs};

use crate::oracles::{Mount, is_root};
use crate::support::{file_bytes, metadata, noise, open, options, skipped, tree, write};

/// Has the kernel look up paths of an image.
fn assert_kernel_finds<'a>(image: &File, paths: impl IntoIterator<Item = (&'a str, u32)>) {
    if !is_root() {
        skipped("mounting needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    std::fs::write(&path, file_bytes(image)).unwrap();
    let mount = Mount::new(&path, folder.path().join("mounted")).unwrap();
    for (path, inode) in paths {
        let found = std::os::unix::fs::MetadataExt::ino(&mount.0.join(path).symlink_metadata().unwrap());
        assert_eq!(found, u64::from(inode), "{path}");
    }
}

#[test]
fn ids_up_to_65535_fit_and_one_more_is_refused() {
    let fill = |writer: &mut Writer, count: u32| {
        for id in 0..count {
            let owner = Metadata { uid: id, gid: 0, mtime: 0, ..metadata(0o644) };
            writer.add_special(format!("{id}").as_bytes(), &owner, Special::Fifo).unwrap();
        }
    };
    let (file, _) = write(options(1), |writer| fill(writer, 65_535));
    let reader = open(&file);
    assert_eq!(reader.info().ids, 65_535);
    let last = reader.lookup(b"65534").unwrap().unwrap();
    assert_eq!(last.metadata().unwrap().uid, 65_534);
    assert_kernel_finds(&file, [("65534", last.inode_number())]);
    let mut writer = Writer::create(tempfile::tempfile().unwrap(), options(1)).unwrap();
    fill(&mut writer, 65_536);
    let error = writer.finish().unwrap_err();
    assert_eq!(error.to_string(), "squashfs holds at most 65535 different user and group ids");
}

#[test]
fn a_directory_may_have_a_hundred_thousand_entries() {
    let name = |number: u32| format!("some/entry-{number:06}");
    let (file, summary) = write(options(2), |writer| {
        for number in 0..100_000 {
            writer.add_symlink(name(number).as_bytes(), &metadata(0o777), b"t").unwrap();
        }
        // Its inode number is far from those of its neighbours.
        writer.add_hard_link(b"some/entry-0", b"some/entry-099999").unwrap();
        writer.add_hard_link(b"zzz", b"some/entry-050000").unwrap();
    });
    assert_eq!(summary.inodes, 100_002);
    let reader = open(&file);
    for number in [0, 1, 255, 256, 50_000, 99_999] {
        assert!(reader.lookup(name(number).as_bytes()).unwrap().is_some(), "{number}");
    }
    assert!(reader.lookup(b"some/entry-1").unwrap().is_none());
    let number = |path: &str| reader.lookup(path.as_bytes()).unwrap().unwrap().inode_number();
    let paths = ["some/entry-000000", "some/entry-054321", "some/entry-099999", "some/entry-0", "zzz"];
    assert_kernel_finds(&file, paths.map(|path| (path, number(path))));
    assert_eq!(reader.root().child(b"some").unwrap().unwrap().read_dir().unwrap().len(), 100_001);
    assert_eq!(reader.lookup(b"zzz").unwrap().unwrap().nlink(), 2);
}

#[test]
fn names_and_targets_may_be_as_long_as_kernels_allow() {
    let (name, target) = ([b'n'; 255], [b't'; 4095]);
    let (file, _) = write(options(1), |writer| {
        writer.add_symlink(&name, &metadata(0o777), &target).unwrap();
        writer.add_directory(&[&[b'd'; 255][..], b"/", &name].concat(), &metadata(0o755)).unwrap();
        let long = writer.add_directory(&[b'n'; 256], &metadata(0o755));
        assert!(matches!(long, Err(Error::Path { .. })), "{long:?}");
    });
    let reader = open(&file);
    let link = reader.lookup(&name).unwrap().unwrap();
    assert_eq!(link.kind().unwrap(), hypr_squash::Kind::Symlink { target: target.to_vec() });
    assert!(reader.lookup(&[&[b'd'; 255][..], b"/", &name].concat()).unwrap().is_some());
    hypr_squash::verify(&reader).unwrap();
}

/// One header of a listing serves entries whose inode numbers differ by at most 32,767 from its own.
#[test]
fn links_to_inodes_far_away_are_listed() {
    let (file, _) = write(options(2), |writer| {
        writer.add_file(b"a/first", &metadata(0o644), &mut &b"first"[..]).unwrap();
        for number in 0..70_000 {
            writer.add_special(format!("b/{number:05}").as_bytes(), &metadata(0o600), Special::Fifo).unwrap();
        }
        writer.add_file(b"z/last", &metadata(0o644), &mut &b"last"[..]).unwrap();
        // Next to each other in one listing: an inode from the beginning, its own, and some from afar.
        writer.add_hard_link(b"z/first", b"a/first").unwrap();
        for number in [0, 32_766, 32_767, 32_768, 65_535, 69_999] {
            writer.add_hard_link(format!("z/{number}").as_bytes(), format!("b/{number:05}").as_bytes()).unwrap();
        }
    });
    let reader = open(&file);
    hypr_squash::verify(&reader).unwrap();
    let number = |path: &str| reader.lookup(path.as_bytes()).unwrap().unwrap().inode_number();
    assert_eq!(number("z/first"), number("a/first"));
    for far in [0, 32_766, 32_767, 32_768, 65_535, 69_999] {
        assert_eq!(number(&format!("z/{far}")), number(&format!("b/{far:05}")));
    }
    assert!(number("b/69999") - number("b/00000") > 65_535);
    let paths = ["z/first", "z/last", "z/32767", "z/32768", "z/69999", "b/69999"];
    assert_kernel_finds(&file, paths.map(|path| (path, number(path))));
}

#[test]
fn directories_of_every_count_come_back() {
    for count in [0, 1, 255, 256, 257, 1000] {
        let (file, _) = write(options(1), |writer| {
            writer.add_directory(b"d", &metadata(0o755)).unwrap();
            for number in 0..count {
                writer.add_file(format!("d/{number:04}").as_bytes(), &metadata(0o644), &mut &b"x"[..]).unwrap();
            }
        });
        let reader = open(&file);
        let names: Vec<_> = reader.lookup(b"d").unwrap().unwrap().read_dir().unwrap();
        assert!(names.iter().map(|(name, _)| name.clone()).eq((0..count).map(|n| format!("{n:04}").into_bytes())));
        hypr_squash::verify(&reader).unwrap();
    }
}

#[test]
fn files_may_be_larger_than_four_gibibytes() {
    let hole = 4_u64 << 30;
    let (file, summary) = write(options(1), |writer| {
        let mut content = std::io::repeat(0).take(hole).chain(&b"the end"[..]);
        let info = writer.add_file(b"large", &metadata(0o644), &mut content).unwrap();
        assert_eq!(info.size, hole + 7);
    });
    assert!(summary.bytes <= 8192);
    let node = open(&file).lookup(b"large").unwrap().unwrap();
    let mut content = node.open().unwrap();
    let (mut holes, mut data) = (0, Vec::new());
    while let Some(piece) = content.next_piece().unwrap() {
        match piece {
            Piece::Hole(length) => holes += length as u64,
            Piece::Bytes(bytes) => data.extend_from_slice(bytes),
        }
    }
    assert_eq!((holes, data.as_slice(), node.size()), (hole, &b"the end"[..], hole + 7));
}

#[test]
fn large_attributes_come_back() {
    let set = |name: &str, value: Vec<u8>| Xattrs::from([(name.as_bytes().to_vec(), value)]);
    let large = noise("xattr", 200_000);
    let (file, summary) = write(options(1), |writer| {
        for number in 0..50 {
            let xattrs = set(&format!("user.{number}"), large.clone());
            writer.add_directory(number.to_string().as_bytes(), &Metadata { xattrs, ..metadata(0o755) }).unwrap();
        }
    });
    assert!(summary.bytes < 300_000, "equal values are stored once: {}", summary.bytes);
    let tree = tree(&open(&file));
    for number in 0..50 {
        assert!(tree[number.to_string().as_bytes()].metadata.xattrs == set(&format!("user.{number}"), large.clone()));
    }
}

#[test]
fn entries_that_cannot_be_stored_are_refused_by_name() {
    let mut writer = Writer::create(tempfile::tempfile().unwrap(), options(1)).unwrap();
    let with =
        |name: &[u8], value: Vec<u8>| Metadata { xattrs: Xattrs::from([(name.to_vec(), value)]), ..metadata(0o644) };
    let acl = writer.add_directory(b"acl", &with(b"system.posix_acl_access", vec![1]));
    let bare = writer.add_directory(b"bare", &with(b"user.", vec![1]));
    let huge = writer.add_directory(b"huge", &with(b"user.x", vec![1; 1 << 20]));
    let target = writer.add_symlink(b"target", &metadata(0o777), &[b'x'; 4096]);
    let empty = writer.add_symlink(b"empty", &metadata(0o777), b"");
    let device = writer.add_special(b"device", &metadata(0), Special::CharDevice { major: 4096, minor: 0 });
    for (name, result) in
        [("acl", acl), ("bare", bare), ("huge", huge), ("target", target), ("empty", empty), ("device", device)]
    {
        assert!(
            matches!(&result, Err(Error::Unsupported { path, .. }) if path == name.as_bytes()),
            "{name} {result:?}"
        );
    }
    let path = writer.add_directory(b"a/../b", &metadata(0o755));
    assert!(matches!(path, Err(Error::Path { .. })), "{path:?}");
    assert!(matches!(writer.add_hard_link(b"x", b"missing"), Err(Error::Path { .. })));
    writer.add_directory(b"d", &metadata(0o755)).unwrap();
    assert!(matches!(writer.add_hard_link(b"x", b"d"), Err(Error::Path { .. })));
    assert_eq!(writer.finish().unwrap().inodes, 2, "what was refused is not there");
}
