//! Sandboxes made of namespaces, control groups and overlayfs on the host's own kernel.
//!
//! For each step an [agent](super::agent) is started, which makes the namespaces and builds the root from what it is handed:
//! the layers as detached [mounts](layers), the [control groups](cgroup), a scratch directory. Without the rights of
//! root, it makes them in a [user namespace](user), and the layers are [directories](unpacked). Here only is decided
//! what the sandbox may be; the [conversation](super::session) with the agent is the same for every executor.

mod cgroup;
mod descriptors;
mod idmap;
mod layers;
mod loop_device;
mod sandbox;
mod unpacked;
mod user;

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tokio::{net::UnixStream, sync::OnceCell};

use self::{
    cgroup::{Cgroup, Hierarchies},
    layers::Layers,
    sandbox::Sandbox,
    unpacked::Unpacked,
    user::UserNamespaces,
};
use super::{
    Executor, ExecutorError, Limits, RunOutcome, RunStep, StepIo, Usage,
    agent::Agent,
    capabilities::Capabilities,
    cleanups::Cleanups,
    protocol::{Lower, Request},
    request::{self, Stacks, blocking, setup_error},
    seccomp::Filter,
    session::{Session, deadline},
};
use crate::snapshot::Snapshot;

const NAME: &str = "namespace";

/// Runs steps in namespaces of the host's kernel.
///
/// Layers stay mounted as long as the executor lives, so one executor serves a whole build. Dropping it waits for
/// what its steps left to be removed; [`settle`](Executor::settle) does so without blocking.
#[derive(Debug)]
pub struct NamespaceExecutor {
    scratch_root: PathBuf,
    unpacked: Option<PathBuf>,
    layers: Arc<Layers>,
    cleanups: Arc<Cleanups>,
    machine: OnceCell<Arc<Machine>>,
}

/// What is the same for all sandboxes.
#[derive(Debug)]
struct Machine {
    agent: Agent,
    hierarchies: Hierarchies,
    seccomp: Vec<u8>,
    unprivileged: Option<Unprivileged>,
}

/// What takes the place of root's rights.
#[derive(Debug)]
struct Unprivileged {
    namespaces: UserNamespaces,
    unpacked: Unpacked,
    /// Whether the unpacked layers go when the executor does.
    temporary: bool,
}

impl NamespaceExecutor {
    /// An executor that keeps what its steps write, while they run, in directories below `scratch_root`.
    ///
    /// The directory must exist and lie on a file system that can hold an overlay upper.
    pub fn new(scratch_root: impl Into<PathBuf>) -> Self {
        Self {
            scratch_root: scratch_root.into(),
            unpacked: None,
            layers: Arc::default(),
            cleanups: Arc::default(),
            machine: OnceCell::new(),
        }
    }

