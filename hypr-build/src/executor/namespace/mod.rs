//! Sandboxes made of namespaces, control groups and overlayfs on the host's own kernel.
//!
//! For each step an [agent](agent) is started, which makes the namespaces and builds the root from what it is handed:
//! the layers as detached [mounts](layers), the [control groups](cgroup), a scratch directory. Here only is decided
//! what the sandbox may be; the [conversation](super::session) with the agent is the same for every executor.

mod agent;
mod cgroup;
mod descriptors;
mod idmap;
mod layers;
mod loop_device;
mod network_files;
mod sandbox;

use std::{
    collections::HashSet,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
    sync::Arc,
};

use async_trait::async_trait;
use tokio::{net::UnixStream, sync::OnceCell};

use self::{
    agent::Agent,
    cgroup::{Cgroup, Hierarchies},
    layers::Layers,
    sandbox::{Cleanups, Sandbox},
};
use super::{
    Executor, ExecutorError, Limits, Network, RunOutcome, RunStep, StepIo, Usage,
    capabilities::Capabilities,
    protocol::{self, Lower, Program, Request},
    seccomp::Filter,
    session::Session,
};
use crate::snapshot::{Layer, Snapshot};

const NAME: &str = "namespace";

/// The name of the machine that a process believes to run on.
const HOST_NAME: &str = "hypr";

/// Runs steps in namespaces of the host's kernel.
///
/// Layers stay mounted as long as the executor lives, so one executor serves a whole build. Dropping it waits for
/// what was abandoned to be removed.
#[derive(Debug)]
pub struct NamespaceExecutor {
    scratch_root: PathBuf,
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
}

impl NamespaceExecutor {
    /// An executor that keeps what its steps write, while they run, in directories below `scratch_root`.
    ///
    /// The directory must exist and lie on a file system that can hold an overlay upper.
    pub fn new(scratch_root: impl Into<PathBuf>) -> Self {
        Self {
            scratch_root: scratch_root.into(),
            layers: Arc::default(),
            cleanups: Arc::default(),
            machine: OnceCell::new(),
        }
    }

    /// Tells whether steps can run here, before the first one does.
    ///
    /// # Errors
    /// [`ExecutorError::Unavailable`] says what is missing and the way out.
    pub async fn check(&self) -> Result<(), ExecutorError> {
        self.machine().await.map(drop)
    }

    async fn machine(&self) -> Result<&Arc<Machine>, ExecutorError> {
        let root = &self.scratch_root;
        self.machine
            .get_or_try_init(|| {
                blocking({
                    let root = root.clone();
                    move || Machine::discover(&root).map(Arc::new)
                })
            })
            .await
    }

    /// Starts an agent and gathers what it is to be handed.
    async fn prepare(&self, step: &RunStep<'_>) -> Result<(Sandbox, UnixStream, Vec<OwnedFd>), ExecutorError> {
        let machine = Arc::clone(self.machine().await?);
        let (root, layers, cleanups) =
            (self.scratch_root.clone(), Arc::clone(&self.layers), Arc::clone(&self.cleanups));
        let (snapshot, limits) = (step.snapshot.clone(), step.limits.clone());
        let (sandbox, setup, descriptors) = blocking(move || {
            let mounts = layers.mounts(&effective(&snapshot), &root)?;
            let cgroup = Cgroup::create(&machine.hierarchies, &limits)?;
            let groups = cgroup.descriptors().map_err(|source| setup_error("open the control groups", source))?;
            let (sandbox, setup) = Sandbox::start(&root, &machine.agent, cgroup, &cleanups)?;
            let descriptors = [setup.scratch].into_iter().chain(groups).chain(mounts).collect::<Vec<_>>();
            Ok((sandbox, setup.channel, descriptors))
        })
        .await?;
        let connect = || {
            setup.set_nonblocking(true)?;
            UnixStream::from_std(setup)
        };
        let channel = connect().map_err(|source| setup_error("open the channel to the agent", source))?;
        Ok((sandbox, channel, descriptors))
    }
}

#[async_trait]
impl Executor for NamespaceExecutor {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run(&self, step: RunStep<'_>, io: &mut dyn StepIo) -> Result<RunOutcome, ExecutorError> {
        refuse_unenforceable(step.limits)?;
        let seccomp = self.machine().await?.seccomp.clone();
        // In this order, so that the channel is closed first when this future is dropped.
        let (sandbox, channel, descriptors) = self.prepare(&step).await?;
        let mut session = Session::open(channel).await?;

        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        descriptors::send(session.stream(), &borrowed).await?;
        drop(descriptors);
        session.send(&Request::Sandbox(describe(&step, &sandbox))).await?;
        session.send(&Request::Process(process(&step, seccomp))).await?;
        let result = finish_process(&mut session, &sandbox, &step, io).await;
        drop(session);
        sandbox.finish().await;
        result
    }
}

