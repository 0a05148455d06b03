//! What becomes of an archive in an image.

use std::sync::Arc;

use super::super::{Builder, WriteOptions, write};
use super::super::{EntryKind, Fault, Loss, ReadOptions, Stats, WarningKind, Whiteouts, unpack_into};
use crate::testing::{WHITEOUT, archive, file, image, listing, metadata, opaque, paths};
use crate::{Error, Options, Overlay, Reader, Special, Writer};

const OCI: ReadOptions = ReadOptions {
    whiteouts: Whiteouts::Oci,
    end_marker: super::super::EndMarker::Required,
    loss: Loss::Warn,
    destination: Vec::new(),
    owner: None,
    max_file_size: 1 << 40,
    max_holes: 64 << 30,
};

fn unpack_with(tar: &[u8], options: &ReadOptions) -> Result<(Overlay, Stats), Error> {
    let file = tempfile::tempfile().unwrap();
    let mut writer = Writer::create(file.try_clone().unwrap(), Options::default())?;
    let stats = unpack_into(&mut writer, tar, options)?;
    writer.finish()?;
    Ok((Overlay::part(vec![Arc::new(Reader::open(file)?)]), stats))
}

fn unpack(entries: &[(&str, EntryKind, &[u8])]) -> Result<Vec<String>, Fault> {
    match unpack_with(&archive(entries), &OCI) {
        Ok((overlay, _)) => Ok(listing(&overlay)[1..].to_vec()),
        Err(Error::Tar(error)) => Err(error.fault),
        Err(other) => panic!("{other}"),
    }
}

fn dir() -> EntryKind {
    EntryKind::Directory
}

fn symlink(target: &str) -> EntryKind {
    EntryKind::Symlink { target: target.into() }
}

fn hard_link(target: &str) -> EntryKind {
    EntryKind::HardLink { target: target.into() }
}

#[test]
fn later_entries_replace_earlier_ones() {
    let lines = unpack(&[
        ("f", file(b"old"), b"old"),
        ("l", hard_link("f"), b""),
        ("f", file(b"new"), b"new"),
        ("d/x", file(b""), b""),
        ("d", dir(), b""),
        ("e/y", file(b""), b""),
        ("e", file(b"now a file"), b"now a file"),
        ("s", symlink("d"), b""),
        ("s", dir(), b""),
    ]);
    let expected = [
        "d d644 1:2 3",
        "d/x f644 1:2 3",
        "e f644 1:2 3 now a file",
        "f f644 1:2 3 new",
        "l f644 1:2 3 old",
        "s d644 1:2 3",
    ];
    assert_eq!(lines.unwrap(), expected);
}

#[test]
fn parents_nobody_named_are_implied() {
    assert_eq!(unpack(&[("a/b", file(b""), b"")]).unwrap(), ["a d755 0:0 0", "a/b f644 1:2 3"]);
}

#[test]
fn links_on_the_way_are_followed_inside_of_the_archive() {
    let lines = unpack(&[
        ("usr/lib", dir(), b""),
        ("lib", symlink("usr/lib"), b""),
        ("lib/x", file(b"x"), b"x"),
        ("out", symlink("../../../usr"), b""),
        ("out/y", file(b"y"), b"y"),
        ("gone", symlink("/nowhere/else"), b""),
        ("gone/z", file(b"z"), b"z"),
        ("h", hard_link("lib/x"), b""),
    ]);
    let expected = [
        "gone l777 1:2 3 /nowhere/else",
        "h f644 1:2 3 x",
        "lib l777 1:2 3 usr/lib",
        "nowhere d755 0:0 0",
        "nowhere/else d755 0:0 0",
        "nowhere/else/z f644 1:2 3 z",
        "out l777 1:2 3 ../../../usr",
        "usr d755 0:0 0",
        "usr/lib d644 1:2 3",
        "usr/lib/x f644 1:2 3 x = h",
        "usr/y f644 1:2 3 y",
    ];
    assert_eq!(lines.unwrap(), expected);
}

