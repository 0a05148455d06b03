//! hypr's side of the conversation with the agent, whatever carries it.
//!
//! Nothing the agent says is trusted: a frame's length is checked before it is read, frames come in the order that the
//! protocol has or the sandbox is lost, and text from it is text only. Reading stops while [`StepIo`] is busy, which
//! is how back-pressure reaches the process.

use std::{io, pin::pin, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    Exceeded, ExecutorError, Mount, StepIo,
    protocol::{self, Exited, Failure, FailureKind, HEADER, MAX_REPORT, Malformed, Report, Request},
    streams::Streams,
};

/// How long the agent may take for anything but running the process: far more than a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(180);

/// Requests that wait to be written.
const QUEUE: usize = 16;

const TIME_IS_OVER: ExecutorError = ExecutorError::Limit { exceeded: Exceeded::Time, status: None };
const TOO_MANY_CHANGES: ExecutorError = ExecutorError::Limit { exceeded: Exceeded::Scratch, status: None };

/// A conversation over `stream`.
#[derive(Debug)]
pub(crate) struct Session<S> {
    stream: S,
    body: Vec<u8>,
    /// When the time of the step is over, the capture of its changes included.
    deadline: Option<Instant>,
    /// Bytes of changes that may still come.
    changes_left: u64,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Session<S> {
    /// Waits for the agent's first words on `stream`. The conversation has time until `deadline`.
    ///
    /// # Errors
    /// Fails when the agent does not answer, or not in this protocol's version. Here as later, [`ExecutorError::Limit`]
    /// says that the time is over.
    pub(crate) async fn open(stream: S, deadline: Option<Instant>) -> Result<Self, ExecutorError> {
        let mut session = Self { stream, body: vec![0; MAX_REPORT], deadline, changes_left: u64::MAX };
        match session.receive().await? {
            Some(Report::Hello(protocol::VERSION)) => Ok(session),
            Some(Report::Hello(version)) => {
                Err(lost(format!("its agent speaks version {version} of the protocol, not {}", protocol::VERSION)))
            }
            _ => Err(out_of_order()),
        }
    }

    /// What the conversation is carried by.
    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    /// Takes no more changes than a disk of so many bytes can hold: their contents, and a header for each block.
    pub(crate) fn limit_changes(&mut self, scratch: u64) {
        self.changes_left = scratch.saturating_mul(2);
    }

    /// Sends `request`.
    ///
    /// # Errors
    /// Fails when the agent is gone or does not listen.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<(), ExecutorError> {
        let frame = request.encode();
        let sent = tokio::time::timeout(PATIENCE, self.stream.write_all(&frame));
        match in_time(self.deadline, async { Ok(sent.await) }).await? {
            Ok(Ok(())) => Ok(()),
            // What it said before it went away tells more than that it is gone.
            Ok(Err(error)) => match self.receive().await {
                Err(said @ (ExecutorError::Setup { .. } | ExecutorError::Start { .. })) => Err(said),
                _ => Err(lost(format!("its agent does not listen: {error}"))),
            },
            Err(_) => Err(lost("its agent does not listen".to_owned())),
        }
    }

    /// Waits until the agent's user namespace wants its id maps.
    ///
    /// # Errors
    /// Fails when the agent says anything else.
    pub(crate) async fn wait_for_id_maps(&mut self) -> Result<(), ExecutorError> {
        match self.receive().await? {
            Some(Report::MapIds) => Ok(()),
            _ => Err(out_of_order()),
        }
    }

    /// Follows the process to its end and serves its connections to sockets among `mounts`.
    ///
    /// # Errors
    /// As the agent reports them.
    pub(crate) async fn follow(&mut self, mounts: &[Mount], io: &mut dyn StepIo) -> Result<Exited, ExecutorError> {
        match self.receive().await? {
            Some(Report::Started) => {}
            _ => return Err(out_of_order()),
        }
        in_time(self.deadline, self.forward(mounts, io)).await
    }

    async fn forward(&mut self, mounts: &[Mount], io: &mut dyn StepIo) -> Result<Exited, ExecutorError> {
        let (mut reader, writer) = tokio::io::split(&mut self.stream);
        let (requests, queue) = mpsc::channel(QUEUE);
        let mut streams = Streams::new(mounts, requests);
        let body = &mut self.body;
        let reading = async {
            loop {
                // A process may be silent for as long as it wants.
                match read(&mut reader, body).await? {
                    Some(Report::Stdout(bytes)) => io.stdout(&bytes).await,
                    Some(Report::Stderr(bytes)) => io.stderr(&bytes).await,
                    Some(Report::Connected { stream, mount }) => streams.connected(stream, mount)?,
                    Some(Report::Stream(stream, flow)) => streams.take(stream, flow)?,
                    Some(Report::Exited(exited)) => return Ok((exited, streams)),
                    _ => return Err(out_of_order()),
                }
            }
        };
        // Reading never waits for writing, or both sides might wait for each other.
        let mut writing = pin!(write_requests(writer, queue));
        let (exited, streams) = tokio::select! {
            ended = reading => ended?,
            () = &mut writing => return Err(out_of_order()),
        };
        streams.shut_down().await;
        // A frame that was begun is ended: the conversation goes on.
        match tokio::time::timeout(PATIENCE, writing).await {
            Ok(()) => Ok(exited),
            Err(_) => Err(lost("its agent does not listen".to_owned())),
        }
    }

