//! The files of a commit of a git repository.
//!
//! A reference is resolved by asking the server for it alone; a commit that the store has is not fetched again. What
//! is fetched is that commit without its history, into a bare repository in the store's work folder, and its tree goes
//! from the objects straight into a layer: no file of a repository is ever made on the host, no hook, filter or
//! configuration of it is ever looked at.

mod checkout;
mod daemon;
mod repository;
mod submodules;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use hypr_squash::{Options, Writer};

use self::{checkout::Checkout, repository::Repository};
use super::{Client, Kept, RemoteError, Wanted, blocking, location::GitLocation};
use crate::{
    http,
    store::{Key, StepRecord, Store, Timestamp},
};

/// Fetches the files of `location`, or finds that the store has them.
pub(super) async fn fetch(
    client: &Client,
    store: &Store,
    location: &GitLocation,
    wanted: &Wanted,
) -> Result<Kept, RemoteError> {
    let keep_git_dir = location.keep_git_dir.unwrap_or(wanted.keep_git_dir) && location.directory.is_empty();
    let checksum = wanted.checksum.clone().or_else(|| location.checksum.clone());
    let ssh = client.ssh_command();
    let job = Job { store: store.clone(), location: location.clone(), keep_git_dir, checksum, ssh };
    // The same repository in several places is fetched once.
    let _lock = store.lock_step(&Key::new("git").input("url", job.url()).input("lock", "")).await?;
    http::install_tls();
    let interrupt = Interrupt::default();
    let flag = interrupt.0.clone();
    blocking(move || job.run(&flag)).await
}

/// Tells a fetching thread, when dropped with its future, that nobody waits for it any more.
#[derive(Default)]
struct Interrupt(Arc<AtomicBool>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Job {
    store: Store,
    location: GitLocation,
    keep_git_dir: bool,
    checksum: Option<String>,
    /// The program that connects over SSH.
    ssh: String,
}

impl Job {
    /// The repository without who asks for it.
    fn url(&self) -> String {
        repository::without_account(&self.location.url)
    }

    fn run(&self, interrupt: &AtomicBool) -> Result<Kept, RemoteError> {
        // A commit in full says what it is without the server.
        if let Some(commit) = self.location.reference.as_deref().filter(|reference| repository::is_commit(reference)) {
            self.check(commit)?;
            if let Some(kept) = self.known(commit)? {
                return Ok(kept);
            }
        }
        let work = self.store.work_dir()?;
        let mut repository = Repository::new(&work.path().join("git"), &self.location.url, &self.ssh)?;
        let found = repository.fetch(self.location.reference.as_deref(), interrupt, &|commit| {
            self.check(commit)?;
            Ok(self.known(commit)?.is_some())
        })?;
        match self.known(&found)? {
            Some(kept) => Ok(kept),
            None => self.check_out(&repository, &found, interrupt),
        }
    }

    fn check(&self, commit: &str) -> Result<(), RemoteError> {
        match &self.checksum {
            Some(expected) if !commit.starts_with(&expected.to_ascii_lowercase()) => Err(RemoteError::Checksum {
                url: self.location.shown(),
                expected: expected.clone(),
                found: format!("commit {commit}"),
            }),
            _ => Ok(()),
        }
    }

    fn key(&self, commit: &str) -> Key {
        Key::new("git")
            .input("url", self.url())
            .input("commit", commit)
            .input("directory", &self.location.directory)
            .input("keep-git-dir", self.keep_git_dir.to_string())
            .input("submodules", self.location.submodules.to_string())
    }

    fn known(&self, commit: &str) -> Result<Option<Kept>, RemoteError> {
        let layer = self.store.step(&self.key(commit))?.and_then(|record| self.store.layer(&record.layer?));
        Ok(layer.map(|layer| Kept { layer, path: Vec::new(), name: None }))
    }

    fn check_out(&self, repository: &Repository, commit: &str, interrupt: &AtomicBool) -> Result<Kept, RemoteError> {
        let started = Instant::now();
        let failed = |source| RemoteError::keep(&self.location.shown(), source);
        let pending = self.store.new_layer()?;
        let mut writer = Writer::create(pending.file().try_clone()?, Options::default()).map_err(failed)?;
        let mut checkout = Checkout::new(&mut writer, interrupt);
        let links = checkout.tree(repository, commit, &self.location.directory, b"")?;
        if self.location.submodules {
            let work = self.store.work_dir()?;
            submodules::check_out(&mut checkout, repository, commit, &links, work.path(), 1)?;
        }
        if self.keep_git_dir {
            checkout.git_directory(repository, commit, &self.url())?;
        }
        let summary = writer.finish().map_err(failed)?;
        let layer = pending.publish(&summary)?;
        self.store.publish_step(&StepRecord {
            key: self.key(commit),
            layer: Some(layer.id),
            created: Timestamp::now(),
            duration: started.elapsed(),
            executor: None,
            data: BTreeMap::new(),
        })?;
        Ok(Kept { layer, path: Vec::new(), name: None })
    }
}