#[test]
fn entries_with_no_place_are_refused() {
    let fault = |entries: &[(&str, EntryKind, &[u8])]| unpack(entries).expect_err("there is no place for an entry");
    assert!(matches!(fault(&[("f", file(b""), b""), ("f/x", file(b""), b"")]), Fault::NotADirectory(_)));
    assert!(matches!(fault(&[("l", symlink("l"), b""), ("l/x", file(b""), b"")]), Fault::SymlinkLoop));
    assert!(matches!(fault(&[("l", hard_link("missing"), b"")]), Fault::LinkTarget(_)));
    assert!(matches!(fault(&[("l", hard_link("l"), b"")]), Fault::LinkTarget(_)));
    assert!(matches!(fault(&[("f", file(b""), b""), ("f", hard_link("f"), b"")]), Fault::LinkTarget(_)));
    assert!(matches!(fault(&[("d/f", file(b""), b""), ("d", hard_link("d/f"), b"")]), Fault::LinkTarget(_)));
    assert!(matches!(fault(&[("d", dir(), b""), ("l", hard_link("d"), b"")]), Fault::LinkToDirectory(_)));
    assert!(matches!(fault(&[("l", hard_link("/"), b"")]), Fault::LinkToDirectory(_)));
    assert!(matches!(fault(&[("c", EntryKind::Special(WHITEOUT), b"")]), Fault::ForeignWhiteout));
    for name in [".wh.", ".wh..", "d/.wh..."] {
        assert!(matches!(fault(&[(name, file(b""), b"")]), Fault::EmptyWhiteout), "{name}");
    }
}

#[test]
fn whiteouts_speak_of_lower_layers_only() {
    let device = "CharDevice { major: 0, minor: 0 }";
    let gone = |path: &str| format!("{path} s0 0:0 0 {device}");
    let lines = unpack(&[
        (".wh.gone", file(b""), b""),
        ("d/.wh..wh..opq", file(b""), b""),
        ("d", dir(), b""),
        // In both orders, what the layer has itself stays.
        (".wh.a", file(b""), b""),
        ("a", dir(), b""),
        ("b", dir(), b""),
        (".wh.b", file(b""), b""),
        (".wh.f", file(b""), b""),
        ("f", file(b"1"), b"1"),
        ("g", file(b"2"), b"2"),
        (".wh.g", file(b""), b""),
        (".wh.p", file(b""), b""),
        ("p/q", file(b"3"), b"3"),
        (".wh..wh.plnk", dir(), b""),
        ("dev/.wh.null", file(b""), b""),
    ]);
    let mark = "trusted.overlay.opaque=y";
    let expected = [
        format!("a d644 1:2 3 {mark}"),
        format!("b d644 1:2 3 {mark}"),
        format!("d d644 1:2 3 {mark}"),
        "dev d755 0:0 0".to_owned(),
        gone("dev/null"),
        "f f644 1:2 3 1".to_owned(),
        "g f644 1:2 3 2".to_owned(),
        gone("gone"),
        format!("p d755 0:0 0 {mark}"),
        "p/q f644 1:2 3 3".to_owned(),
    ];
    assert_eq!(lines.unwrap(), expected);
}

#[test]
fn attributes_of_the_machine_and_of_overlayfs_stay_outside() {
    let mut given = metadata(0o644);
    for name in [
        "security.capability",
        "security.selinux",
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "user.overlay.opaque",
        "user.kept",
        "trusted.kept",
        "system.posix_acl_access",
        "system.other",
    ] {
        given.xattrs.insert(name.into(), b"y".to_vec());
    }
    let mut builder = Builder::new(Vec::new());
    for path in [b"a", b"b"] {
        builder.append(path, &given, &EntryKind::Directory, &mut std::io::empty()).unwrap();
    }
    let tar = builder.finish().unwrap();
    let (overlay, stats) = unpack_with(&tar, &OCI).unwrap();
    assert_eq!(listing(&overlay)[1], "a d644 1:2 3 security.capability=y trusted.kept=y user.kept=y");
    let warnings: Vec<_> =
        stats.warnings.iter().map(|warning| (warning.kind, &warning.path[..], warning.count)).collect();
    assert_eq!(warnings, [(WarningKind::Xattr, &b"a"[..], 2), (WarningKind::Acl, b"a", 2)]);
    let (overlay, _) = unpack_with(&tar, &ReadOptions { whiteouts: Whiteouts::Overlay, ..OCI }).unwrap();
    let expected = "a d644 1:2 3 security.capability=y trusted.kept=y trusted.overlay.opaque=y user.kept=y";
    assert_eq!(listing(&overlay)[1], expected);
    let strict = unpack_with(&tar, &ReadOptions { loss: Loss::Refuse, ..OCI });
    assert!(matches!(strict, Err(Error::Tar(error)) if matches!(error.fault, Fault::Xattr { .. })));
}

