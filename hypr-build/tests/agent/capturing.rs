//! Captures of upper directories, read back by another implementation of tar.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::{
        fd::AsFd,
        unix::{
            fs::{PermissionsExt, symlink},
            net::UnixListener,
        },
    },
    path::Path,
};

use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, setxattr, utimensat};

use crate::{
    baseline::Baseline,
    capture::{Error, Options, Summary, capture},
    marks::Marks,
};

/// A member as the `tar` crate sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    path: String,
    kind: ::tar::EntryType,
    link: Option<String>,
    data: Vec<u8>,
    xattrs: Vec<(String, Vec<u8>)>,
    mtime: i64,
    mode: u32,
}

fn archive(dir: &Path, marks: Marks, baseline: &Baseline, skip: &[Vec<u8>]) -> Result<(Summary, Vec<u8>), Error> {
    let upper = File::open(dir).unwrap();
    let mut bytes = Vec::new();
    let summary = capture(upper.as_fd(), &Options { marks, baseline, skip }, &mut bytes)?;
    Ok((summary, bytes))
}

fn entries(archive: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for entry in ::tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut xattrs = Vec::new();
        let mut mtime = i64::try_from(entry.header().mtime().unwrap()).unwrap();
        for record in entry.pax_extensions().unwrap().into_iter().flatten() {
            let record = record.unwrap();
            let key = record.key().unwrap();
            if key == "mtime" {
                mtime = record.value().unwrap().parse().unwrap();
            }
            if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                xattrs.push((name.to_owned(), record.value_bytes().to_vec()));
            }
        }
        let link = entry.link_name_bytes().map(|link| String::from_utf8(link.into_owned()).unwrap());
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        let (kind, mode) = (entry.header().entry_type(), entry.header().mode().unwrap());
        entries.push(Entry { path, kind, link, data, xattrs, mtime, mode });
    }
    entries
}

fn captured(dir: &Path) -> Vec<Entry> {
    entries(&archive(dir, Marks::Trusted, &Baseline::default(), &[]).unwrap().1)
}

fn paths(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.path.as_str()).collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn entries_come_in_bytewise_order_of_full_paths() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/c")).unwrap();
    for name in ["a-b", "a.x", "a0", "a/c/d", "a/b", "A", "a/c-"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    let entries = captured(dir.path());
    assert_eq!(paths(&entries), ["./", "A", "a/", "a-b", "a.x", "a/b", "a/c/", "a/c-", "a/c/d", "a0"]);
    assert_eq!(entries[8].data, b"a/c/d");
}

#[test]
fn the_data_of_a_hard_link_is_under_its_first_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    fs::write(dir.path().join("z"), "data").unwrap();
    fs::hard_link(dir.path().join("z"), dir.path().join("a/y")).unwrap();
    fs::hard_link(dir.path().join("z"), dir.path().join("a-")).unwrap();
    symlink("nowhere", dir.path().join("s1")).unwrap();
    fs::hard_link(dir.path().join("s1"), dir.path().join("s2")).unwrap();
    let entries = captured(dir.path());
    assert_eq!(paths(&entries), ["./", "a/", "a-", "a/y", "s1", "s2", "z"]);
    assert_eq!(entries[2].data, b"data");
    for index in [3, 6] {
        assert_eq!((entries[index].kind, entries[index].link.as_deref()), (::tar::EntryType::Link, Some("a-")));
    }
    assert_eq!(entries[4].link.as_deref(), Some("nowhere"));
    assert_eq!((entries[5].kind, entries[5].link.as_deref()), (::tar::EntryType::Link, Some("s1")));
}

#[test]
fn modes_times_and_long_names_survive() {
    let dir = tempfile::tempdir().unwrap();
    let long = "n".repeat(255);
    let path = dir.path().join(&long);
    fs::write(&path, "x").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
    let early = Timespec { tv_sec: -5, tv_nsec: 0 };
    utimensat(CWD, &path, &Timestamps { last_access: early, last_modification: early }, rustix::fs::AtFlags::empty())
        .unwrap();
    let target = "t".repeat(3000);
    symlink(&target, dir.path().join("link")).unwrap();
    setxattr(&path, "user.mime", b"some\0bytes", XattrFlags::empty()).unwrap();
    let entries = captured(dir.path());
    assert_eq!(paths(&entries), ["./", "link", &long]);
    assert_eq!(entries[1].link.as_deref(), Some(target.as_str()));
    assert_eq!((entries[2].mode, entries[2].mtime), (0o4751, -5));
    assert_eq!(entries[2].xattrs, [("user.mime".to_owned(), b"some\0bytes".to_vec())]);
}

