//! What is told of a step's changes.

use hypr_build::{Snapshot, executor::Executor};
use tar::EntryType;

use crate::{layers::Workshop, run::Step};

pub(crate) async fn new_changed_and_deleted_entries_are_captured(executor: &dyn Executor, workshop: &Workshop) {
    let snapshot = workshop.busybox_and(|layer| {
        layer.file("srv/old", 0o644, b"old").file("srv/gone", 0o644, b"gone").file("srv/kept", 0o600, b"kept");
    });
    let script = "cd /srv; echo new >new; echo more >>old; rm gone; ln -s new link; mkfifo pipe; mkdir -m 700 dir";
    let recording = Step::shell(&snapshot, script).succeed(executor).await;
    let changes: Vec<_> =
        recording.changes().into_iter().map(|change| (change.path, change.kind, change.mode)).collect();
    let expected = [
        ("srv", EntryType::Directory, 0o755),
        ("srv/dir", EntryType::Directory, 0o700),
        ("srv/gone", EntryType::Char, 0),
        ("srv/link", EntryType::Symlink, 0o777),
        ("srv/new", EntryType::Regular, 0o644),
        ("srv/old", EntryType::Regular, 0o644),
        ("srv/pipe", EntryType::Fifo, 0o644),
    ];
    assert_eq!(changes, expected.map(|(path, kind, mode)| (path.to_owned(), kind, mode)));
}

pub(crate) async fn a_step_that_changes_nothing_has_no_changes(executor: &dyn Executor, workshop: &Workshop) {
    let script = "ls -la / /etc /dev /proc >/dev/null; cat /etc/passwd /etc/hosts >/dev/null; : >/dev/null";
    let recording = Step::shell(&workshop.busybox(), script).succeed(executor).await;
    assert_eq!(recording.paths(), [""; 0]);
    // The end of an archive all the same.
    assert_eq!(recording.changes.len() % 512, 0);
    assert!(recording.changes.len() >= 1024);
}

pub(crate) async fn a_replaced_directory_is_opaque(executor: &dyn Executor, workshop: &Workshop) {
    let snapshot = workshop.busybox_and(|layer| {
        layer.file("srv/data/old", 0o644, b"old");
    });
    let script = "rm -rf /srv/data && mkdir /srv/data && touch /srv/data/new && ls /srv/data";
    let recording = Step::shell(&snapshot, script).succeed(executor).await;
    assert_eq!(recording.text(), "new\n");
    assert_eq!(recording.paths(), ["srv", "srv/data", "srv/data/new"]);
    let mut archive = tar::Archive::new(&recording.changes[..]);
    let mut opaque = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let extensions = entry.pax_extensions().unwrap().into_iter().flatten();
        let keys: Vec<_> = extensions.map(|extension| extension.unwrap().key().unwrap().to_owned()).collect();
        if keys.iter().any(|key| key == "SCHILY.xattr.trusted.overlay.opaque") {
            opaque.push(path);
        }
    }
    assert_eq!(opaque, [std::path::Path::new("srv/data")]);
}

pub(crate) async fn whiteouts_of_lower_layers_are_honoured(executor: &dyn Executor, workshop: &Workshop) {
    let lower = workshop.layer(|layer| {
        layer.file("a/deleted", 0o644, b"").file("a/kept", 0o644, b"").file("b/hidden", 0o644, b"");
    });
    let upper = workshop.layer(|layer| {
        layer.whiteout("a/deleted").opaque_directory("b").file("b/seen", 0o644, b"");
    });
    let snapshot = workshop.busybox().with(lower).with(upper);
    assert_eq!(Step::shell(&snapshot, "ls /a /b").succeed(executor).await.text(), "/a:\nkept\n\n/b:\nseen\n");
}

pub(crate) async fn a_layer_may_be_there_twice(executor: &dyn Executor, workshop: &Workshop) {
    let twice = workshop.layer(|layer| {
        layer.file("srv/file", 0o644, b"twice").whiteout("srv/gone");
    });
    let between = workshop.layer(|layer| {
        layer.file("srv/file", 0o644, b"between").file("srv/gone", 0o644, b"").file("srv/other", 0o644, b"");
    });
    let snapshot = workshop.busybox().with(twice.clone()).with(between).with(twice);
    let recording = Step::shell(&snapshot, "cat /srv/file; ls /srv").succeed(executor).await;
    assert_eq!(recording.text(), "twicefile\nother\n");
}

