//! Threads between the caller and the file: a numbered block goes to any worker, and is written in its turn.
//!
//! Numbers are given by the caller's thread alone, so the file does not depend on how many workers there are or how
//! long they take. A ticket must be had for each number and comes back when it is written; so what is under way is
//! bounded, and no channel is ever full.

use std::ops::Range;
use std::thread::{self, JoinHandle};

use blake3::hazmat::ChainingValue;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::committer::{self, Block, Ledger, Message, Numbered, Slot};
use super::output::Output;
use super::pool::Pool;
use crate::compress::Compressor;
use crate::{Error, Options, Reader};

/// Memory that blocks under way may take, two buffers each.
const MEMORY: usize = 32 << 20;

#[derive(Debug)]
pub(super) struct Pipeline {
    pool: Pool,
    next: u64,
    /// Runs copied from other images so far.
    runs: u32,
    tickets: Receiver<()>,
    /// `None` once the threads have been told to end.
    channels: Option<Channels>,
    workers: Vec<JoinHandle<()>>,
    committer: Option<JoinHandle<Result<(Output, Ledger), Error>>>,
}

#[derive(Debug)]
struct Channels {
    jobs: Sender<Job>,
    messages: Sender<Numbered>,
}

/// A block to compress: a buffer and how much of it counts.
struct Job {
    number: u64,
    slot: Slot,
    bytes: Vec<u8>,
    used: usize,
}

impl Pipeline {
    pub(super) fn start(output: Output, options: &Options) -> Result<Self, Error> {
        let threads = options.threads.get();
        let window = (3 * threads + 4).min(MEMORY / (2 * options.block_size.len())).max(threads + 1);
        #[cfg(test)]
        let window = options.disturbance.window.unwrap_or(window);
        let (give_ticket, tickets) = bounded(window);
        for _ in 0..window {
            give_ticket.send(()).expect("the channel has room for the window");
        }
        let (jobs, take_job) = bounded(window);
        let (messages, take_message) = bounded(window);
        let pool = Pool::new(2 * window);
        let mut pipeline = Self {
            pool: pool.clone(),
            next: 0,
            runs: 0,
            tickets,
            channels: Some(Channels { jobs, messages: messages.clone() }),
            workers: Vec::with_capacity(threads),
            committer: None,
        };
        pipeline.committer = Some(spawn("squashfs-write", {
            let pool = pool.clone();
            move || committer::run(output, &take_message, &give_ticket, &pool)
        })?);
        for _ in 0..threads {
            let (take_job, messages, pool, options) =
                (take_job.clone(), messages.clone(), pool.clone(), options.clone());
            pipeline.workers.push(spawn("squashfs-compress", move || work(&options, &take_job, &messages, &pool))?);
        }
        Ok(pipeline)
    }

    /// A buffer of at least `length` bytes of any content.
    pub(super) fn buffer(&self, length: usize) -> Vec<u8> {
        let mut buffer = self.pool.take();
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        buffer
    }

    /// Takes back a buffer that was not needed after all.
    pub(super) fn recycle(&self, buffer: Vec<u8>) {
        self.pool.give(buffer);
    }

    /// Compresses and writes the first `used` bytes of a buffer.
    pub(super) fn compress(&mut self, slot: Slot, bytes: Vec<u8>, used: usize) -> Result<(), Error> {
        let number = self.ticket()?;
        let sent = self
            .channels
            .as_ref()
            .is_some_and(|channels| channels.jobs.send(Job { number, slot, bytes, used }).is_ok());
        if sent { Ok(()) } else { Err(self.fail()) }
    }

    /// Has the committer do something in its turn.
    pub(super) fn commit(&mut self, message: Message) -> Result<(), Error> {
        let number = self.ticket()?;
        let sent = self.channels.as_ref().is_some_and(|channels| channels.messages.send((number, message)).is_ok());
        if sent { Ok(()) } else { Err(self.fail()) }
    }

    /// Copies stored bytes of another image in their turn; returns the number of the run.
    pub(super) fn copy(&mut self, source: &Reader, range: Range<u64>) -> Result<u32, Error> {
        let run = self.runs;
        self.runs = run.checked_add(1).ok_or(Error::Limit { what: "runs", limit: u64::from(u32::MAX) })?;
        let (offset, length) = (range.start, range.end - range.start);
        self.commit(Message::Copy { run, source: source.clone(), offset, length })?;
        Ok(run)
    }

    /// Keeps runs that the file begins with; the last one may be continued with [`copy_more`](Self::copy_more).
    pub(super) fn keep(&mut self, runs: Vec<u64>, groups: Vec<ChainingValue>) -> Result<(), Error> {
        self.runs = u32::try_from(runs.len()).map_err(|_| Error::Limit { what: "runs", limit: u64::from(u32::MAX) })?;
        self.commit(Message::Keep { runs, groups })
    }

    /// Drops what the file holds.
    pub(super) fn keep_nothing(&mut self) -> Result<(), Error> {
        self.commit(Message::Empty)
    }

    /// Copies what comes behind the part of a run that was kept.
    pub(super) fn copy_more(&mut self, run: u32, source: &Reader, range: Range<u64>) -> Result<(), Error> {
        let (offset, length) = (range.start, range.end - range.start);
        self.commit(Message::Copy { run, source: source.clone(), offset, length })
    }

    /// Waits until everything is written.
    pub(super) fn finish(mut self) -> Result<(Output, Ledger), Error> {
        self.end()
    }

    fn ticket(&mut self) -> Result<u64, Error> {
        if self.tickets.recv().is_err() {
            return Err(self.fail());
        }
        let number = self.next;
        self.next += 1;
        Ok(number)
    }

    /// The error that ended the threads.
    fn fail(&mut self) -> Error {
        self.end().err().unwrap_or(Error::Poisoned)
    }

    fn end(&mut self) -> Result<(Output, Ledger), Error> {
        self.channels = None;
        let lost = || Error::Io { action: "write the image", source: std::io::Error::other("a thread was lost") };
        let workers_lost = self.workers.drain(..).map(JoinHandle::join).filter(Result::is_err).count();
        let committed = self.committer.take().ok_or(Error::Poisoned)?.join().map_err(|_| lost())??;
        if workers_lost == 0 { Ok(committed) } else { Err(lost()) }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Whoever drops an unfinished writer has no use for its result, only for the end of its threads.
        let _ = self.end();
    }
}

fn work(options: &Options, jobs: &Receiver<Job>, messages: &Sender<Numbered>, pool: &Pool) {
    let mut compressor = Compressor::new(options.codec);
    for Job { number, slot, bytes, used } in jobs {
        #[cfg(test)]
        options.disturbance.wait(number);
        let message = match compressor.as_mut() {
            Ok(compressor) => match compressor.compress(&bytes[..used]) {
                Ok(Some(compressed)) => {
                    let mut block = pool.take();
                    block.clear();
                    block.extend_from_slice(compressed);
                    pool.give(bytes);
                    Message::Block(slot, Block::Compressed(block))
                }
                Ok(None) => Message::Block(slot, Block::Raw(bytes, used)),
                Err(error) => Message::Failed(error),
            },
            Err(_) => Message::Failed(Error::Poisoned),
        };
        if messages.send((number, message)).is_err() {
            break;
        }
    }
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, Error> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(Error::io("start a thread"))
}
