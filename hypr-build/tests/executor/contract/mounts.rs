//! What is mounted for a step, and what stays of it.

use std::num::NonZeroU64;

use hypr_build::{
    Snapshot,
    executor::{Executor, MountAccess, MountContent},
};

use crate::{
    layers::Workshop,
    run::{Step, chain},
};

fn tree(snapshot: &Snapshot, source: &str, access: MountAccess) -> MountContent {
    MountContent::Tree { snapshot: snapshot.clone(), source: source.into(), is_directory: true, access }
}

/// A directory with a file, an empty directory and, above it, a file that no mount of it shows.
fn files(workshop: &Workshop) -> Snapshot {
    let lower = workshop.layer(|layer| {
        layer.directory("part", 0o750).file("part/file", 0o644, b"lower").file("part/gone", 0o644, b"");
    });
    let upper = workshop.layer(|layer| {
        layer.directory("part", 0o711).file("part/file", 0o640, b"upper").directory("part/empty", 0o755);
        layer.whiteout("part/gone").file("outside", 0o644, b"");
    });
    Snapshot::new(vec![lower, upper])
}

pub(crate) async fn a_tree_shows_what_it_is_and_takes_nothing(executor: &dyn Executor, workshop: &Workshop) {
    let script = "cat /mnt/deep/file; ls /mnt/deep; stat -c %a /mnt/deep /mnt/deep/file; \
                  touch /mnt/deep/x 2>/dev/null || echo refused; rm /mnt/deep/file 2>/dev/null || echo refused";
    let recording = Step::shell(&workshop.busybox(), script)
        .mount("/mnt/deep", tree(&files(workshop), "part", MountAccess::ReadOnly))
        .succeed(executor)
        .await;
    assert_eq!(recording.text(), "upperempty\nfile\n711\n640\nrefused\nrefused\n");
    assert!(recording.paths().is_empty(), "{:?}", recording.paths());
}

pub(crate) async fn what_is_written_to_a_discarded_tree_is_gone(executor: &dyn Executor, workshop: &Workshop) {
    let script = "echo new >/mnt/file; rmdir /mnt/empty; mkdir /mnt/d; cat /mnt/file; ls /mnt; echo x >/kept";
    let step =
        Step::shell(&workshop.busybox(), script).mount("/mnt", tree(&files(workshop), "part", MountAccess::Discarded));
    for _ in 0..2 {
        let recording = step.succeed(executor).await;
        assert_eq!(recording.text(), "new\nd\nfile\n");
        assert_eq!(recording.paths(), ["kept"]);
        assert!(recording.mounts.is_empty());
    }
}

pub(crate) async fn changes_of_a_captured_tree_are_told_whatever_the_status(
    executor: &dyn Executor,
    workshop: &Workshop,
) {
    for status in [0, 3] {
        let script = format!("echo new >/mnt/new; rm /mnt/file; echo x >/root-file; exit {status}");
        let (outcome, recording) = Step::shell(&workshop.busybox(), &script)
            .mount("/a", tree(&files(workshop), "part", MountAccess::ReadOnly))
            .mount("/mnt", tree(&files(workshop), "part", MountAccess::Captured))
            .run(executor)
            .await;
        assert_eq!(outcome.unwrap_or_else(|error| panic!("{}", chain(&error))).status, status);
        let changes = recording.mount_changes(1);
        let told: Vec<_> = changes.iter().map(|change| (change.path.as_str(), change.kind)).collect();
        let expected = [
            ("part", tar::EntryType::Directory),
            ("part/file", tar::EntryType::Char),
            ("part/new", tar::EntryType::Regular),
        ];
        assert_eq!(told, expected);
        assert_eq!(changes[0].mode, 0o711);
        assert!(!recording.mounts.contains_key(&0));
        if status == 0 {
            assert_eq!(recording.paths(), ["root-file"]);
        }
    }
}

pub(crate) async fn a_file_of_a_tree_is_mounted_as_a_file(executor: &dyn Executor, workshop: &Workshop) {
    let content = MountContent::Tree {
        snapshot: files(workshop),
        source: b"part/file".to_vec(),
        is_directory: false,
        access: MountAccess::ReadOnly,
    };
    let recording = Step::shell(&workshop.busybox(), "cat /etc/new/one; ls /etc/new")
        .mount("/etc/new/one", content.clone())
        .succeed(executor)
        .await;
    assert_eq!(recording.text(), "upperone\n");
    assert!(recording.paths().is_empty(), "{:?}", recording.paths());
    let (outcome, _) = Step::shell(&workshop.busybox(), "true").mount("/bin", content).run(executor).await;
    let error = chain(&outcome.expect_err("a file lies on a directory"));
    assert!(error.contains("/bin") && error.contains("is a directory"), "{error}");
}

