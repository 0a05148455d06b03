//! The host's end of the connections that a step makes to its sockets.
//!
//! Each stream is a task of its own, so that none waits for another, and reading the agent's reports waits for none of
//! them. Nothing that the agent says can make hypr keep more than a window's worth of bytes a stream, of twice so many
//! streams as may be open: those that are, and those about to say their last word. The tasks end with this value.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    sync::{Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
};

use super::{
    ExecutorError, Mount, MountContent,
    protocol::{Flow, MAX_DATA, MAX_STREAMS, Request, WINDOW},
    session::out_of_order,
    ssh_agent,
};

/// All streams of a step.
pub(super) struct Streams {
    /// The agents behind the mounts, by number.
    agents: BTreeMap<u32, PathBuf>,
    open: BTreeMap<u32, Stream>,
    /// Tasks that have stopped listening and are about to say their last word.
    closing: Vec<AbortHandle>,
    /// The number that the next stream has to have.
    next: u32,
    /// Takes what is to be said to the sandbox.
    requests: mpsc::Sender<Request>,
    tasks: JoinSet<()>,
}

/// What is known of a stream where reports come in.
struct Stream {
    incoming: mpsc::UnboundedSender<Flow>,
    allowances: Arc<Allowances>,
    task: AbortHandle,
}

/// How much may be on its way.
struct Allowances {
    /// Bytes that have come from the sandbox and were not taken.
    held: AtomicUsize,
    /// Bytes that the sandbox takes yet.
    wanted: Semaphore,
}

impl Streams {
    /// The streams of a step with these mounts; `requests` are passed on to its agent.
    pub(super) fn new(mounts: &[Mount], requests: mpsc::Sender<Request>) -> Self {
        let agents = (0..).zip(mounts).filter_map(|(number, mount)| match &mount.content {
            MountContent::SshAgent { socket, .. } => Some((number, socket.clone())),
            _ => None,
        });
        Self {
            agents: agents.collect(),
            open: BTreeMap::new(),
            closing: Vec::new(),
            next: 0,
            requests,
            tasks: JoinSet::new(),
        }
    }

    /// Opens a stream for a connection to the mount of this number.
    ///
    /// # Errors
    /// Fails when there are too many, or there is nothing to connect to.
    pub(super) fn connected(&mut self, number: u32, mount: u32) -> Result<(), ExecutorError> {
        // A task stops listening before it says its last word, so those whose last word was heard are not counted. One
        // that cannot say it keeps its connection, so there is a bound on those as well.
        self.closing.retain(|task| !task.is_finished());
        self.closing.extend(self.open.extract_if(.., |_, stream| stream.incoming.is_closed()).map(|(_, s)| s.task));
        while self.tasks.try_join_next().is_some() {}
        let agent = self.agents.get(&mount).ok_or_else(out_of_order)?.clone();
        if number != self.next || self.open.len() >= MAX_STREAMS || self.closing.len() > MAX_STREAMS {
            return Err(out_of_order());
        }
        self.next = number.checked_add(1).ok_or_else(out_of_order)?;
        let (incoming, received) = mpsc::unbounded_channel();
        let allowances = Arc::new(Allowances { held: AtomicUsize::new(0), wanted: Semaphore::new(WINDOW) });
        let end = End { number, requests: self.requests.clone(), allowances: Arc::clone(&allowances) };
        let task = self.tasks.spawn(async move { end.serve(received, agent).await });
        self.open.insert(number, Stream { incoming, allowances, task });
        Ok(())
    }

    /// Takes what the agent says of a stream.
    ///
    /// # Errors
    /// Fails on what it may not say.
    pub(super) fn take(&mut self, number: u32, flow: Flow) -> Result<(), ExecutorError> {
        if number >= self.next {
            return Err(out_of_order());
        }
        let Some(stream) = self.open.get(&number) else { return Ok(()) };
        match &flow {
            Flow::Data(bytes) => {
                let held = stream.allowances.held.fetch_add(bytes.len(), Ordering::Relaxed);
                if held + bytes.len() > WINDOW {
                    return Err(out_of_order());
                }
            }
            Flow::Taken(count) => {
                let (wanted, count) = (&stream.allowances.wanted, *count as usize);
                if wanted.available_permits() + count > WINDOW {
                    return Err(out_of_order());
                }
                wanted.add_permits(count);
                return Ok(());
            }
            Flow::End => {}
            Flow::Close => {
                stream.task.abort();
                self.open.remove(&number);
                return Ok(());
            }
        }
        // A task that has ended has said so, or is about to.
        let _ = stream.incoming.send(flow);
        Ok(())
    }

    /// Ends all streams.
    pub(super) async fn shut_down(mut self) {
        self.tasks.shutdown().await;
    }
}

/// The host's end of one stream.
struct End {
    number: u32,
    requests: mpsc::Sender<Request>,
    allowances: Arc<Allowances>,
}

impl End {
    /// Serves the stream until either side has no more to say.
    async fn serve(&self, received: mpsc::UnboundedReceiver<Flow>, agent: PathBuf) {
        let (ours, theirs) = tokio::io::duplex(MAX_DATA);
        let (reader, writer) = tokio::io::split(ours);
        let talk = async {
            // The other half is closed with the end of this, so that the rest is sent and then no more.
            let served = async { ssh_agent::serve(theirs, &agent).await };
            tokio::join!(served, self.send(reader)).0
        };
        let last = tokio::select! {
            served = talk => match served {
                Ok(()) => Flow::End,
                Err(error) => {
                    tracing::debug!(agent = %agent.display(), %error, "a connection to the SSH agent ended");
                    Flow::Close
                }
            },
            // The sandbox's side is gone, and nobody is left to be told.
            () = self.deliver(received, writer) => return,
        };
        self.say(last).await;
    }

    /// Passes on what comes from the sandbox, until that closes the stream.
    async fn deliver(&self, mut received: mpsc::UnboundedReceiver<Flow>, mut writer: WriteHalf<DuplexStream>) {
        while let Some(flow) = received.recv().await {
            let Flow::Data(bytes) = flow else {
                // Cannot fail in memory.
                let _ = writer.shutdown().await;
                continue;
            };
            if writer.write_all(&bytes).await.is_err() {
                // Nobody listens, which the other half of the stream tells.
                continue;
            }
            self.allowances.held.fetch_sub(bytes.len(), Ordering::Relaxed);
            self.say(Flow::Taken(u32::try_from(bytes.len()).unwrap_or(u32::MAX))).await;
        }
    }

    /// Sends what comes from the other side, as far as the sandbox takes it, to its end.
    async fn send(&self, mut reader: ReadHalf<DuplexStream>) {
        let wanted = &self.allowances.wanted;
        loop {
            // Waits for room for a byte, and takes what room there is.
            let Ok(first) = wanted.acquire().await else { return };
            first.forget();
            let more = wanted.forget_permits(MAX_DATA - 1);
            let mut bytes = vec![0; 1 + more];
            let Ok(count) = reader.read(&mut bytes).await else { return };
            wanted.add_permits(1 + more - count);
            if count == 0 {
                return;
            }
            bytes.truncate(count);
            self.say(Flow::Data(bytes)).await;
        }
    }

    /// Without a sandbox that listens, the step is over, and so is this soon.
    async fn say(&self, flow: Flow) {
        let _ = self.requests.send(Request::Stream(self.number, flow)).await;
    }
}
