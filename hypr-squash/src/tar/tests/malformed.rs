//! Archives that must be refused, each for its own reason.

use super::super::{EndMarker, EntryKind, Fault, pax};
use super::{build, file, read_all, read_with, reseal};

fn fault(tar: &[u8]) -> Fault {
    read_all(tar).expect_err("the archive is malformed").fault
}

/// A pax header with these records before an empty file.
fn with_records(records: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        pax::push_record(&mut body, key.as_bytes(), value.as_bytes());
    }
    with_header(b'x', &body)
}

fn with_header(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut tar = build(&[(b"header", file(body), body)]);
    tar[156] = kind;
    reseal(&mut tar);
    tar.truncate(tar.len() - 1024);
    tar.extend(build(&[(b"name", file(b""), b"")]));
    tar
}

#[test]
fn every_cut_is_noticed_and_named() {
    let content = vec![b'c'; 700];
    let tar = build(&[(b"first", file(&content), &content), (b"second", file(b"x"), b"x")]);
    for length in 0..tar.len() {
        let error = read_all(&tar[..length]).unwrap_err();
        assert!(matches!(error.fault, Fault::Truncated { .. } | Fault::NoEnd), "{length}: {error:?}");
        if (513..1536).contains(&length) {
            assert_eq!((error.offset, error.entry.0.as_deref()), (0, Some(&b"first"[..])), "{length}");
        }
    }
    let body = tar.len() - 1024;
    assert_eq!(read_with(&tar[..body], EndMarker::Optional).unwrap().len(), 2);
    assert_eq!(read_with(&tar[..body + 512], EndMarker::Optional).unwrap().len(), 2);
    assert_eq!(read_with(b"", EndMarker::Optional).unwrap().len(), 0);
}

#[test]
fn names_that_lead_outside_are_refused() {
    for name in ["../x", "a/../../x", "/../x", "a/b/../../.."] {
        assert!(matches!(fault(&build(&[(name.as_bytes(), file(b""), b"")])), Fault::ParentReference("name")));
        let link = EntryKind::HardLink { target: name.as_bytes().to_vec() };
        assert!(matches!(fault(&build(&[(b"l", link, b"")])), Fault::ParentReference("link target")));
        assert!(matches!(fault(&with_records(&[("path", name)])), Fault::ParentReference("name")));
    }
    assert!(matches!(fault(&with_records(&[("path", "a\0b")])), Fault::Name("name")));
    assert!(matches!(fault(&build(&[(b"/", file(b""), b"")])), Fault::Root));
    assert!(matches!(fault(&build(&[(b"l", EntryKind::Symlink { target: Vec::new() }, b"")])), Fault::Name(_)));
}

#[test]
fn lengths_are_bounded() {
    assert!(matches!(fault(&with_records(&[("path", &"a/".repeat(2049))])), Fault::TooLong { .. }));
    assert!(matches!(fault(&with_records(&[("linkpath", "x"), ("path", &"a".repeat(256))])), Fault::TooLong { .. }));
    assert!(matches!(fault(&with_records(&[("comment", &"c".repeat(1 << 20))])), Fault::TooLong { .. }));
    assert!(matches!(fault(&with_header(b'L', &[b'l'; 4098])), Fault::TooLong { .. }));
    let target = EntryKind::Symlink { target: vec![b't'; 4096] };
    assert!(matches!(fault(&build(&[(b"l", target, b"")])), Fault::TooLong { .. }));
    // A header that announces more than there is allocates nothing.
    let mut tar = with_header(b'x', b"");
    tar[124..136].copy_from_slice(b"77777777777\0");
    reseal(&mut tar);
    assert!(matches!(fault(&tar), Fault::TooLong { .. }));
}

#[test]
fn sizes_and_ids_out_of_range_are_refused() {
    for (field, value) in [
        (124..136, &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..]),
        (124..136, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
        (108..116, b"\x80\0\0\x01\0\0\0\0"),
        (116..124, b"\x80\0\0\0\xff\xff\xff\xff"),
        (136..148, b"1x345670123\0"),
    ] {
        let mut tar = build(&[(b"name", file(b""), b"")]);
        tar[field.clone()].copy_from_slice(value);
        reseal(&mut tar);
        assert!(matches!(fault(&tar), Fault::Number(_)), "{field:?}");
    }
    assert!(matches!(fault(&with_records(&[("size", "18446744073709551615")])), Fault::Number("size")));
    assert!(matches!(fault(&with_records(&[("uid", "4294967295")])), Fault::Number("user id")));
}

#[test]
fn headers_without_an_entry_or_of_unknown_type_are_refused() {
    let mut tar = with_records(&[("mtime", "1")]);
    tar.truncate(1024);
    tar.extend([0; 1024]);
    assert!(matches!(fault(&tar), Fault::Dangling));
    for kind in [b'D', b'M', b'N', b'A', b'8', 0xff, b'S'] {
        let mut tar = build(&[(b"name", file(b""), b"")]);
        tar[156] = kind;
        reseal(&mut tar);
        assert!(matches!(fault(&tar), Fault::Type(found) if found == kind));
    }
    let mut records = Vec::new();
    pax::push_record(&mut records, b"path", b"everywhere");
    assert!(matches!(fault(&with_header(b'g', &records)), Fault::Pax(_)));
}

#[test]
fn a_lone_block_of_zeros_is_no_end() {
    let mut tar = build(&[(b"name", file(b""), b"")]);
    tar.truncate(1024);
    tar.extend(build(&[(b"more", file(b""), b"")]));
    assert!(matches!(fault(&tar), Fault::Checksum));
}

#[test]
fn what_follows_the_end_is_not_read() {
    let mut tar = build(&[(b"name", file(b""), b"")]);
    tar.extend([b'?'; 700]);
    assert_eq!(read_all(&tar).unwrap().len(), 1);
}

#[test]
fn sparse_maps_that_contradict_themselves_are_refused() {
    let version = |records: &[(&str, &str)]| fault(&with_records(records));
    for records in [
        &[("GNU.sparse.size", "10")][..],
        &[("GNU.sparse.map", "0,5"), ("GNU.sparse.size", "10")],
        &[("GNU.sparse.map", "0"), ("GNU.sparse.size", "10")],
        &[("GNU.sparse.map", "5,0,3,0"), ("GNU.sparse.size", "10")],
        &[("GNU.sparse.map", "11,0"), ("GNU.sparse.size", "10")],
        &[("GNU.sparse.map", "0,0")],
        &[("GNU.sparse.offset", "1"), ("GNU.sparse.offset", "2"), ("GNU.sparse.size", "10")],
        &[("GNU.sparse.numbytes", "1"), ("GNU.sparse.size", "10")],
        &[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "10")],
        &[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "10")],
    ] {
        assert!(matches!(version(records), Fault::Sparse(_)), "{records:?}");
    }
    let huge = with_records(&[("GNU.sparse.map", "0,0"), ("GNU.sparse.size", "18446744073709551615")]);
    assert_eq!(read_all(&huge).unwrap()[0].0.kind, EntryKind::File { size: u64::MAX });
}
