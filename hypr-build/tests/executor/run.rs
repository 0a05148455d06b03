//! Running one process and keeping all that comes of it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use hypr_build::{
    Snapshot,
    executor::{Executor, ExecutorError, Limits, Mount, MountContent, Network, RunOutcome, RunStep, Script, StepIo},
};
use oci_spec::runtime::{Process, ProcessBuilder, User, UserBuilder};
use tokio::io::AsyncWrite;

/// Where the path of a program is looked for.
const PATH: &str = "PATH=/bin:/usr/bin";

/// A step to be run, and what it may use.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) snapshot: Snapshot,
    pub(crate) process: Process,
    pub(crate) network: Network,
    pub(crate) limits: Limits,
    pub(crate) script: Option<(String, Vec<u8>)>,
    pub(crate) mounts: Vec<Mount>,
}

/// What a step came to.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) changes: Vec<u8>,
    /// By the number of the mount.
    pub(crate) mounts: BTreeMap<usize, Vec<u8>>,
}

/// An entry of the changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: String,
    pub(crate) kind: tar::EntryType,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
}

impl Step {
    /// `/bin/sh -c script` on `snapshot`, as root in `/`.
    pub(crate) fn shell(snapshot: &Snapshot, script: &str) -> Self {
        Self::program(snapshot, &["/bin/sh", "-c", script])
    }

    /// `args` on `snapshot`, as root in `/`.
    pub(crate) fn program(snapshot: &Snapshot, args: &[&str]) -> Self {
        let process = ProcessBuilder::default()
            .args(args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
            .env([PATH.to_owned()])
            .cwd("/")
            .build()
            .unwrap();
        let (network, limits) = (Network::None, Limits::default());
        Self { snapshot: snapshot.clone(), process, network, limits, script: None, mounts: Vec::new() }
    }

    pub(crate) fn env(mut self, variables: &[&str]) -> Self {
        let variables = [PATH].iter().chain(variables).map(|&variable| variable.to_owned());
        self.process.set_env(Some(variables.collect()));
        self
    }

    pub(crate) fn cwd(mut self, directory: &str) -> Self {
        self.process.set_cwd(directory.into());
        self
    }

    pub(crate) fn user(mut self, uid: u32, gid: u32, groups: &[u32]) -> Self {
        let user: User = UserBuilder::default().uid(uid).gid(gid).additional_gids(groups.to_vec()).build().unwrap();
        self.process.set_user(user);
        self
    }

    pub(crate) fn mount(mut self, target: &str, content: MountContent) -> Self {
        self.mounts.push(Mount { target: target.to_owned(), content });
        self
    }

    pub(crate) fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Runs the step; its outcome and all it wrote.
    pub(crate) async fn run(&self, executor: &dyn Executor) -> (Result<RunOutcome, ExecutorError>, Recording) {
        let mut recording = Recording::default();
        let outcome = executor.run(self.as_step(), &mut recording).await;
        (outcome, recording)
    }

    /// Runs a step that is to succeed.
    pub(crate) async fn succeed(&self, executor: &dyn Executor) -> Recording {
        let (outcome, recording) = self.run(executor).await;
        let status = outcome.unwrap_or_else(|error| panic!("{}", chain(&error))).status;
        assert_eq!(status, 0, "{recording}");
        recording
    }

    pub(crate) fn as_step(&self) -> RunStep<'_> {
        RunStep {
            snapshot: &self.snapshot,
            process: &self.process,
            script: self.script.as_ref().map(|(path, content)| Script { path, content }),
            mounts: &self.mounts,
            network: self.network,
            limits: &self.limits,
        }
    }
}

impl Recording {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    /// The entries of the changes, in their order, without the first: the root is always told.
    pub(crate) fn changes(&self) -> Vec<Change> {
        entries(&self.changes)
    }

    /// The paths of the changes, in their order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.changes().into_iter().map(|change| change.path).collect()
    }

    /// The changes below a mount, as [`changes`](Self::changes) are.
    pub(crate) fn mount_changes(&self, number: usize) -> Vec<Change> {
        self.mounts.get(&number).map_or(Vec::new(), |archive| entries(archive))
    }
}

fn entries(archive: &[u8]) -> Vec<Change> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let header = entry.header();
        Change {
            path: path.trim_end_matches('/').to_owned(),
            kind: header.entry_type(),
            mode: header.mode().unwrap(),
            owner: (header.uid().unwrap(), header.gid().unwrap()),
        }
    });
    let mut entries: Vec<_> = entries.collect();
    assert_eq!((&entries[0].path[..], entries[0].kind), (".", tar::EntryType::Directory));
    entries.remove(0);
    entries
}

impl std::fmt::Display for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy;
        write!(f, "stdout: {}\nstderr: {}", text(&self.stdout), text(&self.stderr))
    }
}

#[async_trait]
impl StepIo for Recording {
    async fn stdout(&mut self, bytes: &[u8]) {
        self.stdout.extend(bytes);
    }

    async fn stderr(&mut self, bytes: &[u8]) {
        self.stderr.extend(bytes);
    }

    fn changes(&mut self) -> &mut (dyn AsyncWrite + Send + Unpin) {
        &mut self.changes
    }

    fn mount_changes(&mut self, number: usize) -> &mut (dyn AsyncWrite + Send + Unpin) {
        self.mounts.entry(number).or_default()
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
