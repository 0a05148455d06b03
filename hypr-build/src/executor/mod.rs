//! Where a `RUN` runs: the seam between the solver and its sandboxes.

mod agent;
mod capabilities;
mod cleanups;
mod namespace;
mod network_files;
#[expect(dead_code, reason = "one half of it is the agent's")]
#[path = "../../agent/protocol/mod.rs"]
mod protocol;
mod request;
mod seccomp;
mod session;
mod ssh_agent;
mod streams;
mod vm;

pub use self::{namespace::NamespaceExecutor, vm::VmExecutor};

use std::{
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use oci_spec::runtime::Process;
use tokio::io::AsyncWrite;

use crate::snapshot::Snapshot;

/// A way to run a process on a snapshot and get its changes back.
///
/// An executor decides *where* a process runs, never *whether*: caching and order are the solver's, which calls
/// [`run`](Self::run) for several steps at once.
#[async_trait]
pub trait Executor: Send + Sync + std::fmt::Debug {
    /// The name that cache records and the first line of the output carry, such as `namespace`.
    fn name(&self) -> &'static str;

    /// Runs `step.process` as the only user process on top of `step.snapshot`.
    ///
    /// Output goes to `io` as it comes. Once the process and everything that it left running have ended, the changes
    /// it made to the snapshot go to [`StepIo::changes`] as one tar stream in overlayfs notation (a whiteout is a
    /// character device `0:0`, an opaque directory carries `trusted.overlay.opaque`), entries in bytewise path order.
    ///
    /// A non-zero exit status is an outcome, not an error. Dropping the future kills the sandbox and leaves nothing.
    ///
    /// # Errors
    /// Fails when the sandbox cannot be started, is lost, or went over one of `step.limits`.
    async fn run(&self, step: RunStep<'_>, io: &mut dyn StepIo) -> Result<RunOutcome, ExecutorError>;

    /// Waits until nothing is left of steps that have ended or were given up.
    ///
    /// What a step wrote may take long to remove, so [`run`](Self::run) need not wait for it. A build waits once, at
    /// its end.
    async fn settle(&self) {}
}

/// What an executor is asked to run.
#[derive(Debug, Clone, Copy)]
pub struct RunStep<'a> {
    /// What the process sees as `/`, lowest layer first; may be empty.
    pub snapshot: &'a Snapshot,
    /// Arguments, environment, working directory (absolute) and user (numbers, with supplementary groups). The
    /// executor reads `args`, `env`, `cwd` and `user` alone: capabilities, limits and seccomp are its own.
    pub process: &'a Process,
    /// A program that the Dockerfile itself holds, to be put where `process.args` finds it. It is never part of the
    /// changes.
    pub script: Option<Script<'a>>,
    /// What is mounted besides, in this order: a mount inside of another comes after it. No change in a mount is part
    /// of the changes of the snapshot, and neither are the mount points.
    pub mounts: &'a [Mount],
    /// What network the process has.
    pub network: Network,
    /// What the process may use at most.
    pub limits: &'a Limits,
}

/// A program that a heredoc holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script<'a> {
    /// Where the process finds it, executable: absolute, below `/dev`.
    pub path: &'a str,
    /// The file's content.
    pub content: &'a [u8],
}

/// Something that is mounted for one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where: an absolute path in the sandbox, not below `/dev`, `/proc` and `/sys`. Links in it are followed; what is
    /// missing of it is there as long as the process runs.
    pub target: String,
    /// What.
    pub content: MountContent,
}

/// What is mounted.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountContent {
    /// A file or directory of a snapshot.
    Tree {
        /// Where it is from.
        snapshot: Snapshot,
        /// The path in the snapshot, without links and slashes at the ends; empty for all of it.
        source: Vec<u8>,
        /// Whether that is a directory.
        is_directory: bool,
        /// What may be written to it.
        access: MountAccess,
    },
    /// An empty file system in memory, of mode 1777.
    Tmpfs {
        /// Bytes that it may hold. `None`: as the kernel decides.
        size: Option<NonZeroU64>,
    },
    /// A file that is nowhere but in memory, read-only.
    Secret {
        /// Its bytes.
        content: Arc<[u8]>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A Unix socket whose connections reach an SSH agent of the host, for what a step may ask of it: its keys and
    /// their signatures.
    SshAgent {
        /// The agent's socket on the host.
        socket: PathBuf,
        /// Permission bits of the socket that the step sees.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// What may be written to a mounted tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountAccess {
    /// Nothing.
    ReadOnly,
    /// Anything, and it is gone with the step.
    Discarded,
    /// Anything, and it goes to [`StepIo::mount_changes`].
    Captured,
}

impl std::fmt::Debug for MountContent {
    /// As it is, but for what is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tree { snapshot, source, is_directory, access } => f
                .debug_struct("Tree")
                .field("snapshot", snapshot)
                .field("source", &source.escape_ascii().to_string())
                .field("is_directory", is_directory)
                .field("access", access)
                .finish(),
            Self::Tmpfs { size } => f.debug_struct("Tmpfs").field("size", size).finish(),
            Self::Secret { mode, uid, gid, .. } => {
                f.debug_struct("Secret").field("mode", mode).field("uid", uid).field("gid", gid).finish_non_exhaustive()
            }
            Self::SshAgent { socket, mode, uid, gid } => f
                .debug_struct("SshAgent")
                .field("socket", socket)
                .field("mode", mode)
                .field("uid", uid)
                .field("gid", gid)
                .finish(),
        }
    }
}

