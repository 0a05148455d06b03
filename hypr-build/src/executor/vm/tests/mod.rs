//! Machines whose guests do as they like. Each ends in an error of its step, in time, whatever it does.
//!
//! The guests are so small that any `/dev/kvm` runs them, so these tests need no kernel.

mod guest;

use std::{
    num::NonZeroU32,
    path::Path,
    pin::Pin,
    task::{self, Poll},
    time::Instant,
};

use async_trait::async_trait;
use oci_spec::runtime::{Process as OciProcess, ProcessBuilder};
use tokio::io::AsyncWrite;

use self::guest::{Guest, Step};
use super::*;
use crate::{
    executor::{
        Limits, RunStep,
        protocol::{self, Failure, FailureKind, Flow, MAX_REPORT, Report, kind},
    },
    kernel::{KernelSource, Kernels},
    snapshot::Snapshot,
};

/// What a guest gets that is expected to say something wrong, and what one gets that is expected to use it up.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(2);

/// What is added to the time of a step before it is one too many.
const GRACE: Duration = Duration::from_secs(5);

/// Takes all output and changes, and counts them.
#[derive(Debug, Default)]
struct Counter {
    output: usize,
    changes: usize,
}

#[async_trait]
impl StepIo for Counter {
    async fn stdout(&mut self, bytes: &[u8]) {
        self.output += bytes.len();
    }

    async fn stderr(&mut self, bytes: &[u8]) {
        self.output += bytes.len();
    }

    fn changes(&mut self) -> &mut (dyn AsyncWrite + Send + Unpin) {
        self
    }

    fn mount_changes(&mut self, _: usize) -> &mut (dyn AsyncWrite + Send + Unpin) {
        self
    }
}

impl AsyncWrite for Counter {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut task::Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.changes += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Whether machines can be made here at all.
fn has_kvm() -> bool {
    let may_be_missing = std::env::var_os("HYPR_TEST_NEEDS_VM").is_none();
    match std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Err(_) if may_be_missing => false,
        Err(error) => panic!("/dev/kvm: {error}"),
        Ok(_) => true,
    }
}

/// An executor whose machines are of `guest`.
fn executor(guest: &Guest, folder: &Path) -> VmExecutor {
    let image = folder.join("guest");
    std::fs::write(&image, guest.kernel()).unwrap();
    let kernels = Kernels::new(folder.join("kernels"));
    let kernel = kernels.find(&KernelSource { image: Some(image), modules: None }).unwrap();
    VmExecutor::new(kernel, folder)
}

/// Runs a step in a machine of `guest`.
async fn run(guest: &Guest, timeout: Duration) -> (Result<RunOutcome, ExecutorError>, Counter) {
    let folder = tempfile::tempdir().unwrap();
    let executor = executor(guest, folder.path());
    let result = run_in(&executor, timeout).await;
    executor.settle().await;
    result
}

async fn run_in(executor: &VmExecutor, timeout: Duration) -> (Result<RunOutcome, ExecutorError>, Counter) {
    let process: OciProcess = ProcessBuilder::default().args(["true".to_owned()]).cwd("/").build().unwrap();
    let limits = Limits {
        cpus: NonZeroU32::new(1),
        scratch: NonZeroU64::new(32 << 20),
        memory: NonZeroU64::new(16 << 20),
        timeout: Some(timeout),
        ..Limits::default()
    };
    let (snapshot, mut counter) = (Snapshot::empty(), Counter::default());
    let step = RunStep {
        snapshot: &snapshot,
        process: &process,
        script: None,
        mounts: &[],
        network: Network::None,
        limits: &limits,
    };
    (executor.run(step, &mut counter).await, counter)
}

fn hello() -> Vec<u8> {
    Report::Hello(protocol::VERSION).encode()
}

/// A guest that does all that an agent does until the process has been started.
fn started() -> Guest {
    Guest::connected().say([hello(), Report::Started.encode()].concat())
}

fn exited(status: u8) -> Vec<u8> {
    Report::Exited(Exited { status, ..Exited::default() }).encode()
}

fn frame(kind: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0][..], &length.to_le_bytes(), body].concat()
}

