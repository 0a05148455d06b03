//! What a step writes: shown up to a limit, and kept whole on the disk when it is more.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    sync::Arc,
};

use crate::{
    progress::{Event, ProgressSink, StepInfo, Stream},
    store::Store,
};

/// Bytes of one step that are shown.
const CLIP: usize = 2 << 20;

/// Bytes of one step that are kept: a step that writes for ever does not fill the disk.
const LONGEST_LOG: u64 = 1 << 30;

/// The output of one step, secrets taken out.
pub(super) struct Shown {
    step: StepInfo,
    sink: Arc<dyn ProgressSink>,
    store: Store,
    /// What was shown so far, for the beginning of a log.
    shown: Vec<u8>,
    log: Log,
}

enum Log {
    /// Everything is shown.
    None,
    /// What comes goes into a file, which has this much by now.
    Open(File, u64),
    /// The file is full, or could not be written.
    Closed,
}

impl Shown {
    pub(super) fn new(step: &StepInfo, sink: &Arc<dyn ProgressSink>, store: &Store) -> Self {
        Self { step: step.clone(), sink: sink.clone(), store: store.clone(), shown: Vec::new(), log: Log::None }
    }

    pub(super) fn take(&mut self, stream: Stream, mut bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        if !matches!(self.log, Log::None) {
            return self.keep(&bytes);
        }
        let rest = bytes.split_off(bytes.len().min(CLIP - self.shown.len()));
        self.shown.extend_from_slice(&bytes);
        if !bytes.is_empty() {
            self.sink.event(Event::Output { step: self.step.clone(), stream, bytes });
        }
        if !rest.is_empty() {
            self.clip();
            self.keep(&rest);
        }
    }

    /// From here on nothing is shown.
    fn clip(&mut self) {
        let open = || {
            let path = self.store.new_log()?;
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            Ok::<_, Box<dyn std::error::Error>>((path, file))
        };
        let (log, path) = match open() {
            Ok((path, file)) => (Log::Open(file, 0), Some(path)),
            Err(error) => {
                tracing::warn!(%error, "cannot keep the output of a step");
                (Log::Closed, None)
            }
        };
        self.log = log;
        let shown = std::mem::take(&mut self.shown);
        self.keep(&shown);
        self.sink.event(Event::Clipped { step: self.step.clone(), shown: shown.len() as u64, log: path });
    }

    fn keep(&mut self, bytes: &[u8]) {
        let Log::Open(file, length) = &mut self.log else { return };
        let room = usize::try_from(LONGEST_LOG - *length).unwrap_or(usize::MAX);
        let part = &bytes[..bytes.len().min(room)];
        match file.write_all(part) {
            Ok(()) if part.len() == bytes.len() => *length += part.len() as u64,
            Ok(()) => self.log = Log::Closed,
            Err(error) => {
                tracing::warn!(%error, "the output of a step is kept in part");
                self.log = Log::Closed;
            }
        }
    }
}