pub(crate) async fn an_empty_snapshot_takes_files(executor: &dyn Executor, _: &Workshop) {
    let mut step = Step::program(&Snapshot::empty(), &["/dev/pipes/busybox", "sh", "-c", "echo hello >/file"]);
    step.script = Some(("/dev/pipes/busybox".to_owned(), std::fs::read("/bin/busybox").unwrap()));
    let recording = step.succeed(executor).await;
    assert_eq!(recording.paths(), ["file"]);
}

pub(crate) async fn mount_points_never_enter_the_layer(executor: &dyn Executor, workshop: &Workshop) {
    let hidden = workshop.layer(|layer| {
        layer.file("etc/hosts", 0o644, b"of the image").file("proc/left", 0o644, b"over");
    });
    let deleted = workshop.layer(|layer| {
        layer.whiteout("etc/hosts").whiteout("proc").opaque_directory("etc").file("etc/own", 0o644, b"");
    });
    for snapshot in [workshop.busybox(), workshop.busybox().with(hidden.clone()).with(deleted)] {
        let script = "grep -q localhost /etc/hosts && test -e /proc/self/stat && test -c /dev/null && : >/etc/new \
                      && : >/new";
        let recording = Step::shell(&snapshot, script).succeed(executor).await;
        assert_eq!(recording.paths(), ["etc", "etc/new", "new"], "{recording}");
    }
    // What the image has at a mount point stays as it is.
    let recording = Step::shell(&workshop.busybox().with(hidden), "echo x >/etc/hosts").run(executor).await.1;
    assert!(String::from_utf8_lossy(&recording.stderr).contains("ead-only"), "{recording}");
}

pub(crate) async fn only_touched_directories_are_captured(executor: &dyn Executor, workshop: &Workshop) {
    let snapshot = workshop.busybox_and(|layer| {
        layer.directory("etc", 0o751).directory("srv/a/b", 0o755).directory("srv/c", 0o755);
    });
    let recording = Step::shell(&snapshot, "touch /etc/x /srv/a/b/y; chmod 700 /srv/c").succeed(executor).await;
    let changes: Vec<_> = recording.changes().into_iter().map(|change| (change.path, change.mode)).collect();
    let expected = [
        ("etc", 0o751),
        ("etc/x", 0o644),
        ("srv", 0o755),
        ("srv/a", 0o755),
        ("srv/a/b", 0o755),
        ("srv/a/b/y", 0o644),
        ("srv/c", 0o700),
    ];
    assert_eq!(changes, expected.map(|(path, mode)| (path.to_owned(), mode)));
}

pub(crate) async fn a_failed_step_has_no_changes(executor: &dyn Executor, workshop: &Workshop) {
    let (outcome, recording) = Step::shell(&workshop.busybox(), "touch /file; exit 3").run(executor).await;
    assert_eq!(outcome.unwrap().status, 3);
    assert!(recording.changes.is_empty());
}

pub(crate) async fn many_layers_are_one_root(executor: &dyn Executor, workshop: &Workshop) {
    let mut snapshot = workshop.busybox();
    for number in 0..40 {
        snapshot = snapshot.with(workshop.layer(|layer| {
            layer.file(&format!("srv/{number}"), 0o644, b"").file("srv/top", 0o644, number.to_string().as_bytes());
        }));
    }
    assert_eq!(Step::shell(&snapshot, "ls /srv | wc -l; cat /srv/top").succeed(executor).await.text(), "41\n39");
}

pub(crate) async fn the_root_looks_like_the_images(executor: &dyn Executor, workshop: &Workshop) {
    let snapshot = workshop.busybox_and(|layer| {
        layer.directory("", 0o711);
    });
    let recording = Step::shell(&snapshot, "stat -c '%a %u %Y' /").succeed(executor).await;
    assert_eq!(recording.text(), "711 0 1000000000\n");
    let mut archive = tar::Archive::new(&recording.changes[..]);
    let root = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!((root.header().mode().unwrap(), root.header().mtime().unwrap()), (0o711, 1_000_000_000));
}

pub(crate) async fn hard_links_and_owners_survive(executor: &dyn Executor, workshop: &Workshop) {
    let script = "mkdir /srv; cd /srv; echo x >b; ln b a; ln b c; chown 12:34 b; chmod 4711 b";
    let recording = Step::shell(&workshop.busybox(), script).succeed(executor).await;
    let changes: Vec<_> = recording.changes().into_iter().skip(1).collect();
    let kinds: Vec<_> = changes.iter().map(|change| (&change.path[..], change.kind)).collect();
    assert_eq!(kinds, [("srv/a", EntryType::Regular), ("srv/b", EntryType::Link), ("srv/c", EntryType::Link)]);
    assert_eq!((changes[0].owner, changes[0].mode), ((12, 34), 0o4711));
}