/// Guests that use up their time, by what they do.
fn dawdlers() -> Vec<(&'static str, Guest)> {
    let changes = Report::Changes(vec![0; 4096]).encode();
    vec![
        ("does nothing", Guest::silent()),
        ("spins", Guest::silent().then(Step::Spin)),
        ("connects and is silent", Guest::connected()),
        ("says half of its first word", Guest::connected().say(&hello()[..5])),
        ("says hello and no more", Guest::connected().say(hello())),
        ("never starts the process", Guest::connected().say(hello()).then(Step::Spin)),
        ("starts and is silent", started()),
        ("exits without changes", started().say(exited(0))),
        ("begins changes and stops", started().say([exited(0), changes.clone()].concat())),
        ("prints for ever", started().then(Step::SayForEver(Report::Stdout(vec![b'x'; 60_000]).encode()))),
        ("prints nothing for ever", started().then(Step::SayForEver(Report::Stderr(Vec::new()).encode()))),
        ("says half of a frame", started().say(frame(kind::STDOUT, 1000, b"half"))),
        ("takes its queues away", started().then(Step::Register(0x70, 0)).then(Step::Spin)),
        ("breaks its queue", started().then(Step::Write(0x18_4002, 0xffff)).then(Step::Register(0x50, 1))),
        ("notifies queues that are not there", started().then(Step::Register(0x50, 77)).then(Step::Spin)),
        ("writes to registers that are not there", started().then(Step::Register(0xffc, 1)).then(Step::Spin)),
        ("reads where nothing is", started().then(Step::Read(0xc000_0000)).then(Step::Spin)),
        ("prints on the console for ever", Guest::silent().then(Step::Out(0x3f8, b'x')).then(Step::Spin)),
    ]
}

