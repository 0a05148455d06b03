//! Control groups: what a step may use, and what it used.
//!
//! Each step has a group of its own below hypr's own group, in each hierarchy that has one of the controllers in
//! question (see [`hierarchy`]). A group is locked as long as its step lives, so that what a killed hypr left behind
//! is told apart and removed by the next one.

mod control;
mod hierarchy;

use std::{
    fs::{self, File},
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::fs::FlockOperation;

pub(crate) use self::hierarchy::Hierarchies;
use self::hierarchy::{Controller, Hierarchy};
use super::super::{Exceeded, ExecutorError, Limits};

/// What the names of all groups begin with.
const PREFIX: &str = "hypr-";

/// Processes and threads of a step that was given no limit of them: enough for any build, too few to harm the host.
const DEFAULT_PIDS: u32 = 16384;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// The control groups of one step, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    name: String,
    groups: Vec<Group>,
}

/// One hierarchy's group.
#[derive(Debug)]
struct Group {
    hierarchy: Hierarchy,
    directory: PathBuf,
    _lock: File,
}

impl Cgroup {
    /// Makes groups with `limits`.
    ///
    /// # Errors
    /// [`ExecutorError::Unenforceable`] when a limit that was asked for has no controller here.
    pub(crate) fn create(hierarchies: &Hierarchies, limits: &Limits) -> Result<Self, ExecutorError> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let mut cgroup = Self { name: format!("{PREFIX}{}-{number}", std::process::id()), groups: Vec::new() };
        for hierarchy in hierarchies.all() {
            match Group::create(hierarchy, &cgroup.name) {
                Ok(group) => cgroup.groups.push(group),
                // Without the group there are no limits, which counts below if any was asked for.
                Err(error) => tracing::debug!("no control group in {}: {error}", hierarchy.parent.display()),
            }
        }
        cgroup.limit(
            "memory",
            Controller::Memory,
            hierarchies,
            limits.memory.map(Into::into),
            control::limit_memory,
        )?;
        cgroup.limit("cpus", Controller::Cpu, hierarchies, limits.cpus.map(Into::into), control::limit_cpus)?;
        cgroup.limit("pids", Controller::Pids, hierarchies, limits.pids.map(Into::into), control::limit_pids)?;
        if limits.pids.is_none() {
            let default = Some(DEFAULT_PIDS);
            let limited = cgroup.limit("pids", Controller::Pids, hierarchies, default, control::limit_pids);
            if limited.is_err() {
                tracing::warn!("the number of a step's processes is not limited: {}", hierarchies.reason());
            }
        }
        Ok(cgroup)
    }

    /// The groups' name, which is the same in each hierarchy.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// For each hierarchy its `cgroup.procs`, open for writing, and its parent directory.
    ///
    /// # Errors
    /// Fails when they cannot be opened.
    pub(crate) fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let mut descriptors = Vec::new();
        for group in &self.groups {
            descriptors.push(File::options().write(true).open(group.directory.join("cgroup.procs"))?.into());
            descriptors.push(File::open(&group.hierarchy.parent)?.into());
        }
        Ok(descriptors)
    }

    /// How many hierarchies there are.
    pub(crate) fn count(&self) -> usize {
        self.groups.len()
    }

    /// The limit that brought a process to its end, if one did.
    pub(crate) fn exceeded(&self) -> Option<Exceeded> {
        let read = |controller, read: control::ReadCount| {
            self.directory(controller).and_then(|(hierarchy, directory)| read(hierarchy.version, directory))
        };
        if read(Controller::Memory, control::out_of_memory_kills).is_some_and(|count| count > 0) {
            return Some(Exceeded::Memory);
        }
        read(Controller::Pids, control::refused_forks).filter(|count| *count > 0).map(|_| Exceeded::Pids)
    }

    /// User and system time of all that ran in the group.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let (hierarchy, directory) = self.directory(Controller::CpuAccounting)?;
        control::cpu_time(hierarchy.version, directory)
    }

    /// Bytes of memory at the highest.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let (hierarchy, directory) = self.directory(Controller::Memory)?;
        control::peak_memory(hierarchy.version, directory)
    }

    fn limit<T>(
        &self,
        name: &'static str,
        controller: Controller,
        hierarchies: &Hierarchies,
        value: Option<T>,
        set: fn(hierarchy::Version, &Path, T) -> io::Result<()>,
    ) -> Result<(), ExecutorError> {
        let Some(value) = value else { return Ok(()) };
        let reason = match self.directory(controller) {
            None => hierarchies.reason(),
            Some((hierarchy, directory)) => match set(hierarchy.version, directory, value) {
                Ok(()) => return Ok(()),
                Err(error) => format!("the control group {} does not take it ({error})", directory.display()),
            },
        };
        Err(ExecutorError::Unenforceable { limit: name, reason })
    }

    fn directory(&self, controller: Controller) -> Option<(&Hierarchy, &Path)> {
        let group = self.groups.iter().find(|group| group.hierarchy.controllers.contains(&controller))?;
        Some((&group.hierarchy, &group.directory))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for group in &self.groups {
            remove(&group.directory);
        }
    }
}

impl Group {
    fn create(hierarchy: &Hierarchy, name: &str) -> io::Result<Self> {
        let directory = hierarchy.parent.join(name);
        // Somebody who cleans up may take the new group for an old one, in the moment before it is locked.
        for _ in 0..10 {
            match fs::create_dir(&directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            if let Some(lock) = lock(&directory)? {
                return Ok(Self { hierarchy: hierarchy.clone(), directory, _lock: lock });
            }
        }
        Err(io::Error::from(io::ErrorKind::ResourceBusy))
    }
}

/// Removes the groups in `parent` whose hypr is no more.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if is_ours && lock(&entry.path()).is_ok_and(|lock| lock.is_some()) {
            remove(&entry.path());
        }
    }
}

/// Locks the group at `directory`; `None` when somebody else has, or it is gone meanwhile.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let open = match File::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match rustix::fs::flock(&open, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        other => other?,
    }
    let same = fs::metadata(directory).is_ok_and(|there| open.metadata().is_ok_and(|here| here.ino() == there.ino()));
    Ok(same.then_some(open))
}

/// Removes the group at `directory`, from which the last process may just be going.
fn remove(directory: &Path) {
    for _ in 0..100 {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(Duration::from_millis(5)),
            _ => return,
        }
    }
    tracing::warn!("the control group {} cannot be removed: it is in use", directory.display());
}