/// Follows the process to its end and takes its changes.
async fn finish_process(
    session: &mut Session<UnixStream>,
    sandbox: &Sandbox,
    step: &RunStep<'_>,
    io: &mut dyn StepIo,
) -> Result<RunOutcome, ExecutorError> {
    let exited = session.follow(step.limits.timeout, io).await.map_err(|error| match error {
        ExecutorError::Start { reason, .. } => ExecutorError::Start { program: program(step).to_owned(), reason },
        error => error,
    })?;
    let cgroup = sandbox.cgroup();
    if exited.status != 0 {
        if let Some(exceeded) = cgroup.and_then(Cgroup::exceeded) {
            return Err(ExecutorError::Limit(exceeded));
        }
    }
    let waited_for = std::time::Duration::from_micros(exited.cpu_micros);
    let usage = Usage {
        cpu: cgroup.and_then(Cgroup::cpu_time).or(Some(waited_for)),
        peak_memory: cgroup.and_then(Cgroup::peak_memory),
    };
    if exited.status == 0 {
        session.capture(io).await?;
    }
    Ok(RunOutcome { status: exited.status, usage })
}

impl Machine {
    fn discover(scratch_root: &std::path::Path) -> Result<Self, ExecutorError> {
        let agent = Agent::load()?;
        if !rustix::process::geteuid().is_root() {
            return Err(unavailable("hypr does not run as root".to_owned()));
        }
        check_scratch(scratch_root)?;
        let filter = Filter::docker_default(Capabilities::DEFAULT).map_err(|error| unavailable(format!("{error}")))?;
        Ok(Self { agent, hierarchies: Hierarchies::discover(), seccomp: filter.to_bytes() })
    }
}

/// Refuses file systems that overlayfs does not take as its upper directory.
fn check_scratch(root: &std::path::Path) -> Result<(), ExecutorError> {
    const OVERLAY: i64 = 0x794c_7630;
    const NFS: i64 = 0x6969;
    const FUSE: i64 = 0x6573_5546;
    const MSDOS: i64 = 0x4d44;
    let action = || format!("look at the file system of {}", root.display());
    let status = rustix::fs::statfs(root).map_err(|errno| setup_error(&action(), errno.into()))?;
    let name = match i64::from(status.f_type) {
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

/// The layers of `snapshot` that count. Of a layer that is there twice the higher one does: it has every entry and
/// every whiteout of the lower one, and overlayfs takes no layer twice.
fn effective(snapshot: &Snapshot) -> Vec<&Layer> {
    let mut seen = HashSet::new();
    let mut layers: Vec<_> = snapshot.layers().iter().rev().filter(|layer| seen.insert(layer.id.file)).collect();
    layers.reverse();
    layers
}

fn describe(step: &RunStep<'_>, sandbox: &Sandbox) -> protocol::Sandbox {
    let host_network = step.network == Network::Host;
    let cgroups = sandbox.cgroup().map_or(Vec::new(), |group| vec![group.name().as_bytes().to_vec(); group.count()]);
    protocol::Sandbox {
        user_namespace: false,
        host_network,
        hostname: HOST_NAME.as_bytes().to_vec(),
        hosts: network_files::hosts(step.network, HOST_NAME),
        resolv_conf: network_files::resolv_conf(step.network),
        programs: step
            .script
            .iter()
            .map(|script| Program { path: script.path.as_bytes().to_vec(), content: script.content.to_vec() })
            .collect(),
        cgroups,
        lowers: effective(step.snapshot).iter().map(|_| Lower::Mount).collect(),
    }
}

fn process(step: &RunStep<'_>, seccomp: Vec<u8>) -> protocol::Process {
    let strings = |list: &Option<Vec<String>>| -> Vec<Vec<u8>> {
        list.iter().flatten().map(|text| text.as_bytes().to_vec()).collect()
    };
    let user = step.process.user();
    protocol::Process {
        args: strings(step.process.args()),
        env: strings(step.process.env()),
        cwd: step.process.cwd().as_os_str().as_bytes().to_vec(),
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        capabilities: Capabilities::DEFAULT.bits(),
        seccomp,
    }
}

fn program<'a>(step: &RunStep<'a>) -> &'a str {
    step.process.args().as_ref().and_then(|args| args.first()).map_or("", String::as_str)
}

/// Runs `work` where blocking is allowed. It runs to its end even when nobody waits for it any more; what it made is
/// dropped then.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExecutorError> + Send + 'static,
) -> Result<T, ExecutorError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ExecutorError::Lost(format!("its preparation was given up: {error}"))),
    }
}

fn setup_error(action: &str, source: io::Error) -> ExecutorError {
    ExecutorError::Setup { action: action.to_owned(), source }
}

fn unavailable(reason: String) -> ExecutorError {
    ExecutorError::Unavailable { executor: NAME, reason }
}