#[test]
fn sockets_are_left_out_and_pipes_are_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(dir.path().join("socket")).unwrap();
    mknodat(CWD, dir.path().join("pipe"), FileType::Fifo, Mode::from(0o640), 0).unwrap();
    let (summary, bytes) = archive(dir.path(), Marks::Trusted, &Baseline::default(), &[]).unwrap();
    assert_eq!(summary, Summary { entries: 2, sockets: 1, first_socket: b"socket".to_vec() });
    let entries = entries(&bytes);
    assert_eq!(paths(&entries), ["./", "pipe"]);
    assert_eq!((entries[1].kind, entries[1].mode), (::tar::EntryType::Fifo, 0o640));
}

#[test]
fn a_link_in_place_of_a_directory_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    symlink("/etc", dir.path().join("etc")).unwrap();
    let entries = captured(dir.path());
    assert_eq!(paths(&entries), ["./", "etc"]);
    assert_eq!(entries[1].kind, ::tar::EntryType::Symlink);
}

#[test]
fn a_tree_deeper_than_the_limit_of_open_files_is_captured() {
    let dir = tempfile::tempdir().unwrap();
    let mut current = rustix::fs::open(dir.path(), rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&current, "d", Mode::from(0o755)).unwrap();
        current = rustix::fs::openat(&current, "d", rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    fs::write(dir.path().join("e"), "after").unwrap();
    let entries = captured(dir.path());
    assert_eq!(entries.len(), 3002);
    assert_eq!(entries[3000].path.len(), 6000);
    assert_eq!(entries[3001].path, "e");
}

#[test]
fn holes_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::create(dir.path().join("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    file.seek(SeekFrom::Start(1 << 30)).unwrap();
    file.write_all(&[7; 5000]).unwrap();
    let hole = File::create(dir.path().join("hole")).unwrap();
    hole.set_len(1 << 30).unwrap();
    let (_, bytes) = archive(dir.path(), Marks::Trusted, &Baseline::default(), &[]).unwrap();
    assert!(bytes.len() < 64 * 1024, "{}", bytes.len());
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("GNU.sparse.realsize=1099511627776\n"));
    assert!(text.contains("2\n1073741824\n8192\n1099511627776\n0\n"), "a map of one segment of whole blocks");
}

#[test]
fn gnu_tar_reads_sparse_members() {
    let dir = tempfile::tempdir().unwrap();
    let upper = dir.path().join("upper");
    fs::create_dir(&upper).unwrap();
    let mut file = File::create(upper.join("sparse")).unwrap();
    for index in 0..3u64 {
        file.seek(SeekFrom::Start(index << 20)).unwrap();
        file.write_all(format!("data {index}").as_bytes()).unwrap();
    }
    file.set_len(5 << 20).unwrap();
    let (_, bytes) = archive(&upper, Marks::Trusted, &Baseline::default(), &[]).unwrap();
    fs::write(dir.path().join("changes.tar"), bytes).unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let status = std::process::Command::new("tar").arg("-xf").arg("../changes.tar").current_dir(&out).status().unwrap();
    assert!(status.success());
    assert!(fs::read(out.join("sparse")).unwrap() == fs::read(upper.join("sparse")).unwrap());
}

#[test]
fn the_reader_of_layers_understands_captures() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::create(dir.path().join("sparse")).unwrap();
    for index in [0, 3, 4] {
        file.seek(SeekFrom::Start(index * 300_000)).unwrap();
        file.write_all(format!("data {index}").as_bytes()).unwrap();
    }
    file.set_len(5 << 20).unwrap();
    fs::write(dir.path().join("plain"), "data").unwrap();
    setxattr(dir.path().join("plain"), "user.a=b%3D", b"1\n2", XattrFlags::empty()).unwrap();
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    fs::create_dir(dir.path().join("d".repeat(200))).unwrap();
    fs::write(dir.path().join(&long), "").unwrap();
    let (_, bytes) = archive(dir.path(), Marks::Trusted, &Baseline::default(), &[]).unwrap();

    let mut archive = hypr_squash::tar::Archive::new(&*bytes, hypr_squash::tar::EndMarker::Required);
    let mut found = Vec::new();
    while let Some(entry) = archive.next_entry().unwrap() {
        let path = String::from_utf8(entry.path).unwrap();
        let mut data = Vec::new();
        archive.data().read_to_end(&mut data).unwrap();
        assert!(data.is_empty() || data == fs::read(dir.path().join(&path)).unwrap(), "{path}");
        if path == "plain" {
            assert_eq!(entry.metadata.xattrs.get(&b"user.a=b%3D"[..]).unwrap(), b"1\n2");
        }
        found.push((path, data.len()));
    }
    let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["", &"d".repeat(200), &long, "plain", "sparse"]);
    assert_eq!(found[4].1, 5 << 20);
}