#[test]
fn destination_and_owner_can_be_chosen() {
    let tar = archive(&[("/", dir(), b""), ("l", symlink("/t"), b""), ("l/x", file(b"x"), b"x")]);
    let options = ReadOptions { destination: b"opt/app".to_vec(), owner: Some((8, 9)), ..OCI };
    let (overlay, stats) = unpack_with(&tar, &options).unwrap();
    let expected = [
        " d755 0:0 0",
        "opt d755 0:0 0",
        "opt/app d644 8:9 3",
        "opt/app/l l777 8:9 3 /t",
        "opt/app/t d755 0:0 0",
        "opt/app/t/x f644 8:9 3 x",
    ];
    assert_eq!(listing(&overlay), expected);
    assert_eq!(stats.entries, 3);
}

#[test]
fn files_over_the_limit_are_refused_unread() {
    let tar = archive(&[("f", file(b"12345"), b"12345")]);
    let outcome = unpack_with(&tar, &ReadOptions { max_file_size: 4, ..OCI });
    assert!(matches!(outcome, Err(Error::Tar(error)) if matches!(error.fault, Fault::TooLarge { size: 5, limit: 4 })));
}

#[test]
fn holes_are_bounded_over_the_whole_archive() {
    let tar = [0u64, 1].map(|number| super::hole(format!("h{number}").as_bytes(), 1000)).concat();
    let tar = [&tar[..], &[0; 1024]].concat();
    let (overlay, _) = unpack_with(&tar, &ReadOptions { max_holes: 2000, ..OCI }).unwrap();
    assert_eq!(overlay.lookup(b"h1").unwrap().unwrap().size(), 1000);
    let outcome = unpack_with(&tar, &ReadOptions { max_holes: 1999, ..OCI });
    assert!(matches!(outcome, Err(Error::Tar(error)) if matches!(error.fault, Fault::Holes { limit: 1999 })));
}

#[test]
fn mutated_layers_make_sound_images_or_none() {
    let seed = archive(&[
        ("d", dir(), b""),
        ("d/f", file(b"content"), b"content"),
        ("d/l", symlink("f"), b""),
        ("d/.wh.x", file(b""), b""),
        ("d/.wh..wh..opq", file(b""), b""),
        ("s", symlink("/d"), b""),
        ("s/h", hard_link("d/f"), b""),
        ("s/e/g", file(b""), b""),
        ("p", EntryKind::Special(Special::Fifo), b""),
    ]);
    let values = [0, b'/', b'.', b'd', b's', b'w', b'h', b'x', b'0', b'1', b'2', b'3', b'5', b'6', b'7'];
    let options = Options { threads: std::num::NonZeroUsize::MIN, ..Options::default() };
    let mut random = super::mutation::Random::new();
    let mut sound = 0;
    for _ in 0..1500 {
        let mut tar = seed.clone();
        for _ in 0..=random.next(3) {
            // Names, types and link targets are what makes the difference.
            let header = random.next(tar.len() / 512 - 2) * 512;
            let at = [random.next(10), 156, 157 + random.next(6)][random.next(3)];
            tar[header + at] = values[random.next(values.len())];
        }
        tar.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar").for_each(super::reseal);
        let image = tempfile::tempfile().unwrap();
        let mut writer = Writer::create(image.try_clone().unwrap(), options.clone()).unwrap();
        if unpack_into(&mut writer, &tar[..], &OCI).is_ok() {
            writer.finish().unwrap();
            crate::verify(&Reader::open(image).unwrap()).unwrap();
            sound += 1;
        }
    }
    assert!(sound > 100, "{sound}");
}