/// What network a `RUN` has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// A loopback interface that is up, and nothing else.
    #[default]
    None,
    /// The host's network, asked for deliberately.
    Host,
}

/// What a `RUN` may use. A limit that cannot be enforced is an error if it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Processors' worth of time. `None`: all.
    pub cpus: Option<NonZeroU32>,
    /// Bytes of memory, page cache of the upper included. `None`: unlimited.
    pub memory: Option<NonZeroU64>,
    /// Processes and threads. `None`: the executor's default, which it enforces where it can.
    pub pids: Option<NonZeroU32>,
    /// Bytes that the step may write. `None`: as much as the store's file system holds.
    pub scratch: Option<NonZeroU64>,
    /// Wall time from the start of the step's sandbox until its changes are read. `None`: unlimited.
    pub timeout: Option<Duration>,
}

/// Where a running step's output and changes go.
#[async_trait]
pub trait StepIo: Send {
    /// Bytes that the process wrote to its standard output.
    async fn stdout(&mut self, bytes: &[u8]);

    /// Bytes that the process wrote to its standard error.
    async fn stderr(&mut self, bytes: &[u8]);

    /// Takes the tar of changes. Nothing is written to it when the exit status is not zero.
    fn changes(&mut self) -> &mut (dyn AsyncWrite + Send + Unpin);

    /// Takes the tar of changes below the mount of this number, in the notation of [`changes`](Self::changes), whatever
    /// the exit status is. Called once for each mount of [`MountAccess::Captured`], before the changes of the snapshot.
    fn mount_changes(&mut self, number: usize) -> &mut (dyn AsyncWrite + Send + Unpin);

    /// Hears that the step left so many sockets, which [`changes`](Self::changes) lack: nothing listens on them in an
    /// image. `first` is the path of one of them, relative to the root. By default nobody is told.
    async fn sockets_left_out(&mut self, sockets: u64, first: &[u8]) {
        let _ = (sockets, first);
    }
}

/// How a step's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOutcome {
    /// Exit status, 0 to 255; 128 + N after signal N, as a shell has it.
    pub status: u8,
    /// What the step used.
    pub usage: Usage,
}

/// What a step used. `None` where the executor cannot tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// User and system time of all its processes.
    #[serde(serialize_with = "seconds")]
    pub cpu: Option<Duration>,
    /// Bytes of memory at the highest.
    pub peak_memory: Option<u64>,
    /// Bytes that were written to the disk of its machine.
    pub bytes_written: Option<u64>,
    /// How often its machine had to be left.
    pub exits: Option<hypr_vmm::Exits>,
}

fn seconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&time.map(|time| time.as_secs_f64()), serializer)
}

/// Why an executor could not run a step to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// The machine does not let this executor work at all.
    #[error("{executor} sandboxes do not work here: {reason}")]
    Unavailable {
        /// The executor's name.
        executor: &'static str,
        /// What is missing and the way out.
        reason: String,
    },
    /// The sandbox could not be set up.
    #[error("cannot {action}")]
    Setup {
        /// What was being done, as a verb and its object.
        action: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The process could not be started: no such program, not executable, no such working directory.
    #[error("cannot start `{program}`: {reason}")]
    Start {
        /// The first argument.
        program: String,
        /// Why not.
        reason: String,
    },
    /// A limit was reached.
    #[error("the step went over its limit of {exceeded}{}", exited(*.status))]
    Limit {
        /// Which.
        exceeded: Exceeded,
        /// How the process ended, if it did by itself: it may have outlived what went over the limit, and failed for
        /// another reason.
        status: Option<u8>,
    },
    /// A limit was asked for that this executor cannot enforce here.
    #[error("a limit of {limit} cannot be enforced here: {reason}")]
    Unenforceable {
        /// The field of [`Limits`].
        limit: &'static str,
        /// Why, and the way out.
        reason: String,
    },
    /// The sandbox ended without a report, or said what it may not say.
    #[error("the sandbox was lost: {0}")]
    Lost(String),
    /// The other side of [`StepIo::changes`] did not take the changes.
    #[error("cannot take the step's changes")]
    Changes(#[source] std::io::Error),
}

fn exited(status: Option<u8>) -> String {
    status.map(|status| format!(", and it exited with status {status}")).unwrap_or_default()
}

/// The limit that a step went over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exceeded {
    /// [`Limits::memory`].
    Memory,
    /// [`Limits::pids`].
    Pids,
    /// [`Limits::scratch`].
    Scratch,
    /// [`Limits::timeout`].
    Time,
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Pids => "processes",
            Self::Scratch => "scratch space",
            Self::Time => "time",
        })
    }
}