/// Guests that are given up for what they do, and a part of the reason.
fn breakers() -> Vec<(&'static str, Guest, &'static str)> {
    let failed = |kind, action: &str| {
        Report::Failed(Failure { kind, action: action.to_owned(), errno: 0, reason: "so".to_owned() }).encode()
    };
    let connected = |words: Vec<u8>| Guest::connected().say(words);
    vec![
        ("resets", Guest::silent().then(Step::Out(0x64, 0xfe)), "reset itself"),
        (
            "panics",
            Guest::silent()
                .print("all is well")
                .print("Kernel panic - not syncing: \x1b[2J")
                .then(Step::Out(0x64, 0xfe)),
            "reset itself\n  | Kernel panic - not syncing: [2J",
        ),
        ("resets in the middle", started().then(Step::Out(0x64, 0xfe)), "reset itself"),
        ("faults", Guest::silent().then(Step::TripleFault), "its machine is gone"),
        ("faults in the middle", started().then(Step::TripleFault), "its machine is gone"),
        ("resets after it exited", started().say(exited(0)).then(Step::Out(0x64, 0xfe)), "reset itself"),
        ("speaks another version", connected(Report::Hello(99).encode()), "version 99"),
        ("speaks SSH", connected(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), "its agent sent"),
        ("says the largest length", connected(frame(kind::HELLO, u32::MAX, b"")), "its agent sent"),
        ("says a kind that is none", connected(frame(0x7f, 0, b"")), "its agent sent"),
        ("says what hypr says", connected(frame(kind::CAPTURE, 0, b"")), "its agent sent"),
        ("says all ones", connected(vec![0xff; 4096]), "its agent sent"),
        ("starts before hello", connected(Report::Started.encode()), "out of order"),
        ("says hello twice", connected([hello(), hello()].concat()), "out of order"),
        ("wants ids mapped", connected([hello(), Report::MapIds.encode()].concat()), "out of order"),
        ("exits before it started", connected([hello(), exited(0)].concat()), "out of order"),
        ("sends changes without an exit", started().say(Report::Changes(vec![1; 10]).encode()), "out of order"),
        ("is captured without an exit", started().say(Report::Captured.encode()), "out of order"),
        (
            "sends changes for ever",
            started().say(exited(0)).then(Step::SayForEver(Report::Changes(vec![0; MAX_REPORT]).encode())),
            "limit of scratch",
        ),
        ("exits twice", started().say([exited(0), exited(0)].concat()), "out of order"),
        ("prints after it exited", started().say([exited(0), Report::Stdout(vec![1]).encode()].concat()), "order"),
        ("exits with 256", started().say(frame(kind::EXITED, 32, &[[0, 1].as_slice(), &[0; 30]].concat())), "sent"),
        (
            "prints too much at once",
            started().say(frame(kind::STDOUT, u32::try_from(MAX_REPORT).unwrap() + 1, b"")),
            "its agent sent",
        ),
        ("connects to no mount", started().say(Report::Connected { stream: 1, mount: 9 }.encode()), "lost"),
        ("sends to no stream", started().say(Report::Stream(7, Flow::Data(vec![1])).encode()), "lost"),
        ("fails to set up", connected([hello(), failed(FailureKind::Setup, "be good")].concat()), "be good"),
        ("fails to start", connected([hello(), failed(FailureKind::Start, "")].concat()), "cannot start `true`"),
        ("fails to understand", started().say(failed(FailureKind::Protocol, "read")), "could not read"),
        ("fails with a frame too short", started().say(frame(kind::FAILED, 3, b"abc")), "its agent sent"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_does_not_come_to_an_end_is_ended_in_time() {
    if !has_kvm() {
        return;
    }
    for batch in dawdlers().chunks(4) {
        let runs = batch.iter().map(|(what, guest)| async move {
            let begin = Instant::now();
            let (outcome, _) = run(guest, SHORT).await;
            let is_late = matches!(outcome, Err(ExecutorError::Limit { exceeded: Exceeded::Time, .. }));
            assert!(is_late, "{what}: {outcome:?}");
            let took = begin.elapsed();
            assert!(took < SHORT + GRACE, "{what}: {took:?}");
        });
        futures_util::future::join_all(runs).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_breaks_the_rules_is_ended_at_once() {
    if !has_kvm() {
        return;
    }
    for batch in breakers().chunks(4) {
        let runs = batch.iter().map(|(what, guest, reason)| async move {
            let (outcome, counter) = run(guest, LONG).await;
            let error = outcome.map_err(|error| crate::error::with_causes(&error)).unwrap_err();
            assert!(error.contains(reason), "{what}: {error}");
            assert!(counter.changes <= 64 << 20, "{what}: {}", counter.changes);
        });
        futures_util::future::join_all(runs).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_keeps_to_the_rules_is_believed() {
    if !has_kvm() {
        return;
    }
    let frames = [Report::Stdout(vec![b'x'; MAX_REPORT]).encode(), Report::Stderr(vec![b'y'; 10]).encode(), exited(0)];
    let changes = [Report::Changes(vec![0; 1024]).encode(), Report::Captured.encode()];
    let guest = started().say(frames.concat()).say(changes.concat());
    let (outcome, counter) = run(&guest, LONG).await;
    assert_eq!(outcome.unwrap().status, 0);
    assert_eq!((counter.output, counter.changes), (MAX_REPORT + 10, 1024));
    let (outcome, counter) = run(&started().say(exited(7)), LONG).await;
    assert_eq!((outcome.unwrap().status, counter.changes), (7, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_machine_waits_for_the_next_step_and_is_gone_after_the_last() {
    if !has_kvm() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let executor = executor(&started().say(exited(7)), folder.path());
    for _ in 0..3 {
        assert_eq!(run_in(&executor, LONG).await.0.unwrap().status, 7);
    }
    let machines = executor.machines().await.unwrap();
    let is_idle = std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1);
    executor.cleanups.wait();
    assert_eq!(machines.count(), usize::from(is_idle), "the spare one");
    executor.settle().await;
    assert_eq!(machines.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_wait_for_memory_and_a_spare_one_gives_its_own_up() {
    if !has_kvm() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let executor = executor(&started().say(exited(7)), folder.path());
    assert_eq!(run_in(&executor, LONG).await.0.unwrap().status, 7);
    executor.cleanups.wait();
    let machines = executor.machines().await.unwrap();
    let all = Limits { memory: NonZeroU64::new(u64::MAX), ..Limits::default() };
    let room = machines.room(&all).await.unwrap();
    executor.cleanups.wait();
    assert_eq!(machines.count(), 0, "the spare one");
    let limits = Limits::default();
    let mut next = std::pin::pin!(machines.room(&limits));
    assert!(std::future::poll_fn(|context| Poll::Ready(next.as_mut().poll(context).is_pending())).await);
    drop(room);
    next.await.unwrap();
}
