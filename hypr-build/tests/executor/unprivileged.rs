//! The contract once more, as a user who is not root: these tests run themselves again as such a user.
//!
//! The user exists in a mount namespace alone, which has an `/etc` of its own that names users and lends them ids. It
//! takes the place of the whole directory: a mount on a file ends when the host replaces the file.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use hypr_build::{
    Snapshot,
    executor::{ExecutorError, NamespaceExecutor},
};

use crate::{
    layers::Workshop,
    leaks, programs,
    run::{Step, chain},
};

/// Tells the tests of [`inside`] what the user they run as is lent.
const LENT: &str = "HYPR_TEST_LENT";

const USER: u32 = 54_321;

/// Runs the tests of this program whose names contain one of `filters` as a user who is lent `ids`.
fn run_as_user(ids: &str, filters: &[&str]) {
    let needed = ["/usr/bin/newuidmap", "/usr/bin/newgidmap", "/usr/bin/setpriv"];
    if let Some(missing) = needed.into_iter().find(|path| !Path::new(path).exists()) {
        return eprintln!("skipped: there is no {missing}");
    }
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root becomes another user");
    }
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let etc = place.path().join("etc");
    fs::create_dir(&etc).unwrap();
    let users = format!("root:x:0:0:root:/root:/bin/sh\nhypr-test:x:{USER}:{USER}::/:/bin/sh\n");
    let groups = format!("root:x:0:\nhypr-test:x:{USER}:\n");
    for (name, text) in [("passwd", &*users), ("group", &groups), ("subuid", ids), ("subgid", ids)] {
        fs::write(etc.join(name), text).unwrap();
    }
    fs::write(place.path().join("program"), "").unwrap();
    for name in ["ask", "reach"] {
        fs::write(place.path().join(name), programs::program(name)).unwrap();
    }
    let temporary = place.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).unwrap();

    let script = "cd \"$0\" && mount --bind etc /etc && mount --bind \"$1\" program && shift \
                  && exec setpriv --reuid=54321 --regid=54321 --clear-groups --inh-caps=-all \"$0/program\" \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "--", "sh", "-ec", script])
        .arg(place.path())
        .arg(env::current_exe().unwrap())
        .args(filters)
        // On machines where it runs slowly, tests wait for each other less.
        .args(["--test-threads", "2"])
        .env(LENT, ids)
        .env(programs::DIRECTORY, place.path())
        .env("TMPDIR", &temporary)
        .env_remove("XDG_RUNTIME_DIR");
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{}\n{}", said[0], said[1]);
}

#[test]
fn the_contract_holds_without_root() {
    // In a user namespace no process makes device nodes, and such processes are closed to the tests.
    let skipped = ["--skip", "nodes_that_a_process_makes", "--skip", "a_killed_process", "--skip", "unprivileged::the"];
    run_as_user("hypr-test:200000:65536\n", &[&skipped[..], &["namespace::", "inside::lent"]].concat());
}

#[test]
fn with_a_single_id_an_image_of_root_alone_runs() {
    run_as_user("", &["inside::single"]);
}

/// An executor, where these tests run as the user that they need.
async fn executor(workshop: &Workshop, lent: bool) -> Option<NamespaceExecutor> {
    let is_lent = !env::var(LENT).ok()?.is_empty();
    if is_lent != lent {
        return None;
    }
    let executor = NamespaceExecutor::new(workshop.scratch()).keep_unpacked_in(workshop.path().join("unpacked"));
    executor.check().await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    Some(executor)
}

mod inside {
    //! What runs as the user.

    use super::*;

    #[tokio::test]
    async fn lent_ids_are_those_of_the_image() {
        let workshop = Workshop::new();
        let Some(executor) = executor(&workshop, true).await else { return };
        let lower = workshop.layer(|layer| {
            layer.owned_file("srv/data", 33, 34, b"data").file("srv/gone", 0o644, b"").file("old/x", 0o644, b"");
        });
        let upper = workshop.layer(|layer| {
            layer.whiteout("srv/gone").opaque_directory("old").file("old/y", 0o644, b"");
        });
        let snapshot = workshop.busybox().with(lower).with(upper);
        let script = "cat /proc/self/uid_map | tr -s ' ' | tr '\\n' ';'; id -u; stat -c %u:%g /srv/data; ls /srv /old; \
                      chown 1000:1001 /srv/data; rm -r /old; mkdir /old; rm /bin/ls; mknod /node c 1 3 || echo refused; \
                      mkdir -m 700 /own; echo x >/own/f; chown -R 65535:65535 /own";
        let recording = Step::shell(&snapshot, script).succeed(&executor).await;
        assert_eq!(
            recording.text(),
            " 0 54321 1; 1 200000 65536;0\n33:34\n/old:\ny\n\n/srv:\ndata\nrefused\n",
            "{recording}"
        );
        let changes = recording.changes();
        let change = |path: &str| changes.iter().find(|change| change.path == path).unwrap();
        assert_eq!(change("srv/data").owner, (1000, 1001));
        assert_eq!(change("own/f").owner, (65_535, 65_535));
        assert_eq!(change("bin/ls").kind, tar::EntryType::Char);
        let opaque = b"SCHILY.xattr.trusted.overlay.opaque=y\n";
        assert!(recording.changes.windows(opaque.len()).any(|bytes| bytes == opaque));
        assert!(!String::from_utf8_lossy(&recording.changes).contains("user.overlay"));
    }

