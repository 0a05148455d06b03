//! Unions of small stacks.

use std::sync::Arc;

use super::Overlay;
use crate::testing::{WHITEOUT, image, metadata, opaque, paths};
use crate::{Error, Reader};

fn root_file_system() -> Vec<Arc<Reader>> {
    let lower = image(|writer| {
        writer.add_file(b"usr/lib/libc.so", &metadata(0o644), &mut &b"c"[..])?;
        writer.add_symlink(b"lib", &metadata(0o777), b"usr/lib")?;
        writer.add_symlink(b"old", &metadata(0o777), b"/usr")?;
        writer.add_file(b"etc/passwd", &metadata(0o644), &mut &b"root"[..]).map(drop)
    });
    let upper = image(|writer| {
        writer.add_symlink(b"var/run", &metadata(0o777), b"/run")?;
        writer.add_symlink(b"up", &metadata(0o777), b"../../..//usr/./lib/")?;
        writer.add_symlink(b"loop", &metadata(0o777), b"loop")?;
        writer.add_symlink(b"etc/link", &metadata(0o777), b"passwd")?;
        writer.add_special(b"old", &metadata(0), WHITEOUT)
    });
    vec![lower, upper]
}

#[test]
fn lookups_do_not_follow_links() {
    let overlay = Overlay::new(root_file_system());
    assert!(overlay.lookup(b"lib").unwrap().is_some());
    assert!(overlay.lookup(b"lib/libc.so").unwrap().is_none());
    assert!(overlay.lookup(b"old").unwrap().is_none());
    assert_eq!(overlay.lookup(b"usr/lib/libc.so").unwrap().unwrap().layer(), Some(0));
    assert_eq!(overlay.lookup(b"etc").unwrap().unwrap().layer(), Some(1));
    let expected =
        ["etc", "etc/link", "etc/passwd", "lib", "loop", "up", "usr", "usr/lib", "usr/lib/libc.so", "var", "var/run"];
    assert_eq!(paths(&overlay), expected);
}

#[test]
fn links_are_resolved_inside_of_the_image() {
    let overlay = Overlay::new(root_file_system());
    for (path, base, resolved, exists) in [
        ("/lib/libc.so", "", "usr/lib/libc.so", true),
        ("lib/libc.so", "", "usr/lib/libc.so", true),
        ("../../lib", "etc", "usr/lib", true),
        ("passwd", "etc", "etc/passwd", true),
        ("link", "/etc", "etc/passwd", true),
        ("/etc/./link", "ignored", "etc/passwd", true),
        ("x", "lib", "usr/lib/x", false),
        ("/up/libc.so", "", "usr/lib/libc.so", true),
        ("var/run/x.pid", "", "run/x.pid", false),
        ("/new/a/../b/", "", "new/b", false),
        ("/", "etc", "", true),
        ("", "etc", "etc", true),
        ("..", "", "", true),
    ] {
        let found = overlay.resolve(path.as_bytes(), base.as_bytes()).unwrap();
        assert_eq!(found.path.escape_ascii().to_string(), resolved, "{path} in {base}");
        assert_eq!(found.node.is_some(), exists, "{path} in {base}");
    }
    let parent = overlay.resolve_parent(b"lib", b"").unwrap();
    assert_eq!((&parent.path[..], parent.links.len()), (&b"lib"[..], 0));
    let followed = overlay.resolve_parent(b"/var/run/", b"").unwrap();
    assert_eq!(followed.path, b"run");
    assert_eq!(followed.links, [(b"var/run".to_vec(), b"/run".to_vec())]);
    for path in [&b"loop"[..], b"loop/x", b"etc/passwd/x"] {
        assert!(matches!(overlay.resolve(path, b""), Err(Error::Path { .. })), "{}", path.escape_ascii());
    }
}

#[test]
fn a_part_of_a_stack_shows_what_it_hides() {
    let lower = image(|writer| writer.add_file(b"f", &metadata(0o644), &mut &b""[..]).map(drop));
    let middle = image(|writer| {
        writer.add_special(b"a", &metadata(0), WHITEOUT)?;
        writer.add_special(b"b", &metadata(0), WHITEOUT)?;
        writer.add_directory(b"o", &opaque(0o755))?;
        writer.add_directory(b"f", &metadata(0o755))
    });
    let upper = image(|writer| {
        writer.add_directory(b"a", &metadata(0o755))?;
        writer.add_directory(b"o", &metadata(0o700))
    });
    let overlay = Overlay::part(vec![lower, middle, upper]);
    let marks: Vec<_> = overlay
        .walk()
        .skip(1)
        .map(|visit| {
            let (path, node) = visit.unwrap();
            let marked = node.metadata().unwrap().xattrs.contains_key(&b"trusted.overlay.opaque"[..]);
            assert_eq!(marked, node.is_opaque());
            (path.escape_ascii().to_string(), node.is_whiteout(), marked)
        })
        .collect();
    let expected = [("a", false, true), ("b", true, false), ("f", false, true), ("o", false, true)];
    assert_eq!(marks, expected.map(|(path, whiteout, mark)| (path.to_owned(), whiteout, mark)));
}

#[test]
fn features_that_cannot_be_resolved_are_errors() {
    for name in ["trusted.overlay.redirect", "user.overlay.metacopy", "trusted.overlay.whiteout"] {
        let mut marked = metadata(0o755);
        marked.xattrs.insert(name.into(), b"y".to_vec());
        let layer = image(|writer| writer.add_directory(b"d/e", &marked));
        let overlay = Overlay::new(vec![layer]);
        let error = overlay.walk().find_map(Result::err).expect("the directory is refused");
        assert!(matches!(&error, Error::Merge { path, .. } if path == b"d"), "{error}");
    }
}

#[test]
fn no_layers_are_an_empty_root() {
    let overlay = Overlay::new(Vec::new());
    let root = overlay.root().unwrap();
    assert!(root.is_directory() && root.read_dir().unwrap().is_empty());
    assert_eq!(root.metadata().unwrap().mode, 0o755);
    assert!(root.open().is_err());
    assert_eq!(overlay.resolve(b"/a", b"").unwrap().path, b"a");
}