    /// Keeps layers that are unpacked to directories, as they are for users other than root, in `directory`, for later
    /// executors to find. It should be as safe from other users as the layers are. By default they are unpacked below
    /// the scratch root and go with the executor.
    #[must_use]
    pub fn keep_unpacked_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.unpacked = Some(directory.into());
        self
    }

    /// Removes what the steps of a killed process left at `path`, some of which may belong to ids that hypr's user does
    /// not have outside of a user namespace. Nothing there is fine.
    ///
    /// # Errors
    /// Fails when something cannot be removed.
    pub async fn remove(&self, path: impl Into<PathBuf>) -> Result<(), ExecutorError> {
        let (machine, path) = (Arc::clone(self.machine().await?), path.into());
        blocking(move || machine.remove(&path)).await
    }

    /// Tells whether steps can run here, before the first one does.
    ///
    /// # Errors
    /// [`ExecutorError::Unavailable`] says what is missing and the way out.
    pub async fn check(&self) -> Result<(), ExecutorError> {
        self.machine().await.map(drop)
    }

    async fn machine(&self) -> Result<&Arc<Machine>, ExecutorError> {
        let discover = || {
            let (root, unpacked) = (self.scratch_root.clone(), self.unpacked.clone());
            blocking(move || Machine::discover(&root, unpacked).map(Arc::new))
        };
        self.machine.get_or_try_init(discover).await
    }

    /// Starts an agent and gathers what it is to be handed.
    async fn prepare(&self, step: &RunStep<'_>) -> Result<Prepared, ExecutorError> {
        let machine = Arc::clone(self.machine().await?);
        let (root, layers, cleanups) =
            (self.scratch_root.clone(), Arc::clone(&self.layers), Arc::clone(&self.cleanups));
        let (snapshot, limits, wanted) = (step.snapshot.clone(), step.limits.clone(), step.mounts.to_vec());
        let (sandbox, setup, descriptors, lowers) = blocking(move || {
            let mut mounts = Vec::new();
            let mut stack = |snapshot: &Snapshot| -> Result<Vec<Lower>, ExecutorError> {
                let effective = request::effective(snapshot);
                Ok(match &machine.unprivileged {
                    None => {
                        let first = mounts.len();
                        mounts.extend(layers.mounts(&effective, &root)?);
                        mounts.iter().skip(first).map(|_| Lower::Mount).collect()
                    }
                    Some(Unprivileged { namespaces, unpacked, .. }) => {
                        let trees = unpacked.trees(&effective, &machine.agent, namespaces)?;
                        trees.into_iter().map(|tree| Lower::Directory(tree.into_os_string().into_vec())).collect()
                    }
                })
            };
            let lowers = stack(&snapshot)?;
            let wanted =
                wanted.into_iter().map(|mount| request::mount(mount, &mut stack)).collect::<Result<Vec<_>, _>>()?;
            let lowers = Stacks { root: lowers, mounts: wanted };
            let cgroup = Cgroup::create(&machine.hierarchies, &limits)?;
            let groups = cgroup.descriptors().map_err(|source| setup_error("open the control groups", source))?;
            let (sandbox, setup) = Sandbox::start(&root, &machine, cgroup, &cleanups)?;
            let descriptors = [setup.scratch].into_iter().chain(groups).chain(mounts).collect::<Vec<_>>();
            Ok((sandbox, setup.channel, descriptors, lowers))
        })
        .await?;
        let connect = || {
            setup.set_nonblocking(true)?;
            UnixStream::from_std(setup)
        };
        let channel = connect().map_err(|source| setup_error("open the channel to the agent", source))?;
        Ok(Prepared { sandbox, channel, descriptors, lowers })
    }

    /// Lets the agent make its sandbox and start the process.
    async fn set_up(
        &self,
        session: &mut Session<UnixStream>,
        step: &RunStep<'_>,
        sandbox: &Sandbox,
        descriptors: Vec<OwnedFd>,
        lowers: Stacks,
    ) -> Result<(), ExecutorError> {
        let machine = self.machine().await?;
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        descriptors::send(session.stream(), &borrowed).await?;
        drop(descriptors);
        let user_namespace = machine.unprivileged.is_some();
        let cgroups =
            sandbox.cgroup().map_or(Vec::new(), |group| vec![group.name().as_bytes().to_vec(); group.count()]);
        session.send(&Request::Sandbox(request::sandbox(step, lowers, user_namespace, cgroups))).await?;
        if let (true, Some(agent)) = (user_namespace, sandbox.agent_id()) {
            session.wait_for_id_maps().await?;
            let machine = Arc::clone(machine);
            blocking(move || machine.map_ids(agent)).await?;
            session.send(&Request::IdsMapped).await?;
        }
        session.send(&Request::Process(request::process(step, machine.seccomp.clone()))).await
    }
}

/// An agent that was started, and what it is to be handed. The channel is closed first when this is dropped.
struct Prepared {
    channel: UnixStream,
    descriptors: Vec<OwnedFd>,
    lowers: Stacks,
    sandbox: Sandbox,
}

#[async_trait]
impl Executor for NamespaceExecutor {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run(&self, step: RunStep<'_>, io: &mut dyn StepIo) -> Result<RunOutcome, ExecutorError> {
        refuse_unenforceable(step.limits)?;
        let machine = Arc::clone(self.machine().await?);
        machine.refuse_unmapped(&step)?;
        // In this order, so that the channel is closed first when this future is dropped.
        let Prepared { sandbox, channel, descriptors, lowers } = self.prepare(&step).await?;
        let mut session = Session::open(channel, deadline(step.limits.timeout)).await?;
        let result = match self.set_up(&mut session, &step, &sandbox, descriptors, lowers).await {
            Ok(()) => finish_process(&mut session, &sandbox, &step, io).await,
            Err(error) => Err(error),
        };
        let result = result.map_err(|error| machine.explain(error));
        drop(session);
        drop(sandbox);
        result
    }

    async fn settle(&self) {
        let cleanups = Arc::clone(&self.cleanups);
        // A panic in there is one of a cleanup, which has nothing left to do.
        let _ = tokio::task::spawn_blocking(move || cleanups.wait()).await;
    }
}

/// Follows the process to its end and takes its changes.
async fn finish_process(
    session: &mut Session<UnixStream>,
    sandbox: &Sandbox,
    step: &RunStep<'_>,
    io: &mut dyn StepIo,
) -> Result<RunOutcome, ExecutorError> {
    let exited = session.follow(step.mounts, io).await.map_err(|error| match error {
        ExecutorError::Start { reason, .. } => {
            ExecutorError::Start { program: request::program(step).to_owned(), reason }
        }
        error => error,
    })?;
    for (number, _) in step.mounts.iter().enumerate().filter(|(_, mount)| request::is_captured(mount)) {
        session.capture_mount(number, io).await?;
    }
    let cgroup = sandbox.cgroup();
    if exited.status != 0
        && let Some(exceeded) = cgroup.and_then(Cgroup::exceeded)
    {
        return Err(ExecutorError::Limit { exceeded, status: Some(exited.status) });
    }
    let waited_for = std::time::Duration::from_micros(exited.cpu_micros);
    let usage = Usage {
        cpu: cgroup.and_then(Cgroup::cpu_time).or(Some(waited_for)),
        peak_memory: cgroup.and_then(Cgroup::peak_memory),
        ..Usage::default()
    };
    if exited.status == 0 {
        session.capture(io).await?;
    }
    Ok(RunOutcome { status: exited.status, usage })
}

