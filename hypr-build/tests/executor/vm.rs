//! The contract with microVMs, and what is theirs alone.
//!
//! Where KVM does not run kernels, or there is no guest kernel, these are skipped; `tests/lab` has a machine with both.

use std::{
    num::{NonZeroU32, NonZeroU64},
    path::Path,
    process::Command,
};

use hypr_build::{
    executor::{Exceeded, ExecutorError, Limits, VmExecutor},
    kernel::{KernelSource, Kernels},
};

use crate::{
    layers::Workshop,
    run::{Step, chain},
};

/// An executor, or `None` where microVMs cannot be used.
async fn executor(workshop: &Workshop) -> Option<VmExecutor> {
    executor_in(&workshop.scratch())
}

/// An executor whose steps write to files in `scratch`.
fn executor_in(scratch: &Path) -> Option<VmExecutor> {
    let skip = |reason: String| {
        assert!(std::env::var_os("HYPR_TEST_NEEDS_VM").is_none(), "{reason}");
        eprintln!("skipped: {reason}");
        None
    };
    if let Err(error) = hypr_vmm::probe() {
        return skip(chain(&error));
    }
    // One folder for all tests, so that the kernel is made ready once.
    let kernels = Kernels::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/kernels"));
    match kernels.find(&KernelSource::from_environment()) {
        Ok(kernel) => Some(VmExecutor::new(kernel, scratch)),
        Err(error) => skip(chain(&error)),
    }
}

crate::contract! { super::super::vm::executor }

/// Of a step that does nothing, with some room: the kernel's start makes nearly all of them, and they are the same each
/// time but for a few, and for interrupts of the host. Debian's cloud kernel is left some 280 times for the monitor and
/// 3,800 times in all, a kernel with everything built in 240 and 1,800 times.
const EXITS_TO_MONITOR: u64 = 400;
const EXITS: u64 = 8000;

#[tokio::test]
async fn a_machine_is_seldom_left() {
    let workshop = Workshop::new();
    let Some(executor) = executor(&workshop).await else { return };
    let limits = Limits { cpus: NonZeroU32::new(1), ..Limits::default() };
    let (outcome, _) = Step::shell(&workshop.busybox(), "true").limits(limits).run(&executor).await;
    let exits = outcome.unwrap_or_else(|error| panic!("{}", chain(&error))).usage.exits.unwrap();
    eprintln!("{exits:?}, {} to the monitor", exits.to_monitor());
    assert!(exits.to_monitor() <= EXITS_TO_MONITOR, "{exits:?}");
    assert!(exits.all.is_none_or(|all| all <= EXITS), "{exits:?}");
}

#[tokio::test]
async fn a_hundred_layers_are_one_disk() {
    let workshop = Workshop::new();
    let Some(executor) = executor(&workshop).await else { return };
    let layer = |number: usize| {
        workshop.layer(|layer| {
            layer.directory("d", 0o755).file(&format!("d/{number}"), 0o644, number.to_string().as_bytes());
        })
    };
    let snapshot = (1..100).fold(workshop.busybox(), |snapshot, number| snapshot.with(layer(number)));
    let recording = Step::shell(&snapshot, "ls /d | wc -l; cat /d/1 /d/99").succeed(&executor).await;
    assert_eq!(recording.text(), "99\n199");
}

/// Writes so many MiB of mixed data, in files of 8 MiB, and checks some of them.
fn writes(mebibytes: u32) -> String {
    format!(
        "head -c 4194304 /dev/urandom >/one; head -c 4194304 /dev/zero >>/one; mkdir /d; n=0; \
         while [ $n -lt {mebibytes} ]; do cat /one >/d/$n || exit 9; n=$((n + 8)); done; \
         for f in /d/*6; do cmp /one $f || exit 8; done; du -sm /d | cut -f 1; rm -r /d"
    )
}

#[tokio::test]
async fn a_small_machine_writes_more_than_it_has_memory() {
    let workshop = Workshop::new();
    let Some(executor) = executor(&workshop).await else { return };
    let mebibytes = std::env::var("HYPR_TEST_MEBIBYTES").map_or(1536, |count| count.parse().unwrap());
    let limits = Limits { memory: NonZeroU64::new(256 << 20), ..Limits::default() };
    let recording = Step::shell(&workshop.busybox(), &writes(mebibytes)).limits(limits).succeed(&executor).await;
    let written: u32 = recording.text().trim().parse().unwrap();
    assert!(written >= mebibytes, "{written}");
    assert_eq!(recording.paths(), ["one"]);
}

#[tokio::test]
async fn a_scratch_disk_has_an_end() {
    let workshop = Workshop::new();
    let Some(executor) = executor(&workshop).await else { return };
    let limits = Limits { memory: NonZeroU64::new(256 << 20), scratch: NonZeroU64::new(1 << 30), ..Limits::default() };
    let (outcome, recording) = Step::shell(&workshop.busybox(), &writes(1536)).limits(limits).run(&executor).await;
    let error = outcome.unwrap_err();
    assert!(
        matches!(error, ExecutorError::Limit { exceeded: Exceeded::Scratch, status: Some(9) }),
        "{}\n{recording}",
        chain(&error)
    );
    assert!(recording.changes.is_empty());
}

/// A file system of so many MiB.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(mebibytes: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "small"]).arg(folder.path()).status();
        assert!(mounted.unwrap().success());
        Self(folder)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // What a machine has written is given back aside.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn what_the_host_has_no_room_for_is_no_success() {
    let workshop = Workshop::new();
    if executor(&workshop).await.is_none() || !rustix::process::geteuid().is_root() {
        return;
    }
    let small = Small::mount(48);
    let executor = executor_in(small.0.path()).unwrap();
    // It is more than the guest's memory holds, so most of it is written aside, and the process sees no error.
    let step = Step::shell(&workshop.busybox(), "head -c 100000000 /dev/urandom >/random");
    let limits = Limits { memory: NonZeroU64::new(32 << 20), ..Limits::default() };
    let (outcome, recording) = step.limits(limits).run(&executor).await;
    let error = chain(&outcome.unwrap_err());
    assert!(error.contains("keep what the step writes on the host's disk"), "{error}\n{recording}");
}