pub(crate) async fn a_file_system_in_memory_holds_what_it_may(executor: &dyn Executor, workshop: &Workshop) {
    let script = "stat -c %a /t; dd if=/dev/zero of=/t/small bs=1k count=100 2>/dev/null && echo fits; \
                  dd if=/dev/zero of=/t/big bs=1k count=4096 2>/dev/null || echo full";
    let size = NonZeroU64::new(1 << 20);
    let recording =
        Step::shell(&workshop.busybox(), script).mount("/t", MountContent::Tmpfs { size }).succeed(executor).await;
    assert_eq!(recording.text(), "1777\nfits\nfull\n");
    assert!(recording.paths().is_empty(), "{:?}", recording.paths());
}

pub(crate) async fn secrets_are_their_owners_and_leave_nothing(executor: &dyn Executor, workshop: &Workshop) {
    let secret = |uid, mode| MountContent::Secret { content: b"hidden"[..].into(), mode, uid, gid: 7 };
    let script = "cat /run/secrets/mine; stat -c '%u %g %a' /run/secrets/mine; \
                  cat /run/secrets/other 2>/dev/null || echo refused";
    let recording = Step::shell(&workshop.busybox(), script)
        .user(5, 5, &[])
        .mount("/run/secrets/mine", secret(5, 0o400))
        .mount("/run/secrets/other", secret(0, 0o400))
        .succeed(executor)
        .await;
    assert_eq!(recording.text(), "hidden5 7 400\nrefused\n");
    assert!(recording.paths().is_empty(), "{:?}", recording.paths());
    let written = Step::shell(&workshop.busybox(), "echo x >/run/secrets/mine 2>/dev/null || echo refused")
        .mount("/run/secrets/mine", secret(0, 0o600))
        .succeed(executor)
        .await;
    assert_eq!(written.text(), "refused\n");
}

pub(crate) async fn mounts_lie_inside_of_mounts(executor: &dyn Executor, workshop: &Workshop) {
    let outer = |access| tree(&files(workshop), "part", access);
    let memory = MountContent::Tmpfs { size: None };
    let recording =
        Step::shell(&workshop.busybox(), "cat /mnt/file; echo x >/mnt/new/dir/y; ls /mnt/new/dir /mnt/empty")
            .mount("/mnt", outer(MountAccess::Discarded))
            .mount("/mnt/empty", memory.clone())
            .mount("/mnt/new/dir", memory.clone())
            .succeed(executor)
            .await;
    assert_eq!(recording.text(), "upper/mnt/empty:\n\n/mnt/new/dir:\ny\n");
    assert!(recording.paths().is_empty(), "{:?}", recording.paths());
    // What is read-only has room for no mount point.
    let (outcome, _) = Step::shell(&workshop.busybox(), "true")
        .mount("/mnt", outer(MountAccess::ReadOnly))
        .mount("/mnt/new", memory)
        .run(executor)
        .await;
    let error = chain(&outcome.expect_err("there is no place"));
    assert!(error.contains("mnt/new"), "{error}");
}

pub(crate) async fn mount_points_follow_the_images_links(executor: &dyn Executor, workshop: &Workshop) {
    let snapshot = workshop.busybox_and(|layer| {
        layer.directory("real", 0o755).symlink("link", "/real").symlink("up", "../../../real").symlink("loop", "loop");
    });
    for target in ["/link/new/deep", "/up/new/deep"] {
        let recording = Step::shell(&snapshot, "echo x >/real/new/deep/f; find /real; test -L /link && test -L /up")
            .mount(target, MountContent::Tmpfs { size: None })
            .succeed(executor)
            .await;
        assert_eq!(recording.text(), "/real\n/real/new\n/real/new/deep\n/real/new/deep/f\n");
        assert!(recording.paths().is_empty(), "{:?}", recording.paths());
    }
    let step = Step::shell(&snapshot, "true").mount("/loop/x", MountContent::Tmpfs { size: None });
    let error = chain(&step.run(executor).await.0.expect_err("the link leads nowhere"));
    assert!(error.contains("loop"), "{error}");
}

pub(crate) async fn nothing_is_mounted_over_what_is_the_sandboxs_own(executor: &dyn Executor, workshop: &Workshop) {
    let snapshot = workshop.busybox_and(|layer| {
        layer.symlink("to-proc", "/proc/self").symlink("to-root", "/");
    });
    for target in ["/proc", "/proc/sys", "/dev/x", "/sys/fs", "/to-proc/root", "/to-root"] {
        let step = Step::shell(&snapshot, "true").mount(target, MountContent::Tmpfs { size: None });
        let (outcome, _) = step.run(executor).await;
        let error = chain(&outcome.expect_err(target));
        assert!(error.contains("mount on"), "{target}: {error}");
    }
}