    #[tokio::test]
    async fn lent_ids_make_trees_that_stay_until_they_are_removed() {
        let workshop = Workshop::new();
        let Some(executor) = executor(&workshop, true).await else { return };
        let unpacked = workshop.path().join("unpacked");
        // What a process that was killed while it unpacked a layer has left.
        fs::create_dir(unpacked.join("work-1-1")).unwrap();
        let layer = workshop.layer(|layer| {
            layer.owned_file("secret/file", 33, 33, b"").owned_directory("secret", 33, 0o700);
        });
        let snapshot = workshop.busybox().with(layer.clone());
        Step::shell(&snapshot, "true").succeed(&executor).await;
        let place = unpacked.join(layer.id.file.to_string());
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o7777, 0o700);
        let made = fs::metadata(place.join("tree")).unwrap().ctime_nsec();
        drop(executor);

        let executor = NamespaceExecutor::new(workshop.scratch()).keep_unpacked_in(&unpacked);
        Step::shell(&snapshot, "true").succeed(&executor).await;
        assert_eq!(fs::metadata(place.join("tree")).unwrap().ctime_nsec(), made, "the tree is used again");
        assert_eq!(fs::read_dir(&unpacked).unwrap().count(), 2);
        assert!(fs::remove_dir_all(&place).is_err(), "this takes a user namespace");
        executor.remove(&place).await.unwrap();
        executor.remove(unpacked.join("nothing")).await.unwrap();
        assert_eq!(fs::read_dir(&unpacked).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn lent_ids_are_all_there_are() {
        let workshop = Workshop::new();
        let Some(executor) = executor(&workshop, true).await else { return };
        let snapshot = workshop.busybox_and(|layer| {
            layer.owned_file("srv/far", 70_000, 0, b"");
        });
        let (outcome, _) = Step::shell(&snapshot, "true").run(&executor).await;
        let error = outcome.unwrap_err();
        let said = "/srv/far of the layer belongs to 70000:0, which is not among the ids of this user";
        assert!(chain(&error).contains(said), "{}", chain(&error));
        assert_eq!(fs::read_dir(workshop.path().join("unpacked")).unwrap().count(), 1, "busybox alone is unpacked");

        let (outcome, _) = Step::shell(&workshop.busybox(), "true").user(65_537, 0, &[]).run(&executor).await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, ExecutorError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("user 65537") && error.to_string().contains("/etc/subuid"), "{error}");
    }

    #[tokio::test]
    async fn lent_ids_leave_nothing_of_an_executor_without_a_place() {
        let workshop = Workshop::new();
        if executor(&workshop, true).await.is_none() {
            return;
        }
        let executor = NamespaceExecutor::new(workshop.scratch());
        let snapshot = workshop.busybox_and(|layer| {
            layer.owned_directory("secret", 33, 0o700).owned_file("secret/file", 33, 33, b"");
        });
        Step::shell(&snapshot, "mkdir -m 700 /a; touch /a/b; chown -R 5:5 /a").succeed(&executor).await;
        drop(executor);
        leaks::wait_until_gone(&workshop).await;
    }

    #[tokio::test]
    async fn single_id_is_that_of_root() {
        let workshop = Workshop::new();
        let Some(executor) = executor(&workshop, false).await else { return };
        let script = "id -u; echo x >/file; rm /bin/ls; stat -c %u:%g /bin/busybox";
        let recording = Step::shell(&workshop.busybox(), script).user(0, 0, &[0]).succeed(&executor).await;
        assert_eq!(recording.text(), "0\n0:0\n");
        assert_eq!(recording.paths(), ["bin", "bin/ls", "file"]);
    }

    #[tokio::test]
    async fn single_id_is_not_enough_for_other_owners() {
        let workshop = Workshop::new();
        let Some(executor) = executor(&workshop, false).await else { return };
        let layer = workshop.layer(|layer| {
            layer.owned_file("data", 0, 42, b"");
        });
        let (outcome, _) = Step::shell(&Snapshot::new(vec![layer]), "true").run(&executor).await;
        let error = outcome.unwrap_err();
        assert!(chain(&error).contains("/data of the layer belongs to 0:42"), "{}", chain(&error));
        let (outcome, _) = Step::shell(&workshop.busybox(), "true").user(1000, 1000, &[]).run(&executor).await;
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("user 1000") && error.contains("uidmap"), "{error}");
    }
}
