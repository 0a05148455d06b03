//! What a running step has on the host, and getting rid of it.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Machine, cgroup::Cgroup};
use crate::executor::{ExecutorError, cleanups::Cleanups};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// The resources of one sandbox. Its agent ends, and removes what it made, when its channel does; that is up to the
/// owner of the channel, which must be closed before this is dropped.
#[derive(Debug)]
pub(crate) struct Sandbox {
    parts: Option<Parts>,
    cleanups: Arc<Cleanups>,
}

#[derive(Debug)]
struct Parts {
    agent: Child,
    scratch: PathBuf,
    cgroup: Cgroup,
    machine: Arc<Machine>,
}

impl Sandbox {
    /// Makes a scratch directory in `root` and starts an agent.
    ///
    /// # Errors
    /// Fails when the directory cannot be made or no process be started.
    pub(crate) fn start(
        root: &Path,
        machine: &Arc<Machine>,
        cgroup: Cgroup,
        cleanups: &Arc<Cleanups>,
    ) -> Result<(Self, Setup), ExecutorError> {
        let failed = |action: String| move |source| ExecutorError::Setup { action, source };
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let scratch = root.join(format!("run-{}-{number}", std::process::id()));
        let making = || failed(format!("make the scratch directory {}", scratch.display()));
        fs::DirBuilder::new().mode(0o700).create(&scratch).map_err(making())?;
        let directory = fs::File::open(&scratch).map_err(making());
        let started = directory.and_then(|directory| {
            let (child, channel) = machine.agent.start().map_err(failed("start the agent".to_owned()))?;
            Ok((directory, child, channel))
        });
        let (directory, child, channel) = started.inspect_err(|_| {
            let _ = fs::remove_dir(&scratch);
        })?;
        let parts = Parts { agent: child, scratch, cgroup, machine: Arc::clone(machine) };
        let sandbox = Self { parts: Some(parts), cleanups: Arc::clone(cleanups) };
        Ok((sandbox, Setup { scratch: directory.into(), channel }))
    }

    /// The agent's process number.
    pub(crate) fn agent_id(&self) -> Option<u32> {
        self.parts.as_ref().map(|parts| parts.agent.id())
    }

    /// The step's control groups.
    pub(crate) fn cgroup(&self) -> Option<&Cgroup> {
        self.parts.as_ref().map(|parts| &parts.cgroup)
    }
}

/// What the agent is set up with.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The scratch directory.
    pub(crate) scratch: OwnedFd,
    /// hypr's end of the channel.
    pub(crate) channel: std::os::unix::net::UnixStream,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            self.cleanups.start(move || parts.clean_up());
        }
    }
}

impl Parts {
    fn clean_up(mut self) {
        if let Err(error) = self.agent.wait() {
            tracing::warn!("cannot wait for a sandbox's agent: {error}");
        }
        // Mostly empty by now. An agent that was killed has left things behind, which may be another's.
        let removed = match fs::remove_dir(&self.scratch) {
            Ok(()) => Ok(()),
            Err(_) => self.machine.remove(&self.scratch),
        };
        if let Err(error) = removed {
            tracing::warn!("cannot remove the scratch directory {}: {error}", self.scratch.display());
        }
        drop(self.cgroup);
    }
}