#[test]
fn a_truncated_file_names_its_entry() {
    let content = vec![b'c'; 5000];
    let tar = archive(&[("first", file(&content), &content)]);
    match unpack_with(&tar[..3000], &OCI) {
        Err(Error::Tar(error)) => {
            assert!(matches!(error.fault, Fault::Truncated { at: 3000 }));
            assert_eq!(error.to_string(), "bad tar archive, entry `first` at byte 0");
        }
        other => panic!("{other:?}"),
    }
}

/// A layer with one of everything.
fn layer() -> Arc<Reader> {
    image(|writer| {
        writer.add_directory(b"", &metadata(0o755))?;
        writer.add_directory(b"d", &opaque(0o700))?;
        writer.add_special(b"d/gone", &metadata(0), WHITEOUT)?;
        writer.add_file(b"d/!early", &metadata(0o600), &mut &b"early"[..])?;
        writer.add_file(b"z", &metadata(0o4755), &mut &vec![b'z'; 300_000][..])?;
        writer.add_hard_link(b"h", b"z")?;
        writer.add_symlink(b"s", &metadata(0o777), b"/d")?;
        writer.add_special(b"p", &metadata(0o600), Special::Fifo)?;
        writer.add_special(b"c", &metadata(0o600), Special::CharDevice { major: 5, minor: 1 })?;
        Ok(())
    })
}

#[test]
fn a_layer_survives_the_way_through_tar_in_both_notations() {
    let source = Overlay::part(vec![layer()]);
    for whiteouts in [Whiteouts::Oci, Whiteouts::Overlay] {
        let mut tar = Vec::new();
        write(&source, &mut tar, &WriteOptions { whiteouts, clamp_mtime: None }).unwrap();
        let (overlay, _) = unpack_with(&tar, &ReadOptions { whiteouts, ..OCI }).unwrap();
        let mut expected = listing(&source);
        if whiteouts == Whiteouts::Oci {
            // Whiteouts have no metadata there.
            expected.iter_mut().for_each(|line| *line = line.replace("d/gone s0 1:2 3", "d/gone s0 0:0 0"));
        }
        assert_eq!(listing(&overlay), expected);
        let mut again = Vec::new();
        write(&overlay, &mut again, &WriteOptions { whiteouts, clamp_mtime: None }).unwrap();
        assert!(whiteouts == Whiteouts::Overlay || again == tar);
    }
}

#[test]
fn archives_are_in_walk_order_with_deletions_first() {
    let mut tar = Vec::new();
    write(&Overlay::part(vec![layer()]), &mut tar, &WriteOptions { clamp_mtime: Some(2), ..WriteOptions::default() })
        .unwrap();
    let entries = super::read_all(&tar).unwrap();
    let names: Vec<_> = entries.iter().map(|(entry, _)| entry.path.escape_ascii().to_string()).collect();
    assert_eq!(names, ["", "c", "d", "d/.wh..wh..opq", "d/.wh.gone", "d/!early", "h", "p", "s", "z"]);
    assert!(entries.iter().all(|(entry, _)| entry.metadata.mtime <= 2));
    assert_eq!(entries[6].0.kind, EntryKind::File { size: 300_000 });
    assert_eq!(entries[9].0.kind, EntryKind::HardLink { target: b"h".to_vec() });
}

#[test]
fn names_and_deletions_without_a_form_are_refused() {
    let odd = image(|writer| writer.add_file(b"d/.wh.x", &metadata(0o644), &mut &b""[..]).map(drop));
    let mut out = Vec::new();
    let oci = WriteOptions::default();
    assert!(matches!(write(&Overlay::new(vec![odd.clone()]), &mut out, &oci), Err(Error::Unsupported { .. })));
    let plain = WriteOptions { whiteouts: Whiteouts::None, ..oci };
    assert!(matches!(write(&Overlay::part(vec![layer()]), &mut out, &plain), Err(Error::Unsupported { .. })));
    let mut tar = Vec::new();
    write(&Overlay::new(vec![odd]), &mut tar, &plain).unwrap();
    let (overlay, _) = unpack_with(&tar, &ReadOptions { whiteouts: Whiteouts::None, ..OCI }).unwrap();
    assert_eq!(paths(&overlay), ["d", "d/.wh.x"]);
}
