//! Watches one sandbox from outside: its output, its end, and the channel that it must not outlive.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd},
};

use crate::{
    channel::Channel,
    failure::{Context, Failed},
    init::{self, Links, Plan},
    output::Output,
    protocol::{self, Exited, FailureKind, HEADER, MAX_REPORT, Report, Request, kind},
    streams::Streams,
    sys::{
        pipe::{POLLIN, PollFd, pipe, poll},
        process::{self, Child, Ended, Fork},
    },
};

/// How a sandbox ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The process ended by itself, and all output has been sent.
    Exited(Exited),
    /// hypr closed the channel; everything was killed.
    Abandoned,
}

/// Runs `plan`'s process, and serves connections to its sockets. `ready` is called once the sandbox stands and the process is about to start.
///
/// When this returns, no process of the sandbox is left.
pub(crate) fn run(
    channel: &mut Channel,
    plan: Plan,
    streams: Streams,
    ready: impl FnOnce(&mut Channel) -> Result<(), Failed>,
) -> Result<End, Failed> {
    let failed = "make a pipe";
    let (stdout, stdout_writer) = pipe().context(failed)?;
    let (stderr, stderr_writer) = pipe().context(failed)?;
    let (reports, report_writer) = pipe().context(failed)?;
    let (go_reader, go) = pipe().context(failed)?;
    process::unshare(process::NEW_PID).context("make a pid namespace")?;
    let child = match process::fork().context("fork")? {
        Fork::Child => {
            let links = Links { go: go_reader, report: report_writer, stdout: stdout_writer, stderr: stderr_writer };
            init::main(plan, links);
        }
        Fork::Parent(child) => child,
    };
    drop((go_reader, report_writer, stdout_writer, stderr_writer, plan));
    let mut watch = Watch {
        channel,
        child: Some(child),
        stdout: Output::new(stdout, kind::STDOUT),
        stderr: Output::new(stderr, kind::STDERR),
        reports: File::from(reports),
        streams,
        buffer: vec![0; MAX_REPORT],
    };
    let end = watch.until_end(ready, File::from(go));
    if let Some(child) = watch.child {
        process::kill(child);
        let _ = process::wait(Some(child));
    }
    end
}

struct Watch<'a> {
    channel: &'a mut Channel,
    /// The init, until it has been waited for.
    child: Option<Child>,
    stdout: Output,
    stderr: Output,
    /// Frames from the init, each written at once and smaller than a pipe's atomic unit.
    reports: File,
    streams: Streams,
    buffer: Vec<u8>,
}

impl Watch<'_> {
    fn until_end(&mut self, ready: impl FnOnce(&mut Channel) -> Result<(), Failed>, go: File) -> Result<End, Failed> {
        let mut start = Some((ready, go));
        loop {
            let input = |fd| PollFd { fd, events: POLLIN, revents: 0 };
            let mut entries = vec![
                input(self.channel.as_fd().as_raw_fd()),
                input(self.reports.as_raw_fd()),
                self.stdout.interest(),
                self.stderr.interest(),
            ];
            entries.extend(self.streams.interests());
            poll(&mut entries, -1).context("wait for the sandbox")?;
            let Some((own, streams)) = entries.split_first_chunk::<4>() else { continue };
            let [channel, reports, stdout, stderr] = own.map(|entry| entry.revents != 0);
            self.streams.serve(streams, self.channel)?;
            if channel {
                match self.channel.receive()? {
                    Some(Request::Stream(stream, flow)) => self.streams.take(stream, flow, self.channel)?,
                    // hypr has nothing else to say while the process runs: this is the end, or to be treated as such.
                    _ => return Ok(End::Abandoned),
                }
            }
            if stdout {
                self.stdout.forward(&mut self.buffer, self.channel).context("send output")?;
            }
            if stderr {
                self.stderr.forward(&mut self.buffer, self.channel).context("send output")?;
            }
            if !reports {
                continue;
            }
            match self.report()? {
                Report::Started => {
                    let Some((ready, go)) = start.take() else { return Err(lost("it started twice")) };
                    ready(self.channel)?;
                    io::Write::write_all(&mut &go, &[1]).context("start the process")?;
                }
                Report::Exited(exited) => return self.exited(exited.status),
                Report::Failed(failure) => return Err(Failed(failure)),
                _ => return Err(lost("it said what it may not say")),
            }
        }
    }

    /// Waits for the init, whose end ends every other process of its pid namespace, and sends the last output.
    fn exited(&mut self, status: u8) -> Result<End, Failed> {
        let Ended { cpu_micros, .. } = process::wait(self.child).context("wait for the sandbox")?;
        self.child = None;
        self.stdout.drain(&mut self.buffer, self.channel).context("send output")?;
        self.stderr.drain(&mut self.buffer, self.channel).context("send output")?;
        Ok(End::Exited(Exited { status, cpu_micros, ..Exited::default() }))
    }

    fn report(&mut self) -> Result<Report, Failed> {
        let mut header = [0; HEADER];
        match self.reports.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(lost("its first process was killed"));
            }
            other => other.context("read the sandbox's report")?,
        }
        let malformed = |_| lost("it said what it may not say");
        let (kind, length) = protocol::parse_header(header, MAX_REPORT).map_err(malformed)?;
        let mut body = vec![0; length];
        self.reports.read_exact(&mut body).context("read the sandbox's report")?;
        Report::decode(kind, &body).map_err(malformed)
    }
}

fn lost(what: &str) -> Failed {
    Failed::new(FailureKind::Setup, "watch the sandbox", what)
}
