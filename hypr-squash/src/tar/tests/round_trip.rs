//! What the builder writes, the archive reads.

use proptest::prelude::*;

use super::super::{Archive, Builder, EndMarker, EntryKind};
use super::read_all;
use crate::{Metadata, Special, Xattrs};

fn component() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>().prop_filter("in a name", |byte| !matches!(byte, 0 | b'/')), 1..12),
        (100usize..255).prop_map(|length| vec![b'n'; length]),
    ]
    .prop_filter("names something", |name| name != b"." && name != b"..")
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(component(), 1..4).prop_map(|components| components.join(&b'/'))
}

fn kind() -> impl Strategy<Value = EntryKind> {
    prop_oneof![
        Just(EntryKind::Directory),
        (0u64..2000).prop_map(|size| EntryKind::File { size }),
        path().prop_map(|target| EntryKind::Symlink { target }),
        path().prop_map(|target| EntryKind::HardLink { target }),
        Just(EntryKind::Special(Special::Fifo)),
        (0u32..4096, 0u32..1 << 20).prop_map(|(major, minor)| EntryKind::Special(Special::CharDevice { major, minor })),
        (0u32..4096, 0u32..1 << 20)
            .prop_map(|(major, minor)| EntryKind::Special(Special::BlockDevice { major, minor })),
    ]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let xattrs = proptest::collection::btree_map(
        "[a-z]{1,4}\\.[a-z=%]{1,9}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..300),
        0..3,
    );
    (0u16..0o10000, 0..u32::MAX, 0..u32::MAX, any::<i64>().prop_filter("has a sign", |time| *time != i64::MIN), xattrs)
        .prop_map(|(mode, uid, gid, mtime, xattrs)| Metadata {
            mode,
            uid,
            gid,
            mtime,
            xattrs: xattrs.into_iter().collect(),
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_entry_comes_back(entries in proptest::collection::vec((path(), kind(), metadata()), 0..8)) {
        let mut builder = Builder::new(Vec::new());
        for (path, kind, metadata) in &entries {
            builder.append(path, metadata, kind, &mut std::io::repeat(b'c')).unwrap();
        }
        let tar = builder.finish().unwrap();
        let read = read_all(&tar).unwrap();
        prop_assert_eq!(read.len(), entries.len());
        for ((path, kind, metadata), (entry, content)) in entries.iter().zip(&read) {
            prop_assert_eq!((path, kind, metadata), (&entry.path, &entry.kind, &entry.metadata));
            prop_assert!(content.iter().all(|byte| *byte == b'c'));
            let size = if let EntryKind::File { size } = kind { *size } else { 0 };
            prop_assert_eq!(content.len() as u64, size);
        }
    }
}

#[test]
fn sizes_beyond_the_octal_field_go_into_a_record() {
    // Only the headers: eight gigabytes of content would take long to write.
    let mut tar = Vec::new();
    let kind = EntryKind::File { size: 1 << 33 };
    assert!(Builder::new(&mut tar).append(b"big", &Metadata::default(), &kind, &mut std::io::empty()).is_err());
    let entry = Archive::new(&tar[..], EndMarker::Required).next_entry().unwrap().unwrap();
    assert_eq!(entry.kind, kind);
}

#[test]
fn gnu_tar_and_python_read_what_is_written() {
    let name = [b"d/".as_slice(), &[b'l'; 180], b"/", &[b'm'; 120]].concat();
    let xattrs = Xattrs::from([(b"user.k".to_vec(), b"v\n=\0".to_vec())]);
    let metadata = Metadata { mode: 0o4755, uid: 3_000_000, gid: 7, mtime: -5, xattrs };
    let mut builder = Builder::new(Vec::new());
    builder.append(&name, &metadata, &EntryKind::File { size: 3 }, &mut &b"abc"[..]).unwrap();
    builder.append(b"h", &metadata, &EntryKind::HardLink { target: name.clone() }, &mut std::io::empty()).unwrap();
    let tar = builder.finish().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.tar");
    std::fs::write(&path, tar).unwrap();
    let script = "import sys,tarfile\n\
        for m in tarfile.open(sys.argv[1]):\n\
        \x20print(len(m.name), oct(m.mode), m.uid, m.gid, int(m.mtime), m.size, len(m.linkname), m.isreg())";
    super::foreign::with_tool("python3", &["-c", script, path.to_str().unwrap()], |listing| {
        assert_eq!(listing, "303 0o4755 3000000 7 -5 3 0 True\n1 0o4755 3000000 7 -5 0 303 False\n");
    });
    super::foreign::with_tool("tar", &["-tf", path.to_str().unwrap()], |listing| {
        assert_eq!(listing, format!("{}\nh\n", String::from_utf8(name.clone()).unwrap()));
    });
}
