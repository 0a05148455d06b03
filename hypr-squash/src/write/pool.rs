//! Buffers that go around between the threads of a writer.

use crossbeam_channel::{Receiver, Sender, bounded};

/// Keeps a bounded number of buffers for reuse.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    give: Sender<Vec<u8>>,
    take: Receiver<Vec<u8>>,
}

impl Pool {
    pub(super) fn new(capacity: usize) -> Self {
        let (give, take) = bounded(capacity);
        Self { give, take }
    }

    /// A buffer of any length and content.
    pub(super) fn take(&self) -> Vec<u8> {
        self.take.try_recv().unwrap_or_default()
    }

    /// Takes a buffer back, or frees it when there are enough.
    pub(super) fn give(&self, buffer: Vec<u8>) {
        let _ = self.give.try_send(buffer);
    }
}