#[test]
fn what_the_process_did_not_touch_is_no_change() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("etc/deep")).unwrap();
    fs::create_dir_all(dir.path().join("var/run")).unwrap();
    fs::create_dir(dir.path().join("proc")).unwrap();
    fs::write(dir.path().join("etc/hosts"), "").unwrap();
    let baseline = Baseline::record(File::open(dir.path()).unwrap().as_fd()).unwrap();
    let paths = || {
        let (_, bytes) = archive(dir.path(), Marks::Trusted, &baseline, &[b"skipped".to_vec()]).unwrap();
        entries(&bytes).into_iter().map(|entry| entry.path).collect::<Vec<_>>()
    };
    assert_eq!(paths(), ["./"]);
    fs::create_dir_all(dir.path().join("skipped/away")).unwrap();
    fs::write(dir.path().join("etc/deep/new"), "").unwrap();
    assert_eq!(paths(), ["./", "etc/", "etc/deep/", "etc/deep/new"]);
    fs::remove_file(dir.path().join("etc/deep/new")).unwrap();
    fs::set_permissions(dir.path().join("var/run"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(paths(), ["./", "etc/", "etc/deep/", "var/", "var/run/"]);
}

#[test]
fn whiteouts_are_alike_and_marks_are_mapped_by_root() {
    if !is_root() {
        return eprintln!("skipped: only root makes devices and trusted attributes");
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    mknodat(CWD, at("gone1"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    fs::hard_link(at("gone1"), at("gone2")).unwrap();
    mknodat(CWD, at("null"), FileType::CharacterDevice, Mode::from(0o666), makedev(1, 3)).unwrap();
    mknodat(CWD, at("disk"), FileType::BlockDevice, Mode::from(0o600), makedev(259, 70_000)).unwrap();
    for name in ["opaque", "forged"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("whiteout"), "").unwrap();
    let set = |name: &str, key: &str, value: &[u8]| setxattr(at(name), key, value, XattrFlags::empty()).unwrap();
    set("opaque", "trusted.overlay.opaque", b"y");
    set("opaque", "trusted.overlay.origin", b"somewhere");
    set("opaque", "trusted.overlay.impure", b"y");
    set("forged", "user.overlay.opaque", b"y");
    set("forged", "trusted.other", b"kept");
    set("whiteout", "user.overlay.whiteout", b"");
    let opaque = vec![("trusted.overlay.opaque".to_owned(), b"y".to_vec())];

    let entries = captured(dir.path());
    assert_eq!(paths(&entries), ["./", "disk", "forged/", "gone1", "gone2", "null", "opaque/", "whiteout"]);
    assert_eq!(entries[2].xattrs, [("trusted.other".to_owned(), b"kept".to_vec())]);
    for index in [3, 4] {
        assert_eq!((entries[index].kind, entries[index].mtime), (::tar::EntryType::Char, 0));
    }
    assert_eq!(entries[6].xattrs, opaque);
    assert_eq!(entries[7].kind, ::tar::EntryType::Regular);

    let (_, bytes) = archive(dir.path(), Marks::User, &Baseline::default(), &[]).unwrap();
    let entries = self::entries(&bytes);
    assert_eq!(entries[2].xattrs, [("trusted.other".to_owned(), b"kept".to_vec()), opaque[0].clone()]);
    assert_eq!(entries[6].xattrs, []);
    assert_eq!(entries[7].kind, ::tar::EntryType::Char);

    set("opaque", "trusted.overlay.redirect", b"/elsewhere");
    let error = archive(dir.path(), Marks::Trusted, &Baseline::default(), &[]).unwrap_err();
    insta::assert_snapshot!(error, @"/opaque refers to a lower layer (trusted.overlay.redirect), which a layer cannot");
}