    /// Has the changes captured and passes them to `io`.
    ///
    /// # Errors
    /// [`ExecutorError::Changes`] when `io` does not take them; other errors as the agent reports them.
    pub(crate) async fn capture(&mut self, io: &mut dyn StepIo) -> Result<(), ExecutorError> {
        self.send(&Request::Capture).await?;
        let left_out = in_time(self.deadline, self.take_changes(io.changes())).await?;
        if let Some((sockets, first)) = left_out {
            io.sockets_left_out(sockets, &first).await;
        }
        Ok(())
    }

    /// Has the changes below the mount of this number captured and passes them to `io`.
    ///
    /// # Errors
    /// As [`capture`](Self::capture).
    pub(crate) async fn capture_mount(&mut self, number: usize, io: &mut dyn StepIo) -> Result<(), ExecutorError> {
        self.send(&Request::CaptureMount(u32::try_from(number).unwrap_or(u32::MAX))).await?;
        in_time(self.deadline, self.take_changes(io.mount_changes(number))).await.map(drop)
    }

    /// Passes the changes to `out`; returns how many sockets they lack, and the first of them.
    async fn take_changes(
        &mut self,
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Option<(u64, Vec<u8>)>, ExecutorError> {
        let mut left_out = None;
        loop {
            match self.receive().await? {
                Some(Report::Changes(bytes)) if !bytes.is_empty() => {
                    let left = self.changes_left.checked_sub(bytes.len() as u64);
                    self.changes_left = left.ok_or(TOO_MANY_CHANGES)?;
                    out.write_all(&bytes).await.map_err(ExecutorError::Changes)?;
                }
                Some(Report::LeftOut { sockets, first }) if left_out.is_none() => left_out = Some((sockets, first)),
                Some(Report::Captured) => {
                    return out.shutdown().await.map(|()| left_out).map_err(ExecutorError::Changes);
                }
                _ => return Err(out_of_order()),
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Report>, ExecutorError> {
        let late = |_| lost(format!("its agent said nothing for {} seconds", PATIENCE.as_secs()));
        let report = tokio::time::timeout(PATIENCE, read(&mut self.stream, &mut self.body));
        in_time(self.deadline, async { report.await.map_err(late)? }).await
    }
}

/// When the time of a step that may take so long and begins now is over.
pub(crate) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    Instant::now().checked_add(timeout?)
}

/// What `work` comes to before the time is over.
pub(crate) async fn in_time<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, ExecutorError>>,
) -> Result<T, ExecutorError> {
    match deadline {
        None => work.await,
        Some(deadline) => timeout_at(deadline, work).await.unwrap_or(Err(TIME_IS_OVER)),
    }
}

/// The next report; `None` at the end of the stream.
async fn read(stream: &mut (impl AsyncRead + Unpin), body: &mut [u8]) -> Result<Option<Report>, ExecutorError> {
    let mut header = [0; HEADER];
    match stream.read_exact(&mut header).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other.map_err(unreadable)?,
    };
    let (kind, length) = protocol::parse_header(header, MAX_REPORT).map_err(malformed)?;
    let body = &mut body[..length];
    stream.read_exact(body).await.map_err(unreadable)?;
    match Report::decode(kind, body).map_err(malformed)? {
        Report::Failed(failure) => Err(failed(failure)),
        report => Ok(Some(report)),
    }
}

/// Writes what comes out of `queue`, to its end. An agent that takes no more is found out by whoever reads.
async fn write_requests(mut writer: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Request>) {
    let mut takes = true;
    while let Some(request) = queue.recv().await {
        takes = takes && writer.write_all(&request.encode()).await.is_ok();
    }
}

/// The error that the agent reports.
pub(crate) fn failed(Failure { kind, action, errno, reason }: Failure) -> ExecutorError {
    let (action, reason) = (one_line(&action), one_line(&reason));
    let source = if errno == 0 { io::Error::other(reason.clone()) } else { io::Error::from_raw_os_error(errno) };
    match kind {
        // Whoever called knows the program's name.
        FailureKind::Start if errno == 0 => ExecutorError::Start { program: String::new(), reason },
        FailureKind::Start => {
            ExecutorError::Start { program: String::new(), reason: format!("cannot {action}: {source}") }
        }
        FailureKind::Protocol => lost(format!("its agent could not {action}: {source}")),
        FailureKind::Setup | FailureKind::Capture => ExecutorError::Setup { action, source },
    }
}

/// Text of a length and kind that fits into an error, whatever a hostile agent wrote.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(1000).collect()
}

fn malformed(malformed: Malformed) -> ExecutorError {
    lost(format!("its agent sent {malformed}"))
}

fn unreadable(error: io::Error) -> ExecutorError {
    lost(format!("its agent cannot be heard: {error}"))
}

pub(super) fn out_of_order() -> ExecutorError {
    lost("its agent ended or spoke out of order".to_owned())
}

fn lost(what: String) -> ExecutorError {
    ExecutorError::Lost(what)
}

#[cfg(test)]
mod tests;
