//! From a running step's streams to events and to a layer.

use std::{fs::File, io::BufReader, sync::Arc};

use async_trait::async_trait;
use hypr_squash::{Options, Summary, Writer, tar};
use tokio::{io::AsyncWrite, net::unix::pipe, task::JoinHandle};

use super::error::StepError;
use crate::{
    executor::StepIo,
    progress::{Event, ProgressSink, StepInfo, Stream},
    store::{PendingLayer, Store},
};

/// A step's output goes to the sink, its changes through a pipe to a thread that packs them.
pub(super) struct Io {
    step: StepInfo,
    sink: Arc<dyn ProgressSink>,
    changes: pipe::Sender,
}

/// The layer that is being packed at the other end of the pipe.
pub(super) struct Packing {
    task: JoinHandle<Result<(PendingLayer, Summary), StepError>>,
}

impl Io {
    /// Starts packing; times from `volatile_from` (seconds since 1970) on count as the step's own.
    pub(super) fn start(
        store: &Store,
        step: &StepInfo,
        sink: &Arc<dyn ProgressSink>,
        volatile_from: i64,
    ) -> Result<(Self, Packing), StepError> {
        let (changes, receiver) = pipe::pipe()?;
        let receiver = File::from(receiver.into_blocking_fd()?);
        let pending = store.new_layer()?;
        let task = tokio::task::spawn_blocking(move || pack(pending, receiver, volatile_from));
        Ok((Self { step: step.clone(), sink: sink.clone(), changes }, Packing { task }))
    }

    fn output(&self, stream: Stream, bytes: &[u8]) {
        self.sink.event(Event::Output { step: self.step.clone(), stream, bytes: bytes.to_vec() });
    }
}

#[async_trait]
impl StepIo for Io {
    async fn stdout(&mut self, bytes: &[u8]) {
        self.output(Stream::Stdout, bytes);
    }

    async fn stderr(&mut self, bytes: &[u8]) {
        self.output(Stream::Stderr, bytes);
    }

    fn changes(&mut self) -> &mut (dyn AsyncWrite + Send + Unpin) {
        &mut self.changes
    }
}

impl Packing {
    /// Waits for the layer; the sender must be gone by then.
    pub(super) async fn finish(self) -> Result<(PendingLayer, Summary), StepError> {
        match self.task.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(StepError::Cancelled),
        }
    }
}

fn pack(pending: PendingLayer, changes: File, volatile_from: i64) -> Result<(PendingLayer, Summary), StepError> {
    let options = Options { volatile_from: Some(volatile_from), ..Options::default() };
    let mut writer = Writer::create(pending.file().try_clone()?, options)?;
    let read = tar::ReadOptions { whiteouts: tar::Whiteouts::Overlay, ..tar::ReadOptions::default() };
    tar::unpack_into(&mut writer, BufReader::with_capacity(1 << 17, changes), &read).map_err(StepError::changes)?;
    let summary = writer.finish().map_err(StepError::changes)?;
    Ok((pending, summary))
}