impl Machine {
    fn discover(scratch_root: &Path, unpacked: Option<PathBuf>) -> Result<Self, ExecutorError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let agent = Agent::load(NAME)?;
        check_scratch(scratch_root)?;
        let filter = Filter::docker_default(Capabilities::DEFAULT).map_err(|error| unavailable(format!("{error}")))?;
        let unprivileged = if user::is_root_of_the_host() {
            None
        } else {
            let namespaces = UserNamespaces::discover()?;
            let temporary = unpacked.is_none();
            let directory = unpacked.unwrap_or_else(|| {
                let number = COUNTER.fetch_add(1, Ordering::Relaxed);
                scratch_root.join(format!("unpacked-{}-{number}", std::process::id()))
            });
            let unpacked = Unpacked::open(directory, &agent, &namespaces)?;
            Some(Unprivileged { namespaces, unpacked, temporary })
        };
        Ok(Self { agent, hierarchies: Hierarchies::discover(), seccomp: filter.to_bytes(), unprivileged })
    }

    /// Gives the user namespace of an agent its ids.
    fn map_ids(&self, agent: u32) -> Result<(), ExecutorError> {
        self.unprivileged.as_ref().map_or(Ok(()), |unprivileged| unprivileged.namespaces.map_ids(agent))
    }

    /// Refuses a step whose user does not exist in this user's namespaces.
    fn refuse_unmapped(&self, step: &RunStep<'_>) -> Result<(), ExecutorError> {
        let user = step.process.user();
        let groups = user.additional_gids().as_deref().unwrap_or_default();
        let lacks = |unprivileged: &Unprivileged| unprivileged.namespaces.lacks(user.uid(), user.gid(), groups);
        self.unprivileged.as_ref().and_then(lacks).map_or(Ok(()), |reason| Err(unavailable(reason)))
    }

    /// Says more about an error that comes of the machine's settings.
    fn explain(&self, error: ExecutorError) -> ExecutorError {
        match &self.unprivileged {
            Some(unprivileged) => unprivileged.namespaces.explain(error),
            None => error,
        }
    }

    /// Removes what is at `path`, whichever of a user's ids it belongs to.
    fn remove(&self, path: &Path) -> Result<(), ExecutorError> {
        let failed = |source| setup_error(&format!("remove {}", path.display()), source);
        match (fs::symlink_metadata(path), &self.unprivileged) {
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            (Ok(_), Some(unprivileged)) => unprivileged.namespaces.remove(&self.agent, path),
            (Ok(metadata), None) if metadata.is_dir() => fs::remove_dir_all(path).map_err(failed),
            (found, _) => found.and_then(|_| fs::remove_file(path)).map_err(failed),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let Some(Unprivileged { unpacked, temporary: true, .. }) = &self.unprivileged else { return };
        if let Err(error) = self.remove(unpacked.directory()) {
            tracing::warn!("cannot remove the unpacked layers in {}: {error}", unpacked.directory().display());
        }
    }
}

/// Refuses file systems that overlayfs does not take as its upper directory.
fn check_scratch(root: &Path) -> Result<(), ExecutorError> {
    const OVERLAY: i64 = 0x794c_7630;
    const NFS: i64 = 0x6969;
    const FUSE: i64 = 0x6573_5546;
    const MSDOS: i64 = 0x4d44;
    let action = || format!("look at the file system of {}", root.display());
    let status = rustix::fs::statfs(root).map_err(|errno| setup_error(&action(), errno.into()))?;
    let name = match status.f_type {
        OVERLAY => "overlayfs",
        NFS => "NFS",
        FUSE => "a FUSE file system",
        MSDOS => "FAT",
        _ => return Ok(()),
    };
    Err(unavailable(format!(
        "{} lies on {name}, which cannot hold what a step writes; choose a root on ext4, xfs, btrfs or tmpfs",
        root.display()
    )))
}

fn refuse_unenforceable(limits: &Limits) -> Result<(), ExecutorError> {
    match limits.scratch {
        None => Ok(()),
        Some(_) => Err(ExecutorError::Unenforceable {
            limit: "scratch",
            reason: "a step in namespaces writes to the store's own file system".to_owned(),
        }),
    }
}

fn unavailable(reason: String) -> ExecutorError {
    ExecutorError::Unavailable { executor: NAME, reason }
}
