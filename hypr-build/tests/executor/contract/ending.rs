//! How a step ends, and that nothing of it stays.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hypr_build::executor::{Executor, ExecutorError, StepIo};
use tokio::{io::AsyncWrite, sync::mpsc};

use crate::{layers::Workshop, leaks, run::Step};

pub(crate) async fn what_was_left_running_is_killed_before_the_changes_are_taken(
    executor: &dyn Executor,
    workshop: &Workshop,
) {
    let script = "echo x >/file; (trap '' TERM HUP; sleep 2; echo late >/file; echo late >/late) & \
                  setsid sh -c 'while :; do echo y >>/growing; done' & sleep 0.1";
    let recording = Step::shell(&workshop.busybox(), script).succeed(executor).await;
    assert_eq!(recording.paths(), ["file", "growing"]);
}

pub(crate) async fn an_open_output_does_not_keep_the_step_alive(executor: &dyn Executor, workshop: &Workshop) {
    let begin = Instant::now();
    let recording = Step::shell(&workshop.busybox(), "echo first; sleep 600 & echo last").succeed(executor).await;
    assert_eq!(recording.text(), "first\nlast\n");
    assert!(begin.elapsed() < Duration::from_secs(120), "{:?}", begin.elapsed());
}

pub(crate) async fn dropping_the_future_leaves_nothing(executor: &dyn Executor, workshop: &Workshop) {
    let snapshot = workshop.busybox();
    let script = "mkdir -p /a/b/c; echo x >/a/b/c/d; setsid sleep 1000 & echo ready; sleep 1000";
    let step = Step::shell(&snapshot, script);
    let (sender, mut ready) = mpsc::channel(1);
    let mut io = Signal { sender, sink: Sink(Vec::new()) };
    {
        let run = executor.run(step.as_step(), &mut io);
        tokio::select! {
            outcome = run => panic!("{outcome:?}"),
            signal = ready.recv() => assert_eq!(signal, Some(())),
        }
    }
    leaks::wait_until_gone(workshop).await;
}

pub(crate) async fn a_receiver_that_fails_ends_the_step(executor: &dyn Executor, workshop: &Workshop) {
    let (sender, _ready) = mpsc::channel(16);
    let mut io = Signal { sender, sink: Sink(vec![0; 4096]) };
    let snapshot = workshop.busybox();
    let step = Step::shell(&snapshot, "head -c 10000000 /dev/zero | tr '\\0' x >/file");
    let outcome = executor.run(step.as_step(), &mut io).await;
    assert!(matches!(outcome, Err(ExecutorError::Changes(_))), "{outcome:?}");
    leaks::wait_until_gone(workshop).await;
}

pub(crate) async fn steps_run_side_by_side(executor: &dyn Executor, workshop: &Workshop) {
    let snapshot = workshop.busybox();
    let runs = (0..8).map(|number| {
        let step = Step::shell(&snapshot, &format!("echo {number} >/file; sleep 0.2; cat /file"));
        async move { assert_eq!(step.succeed(executor).await.text(), format!("{number}\n")) }
    });
    futures_util::future::join_all(runs).await;
    leaks::wait_until_gone(workshop).await;
}

pub(crate) async fn a_tree_deeper_than_any_path_is_captured_and_removed(executor: &dyn Executor, workshop: &Workshop) {
    // No path reaches to the bottom, so it is built from the bottom up.
    let script = "chain=; for i in $(seq 100); do chain=d/$chain; done; mkdir d; echo x >d/file; \
                  for i in $(seq 30); do mkdir -p n/$chain; mv d n/${chain}d; mv n d; done";
    let recording = Step::shell(&workshop.busybox(), script).succeed(executor).await;
    assert_eq!(recording.paths().len(), 1 + 30 * 101 + 1);
    leaks::wait_until_gone(workshop).await;
}

/// Tells when there is output.
struct Signal {
    sender: mpsc::Sender<()>,
    sink: Sink,
}

/// Takes as many bytes as it has room for and then fails.
struct Sink(Vec<u8>);

#[async_trait]
impl StepIo for Signal {
    async fn stdout(&mut self, _: &[u8]) {
        let _ = self.sender.send(()).await;
    }

    async fn stderr(&mut self, _: &[u8]) {}

    fn changes(&mut self) -> &mut (dyn AsyncWrite + Send + Unpin) {
        &mut self.sink
    }

    fn mount_changes(&mut self, _: usize) -> &mut (dyn AsyncWrite + Send + Unpin) {
        &mut self.sink
    }
}

impl AsyncWrite for Sink {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let room = self.0.len().min(bytes.len());
        let rest = self.0.len() - room;
        self.0.truncate(rest);
        Poll::Ready(if room == 0 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(room) })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
