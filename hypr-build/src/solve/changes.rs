//! From a running step's streams to events and to a layer.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    sync::Arc,
};

use async_trait::async_trait;
use hypr_squash::{Options, Summary, Writer, tar};
use tokio::{io::AsyncWrite, net::unix::pipe, task::JoinHandle};

use super::{error::StepError, ground::shown, shown::Shown};
use crate::{
    executor::StepIo,
    progress::{Event, ProgressSink, StepInfo, Stream},
    secret::{Redactor, Sought, Watched},
    store::{PendingLayer, Store},
};

/// A step's output goes to the sink, its changes through a pipe to a thread that packs them.
pub(super) struct Io {
    /// Where what the step writes goes.
    shown: Shown,
    /// Of both streams.
    redactors: [Redactor; 2],
    changes: pipe::Sender,
    /// Where the changes of mounts go, by their number.
    mounts: BTreeMap<usize, pipe::Sender>,
    /// Takes what nobody asked for.
    nowhere: tokio::io::Sink,
    /// The line of the Dockerfile, for warnings.
    line: usize,
    sink: Arc<dyn ProgressSink>,
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
        sought: &Sought,
    ) -> Result<(Self, Packing), StepError> {
        let (changes, packing) = Packing::start(store, volatile_from, sought)?;
        let io = Self {
            shown: Shown::new(step, sink, store),
            redactors: [0, 1].map(|_| Redactor::new(sought.clone())),
            changes,
            mounts: BTreeMap::new(),
            nowhere: tokio::io::sink(),
            line: step.line,
            sink: sink.clone(),
        };
        Ok((io, packing))
    }

    /// Starts packing the changes of a mount. Secrets may be in there: no image gets what a cache holds.
    pub(super) fn capture_mount(&mut self, store: &Store, number: usize) -> Result<Packing, StepError> {
        let (changes, packing) = Packing::start(store, i64::MAX, &Sought::default())?;
        self.mounts.insert(number, changes);
        Ok(packing)
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        let bytes = self.redactors[stream as usize].feed(bytes);
        self.shown.take(stream, bytes);
    }
}

impl Drop for Io {
    /// Shows what was held back because it might have become a secret.
    fn drop(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = self.redactors[stream as usize].rest();
            self.shown.take(stream, rest);
        }
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

    fn mount_changes(&mut self, number: usize) -> &mut (dyn AsyncWrite + Send + Unpin) {
        match self.mounts.get_mut(&number) {
            Some(changes) => changes,
            None => &mut self.nowhere,
        }
    }

    async fn sockets_left_out(&mut self, sockets: u64, first: &[u8]) {
        let others = match sockets {
            0 | 1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let path: String = shown(first).chars().filter(|c| !c.is_control()).collect();
        let message = format!("sockets are left out of the layer: `{path}`{others}");
        self.sink.event(Event::Warning { line: Some(self.line), message });
    }
}

impl Packing {
    fn start(store: &Store, volatile_from: i64, sought: &Sought) -> Result<(pipe::Sender, Self), StepError> {
        let (changes, receiver) = pipe::pipe()?;
        let receiver = File::from(receiver.into_blocking_fd()?);
        let receiver = Watched::new(receiver, sought.clone());
        let pending = store.new_layer()?;
        let task = tokio::task::spawn_blocking(move || pack(pending, receiver, volatile_from));
        Ok((changes, Self { task }))
    }

    /// Waits for the layer; the sender must be gone by then.
    pub(super) async fn finish(self) -> Result<(PendingLayer, Summary), StepError> {
        match self.task.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(StepError::Cancelled),
        }
    }
}

fn pack(pending: PendingLayer, changes: impl Read, volatile_from: i64) -> Result<(PendingLayer, Summary), StepError> {
    let options = Options { volatile_from: Some(volatile_from), ..Options::default() };
    let mut writer = Writer::create(pending.file().try_clone()?, options)?;
    let read = tar::ReadOptions { whiteouts: tar::Whiteouts::Overlay, ..tar::ReadOptions::default() };
    tar::unpack_into(&mut writer, BufReader::with_capacity(1 << 17, changes), &read).map_err(StepError::changes)?;
    let summary = writer.finish().map_err(StepError::changes)?;
    Ok((pending, summary))
}
