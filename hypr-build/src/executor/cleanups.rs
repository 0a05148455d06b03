//! Getting rid of what steps leave, aside from the steps that follow.

use std::{
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
};

/// What is being removed now. The last owner waits for it.
#[derive(Debug, Default)]
pub(super) struct Cleanups(Mutex<Vec<JoinHandle<()>>>);

impl Cleanups {
    /// Has `clean_up` done by a thread of its own: the runtime may be about to end.
    pub(super) fn start(&self, clean_up: impl FnOnce() + Send + 'static) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|cleanup| !cleanup.is_finished());
        match std::thread::Builder::new().name("hypr-cleanup".to_owned()).spawn(clean_up) {
            Ok(cleanup) => running.push(cleanup),
            Err(error) => tracing::warn!("cannot clean up after a sandbox: {error}"),
        }
    }

    /// Has `work` done by a thread of its own, which is waited for also when nobody wants its result any more. `None` when
    /// there is no such thread.
    pub(super) async fn carry_out<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, result) = tokio::sync::oneshot::channel();
        // Without a receiver the result is dropped, by that thread.
        self.start(move || drop(sender.send(work())));
        result.await.ok()
    }

    /// Waits, blocking, for what is being removed now.
    pub(super) fn wait(&self) {
        loop {
            let running = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
            if running.is_empty() {
                return;
            }
            // What is removed may own the last of this, and so wait here for itself.
            let this = std::thread::current().id();
            for cleanup in running.into_iter().filter(|cleanup| cleanup.thread().id() != this) {
                let _ = cleanup.join();
            }
        }
    }
}

impl Drop for Cleanups {
    fn drop(&mut self) {
        self.wait();
    }
}
