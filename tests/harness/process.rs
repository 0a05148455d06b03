//! Programs that a test starts: with a time limit, and known to the check for processes left behind.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io::{Read, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// No test waits for a program longer than this, unless it says so.
const LIMIT: Duration = Duration::from_secs(300);

/// The processes that the tests started and have not waited for yet.
static STARTED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// The processes that the tests started; none is started or ends while the guard is held.
pub(super) fn started() -> MutexGuard<'static, BTreeSet<u32>> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program to be run.
#[derive(Debug)]
#[must_use]
pub struct Run {
    command: Command,
    stdin: Vec<u8>,
    limit: Duration,
}

impl Run {
    /// A run of `program`, found in `PATH` unless it is a path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { command: Command::new(program), stdin: Vec::new(), limit: LIMIT }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes a variable out of the environment.
    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Sets the working directory.
    pub fn directory(mut self, path: impl AsRef<Path>) -> Self {
        self.command.current_dir(path);
        self
    }

    /// What the program reads on its standard input; nothing by default.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long the program may run. Defaults to five minutes.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts the program.
    pub fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut started = started();
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("cannot start {:?}: {error}", self.command));
        started.insert(child.id());
        drop(started);
        let (mut input, bytes) = (child.stdin.take().expect("is piped"), std::mem::take(&mut self.stdin));
        // A program that does not read to the end has its reasons.
        std::thread::spawn(move || drop(input.write_all(&bytes)));
        let stdout = collect(child.stdout.take().expect("is piped"));
        let stderr = collect(child.stderr.take().expect("is piped"));
        Running { line: format!("{:?}", self.command), child, stdout, stderr, limit: self.limit, waited: false }
    }

    /// Runs the program to its end.
    pub fn run(self) -> Finished {
        self.start().wait()
    }

    /// Runs the program and expects exit status 0.
    #[track_caller]
    pub fn ok(self) -> Finished {
        self.fails(0)
    }

    /// Runs the program and expects this exit status.
    #[track_caller]
    pub fn fails(self, status: i32) -> Finished {
        let finished = self.run();
        assert_eq!(finished.status.code(), Some(status), "exit status\n{finished}");
        finished
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("pipes can be read");
        bytes
    })
}

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    limit: Duration,
    waited: bool,
}

impl Running {
    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        // It may have ended a moment ago.
        let _ = kill_process(pid, signal);
    }

    /// Whether the program has not ended yet.
    pub fn is_running(&mut self) -> bool {
        !self.waited && matches!(self.child.try_wait(), Ok(None))
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the program's end; a program that takes too long is killed and fails the test.
    #[track_caller]
    pub fn wait(mut self) -> Finished {
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.end() {
                break status;
            }
            if since.elapsed() > self.limit {
                let _ = self.child.kill();
                panic!("still running after {:?}: {}", self.limit, self.line);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let text = |reader: &mut JoinHandle<Vec<u8>>| {
            let reader = std::mem::replace(reader, std::thread::spawn(Vec::new));
            reader.join().expect("reading does not panic")
        };
        let (stdout, stderr) = (text(&mut self.stdout), text(&mut self.stderr));
        Finished { line: std::mem::take(&mut self.line), status, took: since.elapsed(), stdout, stderr }
    }

    /// Reaps the process if it has ended.
    fn end(&mut self) -> Option<ExitStatus> {
        let mut started = started();
        let status = self.child.try_wait().expect("a child can be waited for")?;
        started.remove(&self.child.id());
        self.waited = true;
        Some(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.waited {
            let mut started = started();
            let _ = self.child.kill();
            let _ = self.child.wait();
            started.remove(&self.child.id());
        }
    }
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Finished {
    line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// How long it ran.
    pub took: Duration,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Finished {
    /// Standard output.
    pub fn stdout(&self) -> &[u8] {
        &self.stdout
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("no JSON: {error}\n{self}"))
    }

    /// The one `error:` line and the causes below it, as one text.
    #[track_caller]
    pub fn error(&self) -> String {
        let err = self.err();
        let lines: Vec<_> = err.lines().skip_while(|line| !line.starts_with("error:")).collect();
        assert!(!lines.is_empty(), "no error line\n{self}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("error:")).count(), 1, "one error line\n{self}");
        assert!(!err.contains("panicked at"), "a panic\n{self}");
        lines.join("\n")
    }

    /// Expects `text` on standard error.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err().contains(text), "`{text}` is not on standard error\n{self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "$ {}\n{} after {:?}", self.line, self.status, self.took)?;
        write!(f, "--- stdout\n{}\n--- stderr\n{}", self.out(), self.err())
    }
}
