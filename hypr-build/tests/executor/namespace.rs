//! The contract with namespaces, and what is theirs alone.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use hypr_build::{
    Snapshot,
    executor::{ExecutorError, NamespaceExecutor, Network},
};

use crate::{
    layers::Workshop,
    leaks,
    run::{Step, chain},
};

/// Where the process that is to be killed runs its step.
const KILLED: &str = "HYPR_TEST_KILLED";

/// An executor, or `None` where namespaces cannot be used.
async fn executor(workshop: &Workshop) -> Option<NamespaceExecutor> {
    let executor = NamespaceExecutor::new(workshop.scratch()).keep_unpacked_in(workshop.path().join("unpacked"));
    match executor.check().await {
        Ok(()) => Some(executor),
        Err(error @ ExecutorError::Unavailable { .. }) => {
            eprintln!("skipped: {}", chain(&error));
            None
        }
        Err(error) => panic!("{}", chain(&error)),
    }
}

crate::contract! { super::super::namespace::executor }

#[tokio::test]
async fn an_executor_that_is_dropped_leaves_no_loop_device() {
    let workshop = Workshop::new();
    let Some(executor) = executor(&workshop).await else { return };
    Step::shell(&workshop.busybox(), "touch /file").succeed(&executor).await;
    drop(executor);
    leaks::wait_until_gone(&workshop).await;
    leaks::wait_until_unmounted(workshop.path()).await;
}

/// The process that [`a_killed_process_leaves_no_sandbox`] starts and kills; without it there is nothing to do.
#[tokio::test]
async fn a_step_to_be_killed_with_its_process() {
    let Some(place) = std::env::var_os(KILLED).map(PathBuf::from) else { return };
    let workshop = Workshop::new();
    let Some(executor) = executor(&workshop).await else { return };
    fs::write(place.join("workshop"), workshop.path().to_str().unwrap()).unwrap();
    Step::shell(&workshop.busybox(), "mkdir /a; setsid sleep 1000 & sleep 1000").run(&executor).await.0.unwrap();
}

#[tokio::test]
async fn a_killed_process_leaves_no_sandbox() {
    let place = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "namespace::a_step_to_be_killed_with_its_process"])
        .env(KILLED, place.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let workshop = loop {
        let workshop = fs::read_to_string(place.path().join("workshop")).map(PathBuf::from).unwrap_or_default();
        if !leaks::processes_in(&workshop).is_empty() && workshop.is_absolute() {
            break workshop;
        }
        if let Some(status) = child.try_wait().unwrap() {
            // Namespaces cannot be used here.
            assert!(status.success());
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    leaks::wait_until_unmounted(&workshop).await;
    leaks::wait_until("processes are left", || leaks::processes_in(&workshop)).await;
    let groups = format!("hypr-{}-", child.id());
    leaks::wait_until("control groups are left", || find_groups(&groups)).await;
    // What the step wrote went with it; the directory itself is the store's to remove.
    for entry in fs::read_dir(workshop.join("scratch")).unwrap() {
        assert_eq!(fs::read_dir(entry.unwrap().path()).unwrap().count(), 0);
    }
    fs::remove_dir_all(workshop).unwrap();
}

#[tokio::test]
async fn the_hosts_network_is_there_when_asked_for() {
    let workshop = Workshop::new();
    let Some(executor) = executor(&workshop).await else { return };
    let mut step = Step::shell(&workshop.busybox(), "ls /sys/class/net; readlink /proc/self/ns/net");
    step.network = Network::Host;
    let mut expected: Vec<_> = fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    expected.push(fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap().to_owned());
    assert_eq!(step.succeed(&executor).await.text().lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_missing_layer_is_named() {
    let workshop = Workshop::new();
    let Some(executor) = executor(&workshop).await else { return };
    let snapshot = workshop.busybox();
    let path = snapshot.layers()[0].path().to_owned();
    fs::remove_file(&path).unwrap();
    let (outcome, _) = Step::shell(&snapshot, "true").run(&executor).await;
    let error = outcome.unwrap_err();
    assert!(chain(&error).contains(path.to_str().unwrap()), "{}", chain(&error));
}

#[tokio::test]
async fn a_damaged_layer_is_named() {
    let workshop = Workshop::new();
    let Some(executor) = executor(&workshop).await else { return };
    let mut layer = workshop.layer(|layer| {
        layer.file("file", 0o644, b"");
    });
    fs::write(&layer.path, [0x55; 8192]).unwrap();
    layer.id.file = hypr_build::Digest::of(b"damaged");
    let (outcome, _) = Step::shell(&Snapshot::new(vec![layer.clone()]), "true").run(&executor).await;
    let error = outcome.unwrap_err();
    assert!(chain(&error).contains(layer.path.to_str().unwrap()), "{}", chain(&error));
}

/// The control groups whose names begin with `prefix`.
fn find_groups(prefix: &str) -> Vec<String> {
    let output = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", &format!("{prefix}*")]).output();
    String::from_utf8_lossy(&output.unwrap().stdout).lines().map(str::to_owned).collect()
}
