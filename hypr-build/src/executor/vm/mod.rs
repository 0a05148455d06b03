//! Steps in microVMs: each behind a kernel of its own, on the monitor of `hypr-vmm`.
//!
//! The machine has two disks, however many layers there are: one that shows all layers, and one that takes what the
//! step writes. Its first program is the same [agent](super::agent) that makes sandboxes of namespaces, and makes the
//! same sandbox inside of the machine, so that a step cannot tell the two executors apart but by the kernel. All that
//! the host hears of the machine is the [conversation](super::session) with that agent.

mod disk;
mod initramfs;
mod machines;
mod scratch;

use std::{io, num::NonZeroU64, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use hypr_vmm::Activity;
use tokio::{net::UnixStream, sync::OnceCell};

use self::{
    disk::LayerDisk,
    machines::{Booted, Machines, Room, Shape},
};
use super::{
    Exceeded, Executor, ExecutorError, Network, RunOutcome, RunStep, StepIo, Usage,
    cleanups::Cleanups,
    protocol::{Account, Exited, Machine, Request},
    request::{self, Stacks, blocking, setup_error},
    session::{Session, deadline, in_time},
};
use crate::kernel::GuestKernel;

const NAME: &str = "vm";

/// The name of the control group that the agent makes in its machine.
const GROUP: &[u8] = b"step";

/// Processes and threads of a step that was given no limit of them.
const DEFAULT_PIDS: u64 = 16384;

/// Runs steps in microVMs.
///
/// Every step has a machine of its own, which is gone with it. Machines that are being started or ended when the executor
/// is dropped end aside; [`settle`](Executor::settle) waits for the last of them.
#[derive(Debug)]
pub struct VmExecutor {
    kernel: Arc<GuestKernel>,
    scratch_root: PathBuf,
    cleanups: Arc<Cleanups>,
    machines: OnceCell<Arc<Machines>>,
}

impl VmExecutor {
    /// An executor whose machines run `kernel`, and whose steps write to files without names in `scratch_root`.
    pub fn new(kernel: GuestKernel, scratch_root: impl Into<PathBuf>) -> Self {
        Self {
            kernel: Arc::new(kernel),
            scratch_root: scratch_root.into(),
            cleanups: Arc::default(),
            machines: OnceCell::new(),
        }
    }

    /// The kernel of its machines.
    pub fn kernel(&self) -> &GuestKernel {
        &self.kernel
    }

    /// Tells whether steps can run here, before the first one does.
    ///
    /// # Errors
    /// [`ExecutorError::Unavailable`] says what is missing and the way out.
    pub async fn check(&self) -> Result<(), ExecutorError> {
        self.machines().await?;
        blocking(|| hypr_vmm::probe().map(drop).map_err(|error| unavailable(error.to_string()))).await
    }

    async fn machines(&self) -> Result<&Arc<Machines>, ExecutorError> {
        let load = || {
            let (kernel, scratch_root) = (Arc::clone(&self.kernel), self.scratch_root.clone());
            let cleanups = Arc::clone(&self.cleanups);
            blocking(move || Machines::load(&kernel, scratch_root, cleanups).map(Arc::new))
        };
        self.machines.get_or_try_init(load).await
    }

    /// Starts the machine of `step`, with its layers on one disk and nothing on the other.
    async fn start(&self, step: &RunStep<'_>, room: Room) -> Result<Running, ExecutorError> {
        let machines = Arc::clone(self.machines().await?);
        let (snapshot, mounts, limits) = (step.snapshot.clone(), step.mounts.to_vec(), step.limits.clone());
        let start = move || {
            let mut layers = LayerDisk::default();
            let root = layers.add(&snapshot)?;
            let mounts = mounts.into_iter().map(|mount| request::mount(mount, &mut |stack| layers.add(stack)));
            let stacks = Stacks { root, mounts: mounts.collect::<Result<_, _>>()? };
            let shape = machines.shape(&limits, layers.extents().len())?;
            let mut booted = machines.take(shape, layers.extents(), room)?;
            let channel = booted.channel();
            let channel = channel.map_err(|source| setup_error("open the channel to the machine", source))?;
            let machine = Machine {
                layers: layers.places(),
                memory: limits.memory.map_or(0, NonZeroU64::get),
                pids: limits.pids.map_or(DEFAULT_PIDS, |pids| pids.get().into()),
            };
            Ok(Running { channel, machine, stacks, booted, shape })
        };
        let given_up = || Err(ExecutorError::Lost("its machine could not be started".to_owned()));
        self.cleanups.carry_out(start).await.unwrap_or_else(given_up)
    }
}

/// A machine that was started, and what its agent is to be told.
struct Running {
    channel: std::os::unix::net::UnixStream,
    machine: Machine,
    stacks: Stacks,
    booted: Booted,
    shape: Shape,
}

#[async_trait]
impl Executor for VmExecutor {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run(&self, step: RunStep<'_>, io: &mut dyn StepIo) -> Result<RunOutcome, ExecutorError> {
        if step.network != Network::None {
            return Err(unavailable("a microVM has no network; `--isolation namespace` has the host's".to_owned()));
        }
        let machines = self.machines().await?;
        // Waiting for other steps does not count.
        let room = machines.room(step.limits).await?;
        let deadline = deadline(step.limits.timeout);
        let Running { channel, machine, stacks, booted, shape } = in_time(deadline, self.start(&step, room)).await?;
        let channel = UnixStream::from_std(channel);
        let channel = channel.map_err(|source| setup_error("open the channel to the machine", source))?;
        let talk = async {
            let session = Session::open(channel, deadline).await?;
            // Not before this one is there, which comes first.
            machines.start_spare(shape, step.limits);
            converse(session, &step, machine, stacks, machines.seccomp().to_vec(), io).await
        };
        let result = talk.await;
        match result {
            Ok(mut outcome) => {
                let Activity { exits, bytes_written, disk_errors } = booted.stop().await?;
                (outcome.usage.exits, outcome.usage.bytes_written) = (Some(exits), Some(bytes_written));
                match disk_errors {
                    0 => Ok(outcome),
                    // Whatever its status: what a guest writes back late reads as zeros if that failed, and it may not
                    // have noticed.
                    _ => Err(setup_error(
                        "read layers or keep what the step writes on the host's disk",
                        io::Error::other(format!("{disk_errors} requests failed; is the disk full?")),
                    )),
                }
            }
            Err(ExecutorError::Lost(what)) => Err(booted.explain(what).await),
            Err(error) => Err(error),
        }
    }

    async fn settle(&self) {
        let (cleanups, machines) = (Arc::clone(&self.cleanups), self.machines.get().cloned());
        let wait = move || {
            // A spare machine may be about to be there.
            cleanups.wait();
            if let Some(machines) = machines {
                machines.drop_spare();
            }
            cleanups.wait();
        };
        // A panic in there is one of a cleanup, which has nothing left to do.
        let _ = tokio::task::spawn_blocking(wait).await;
    }
}

/// Tells the agent what to do, follows the process to its end and takes its changes.
async fn converse(
    mut session: Session<UnixStream>,
    step: &RunStep<'_>,
    machine: Machine,
    stacks: Stacks,
    seccomp: Vec<u8>,
    io: &mut dyn StepIo,
) -> Result<RunOutcome, ExecutorError> {
    session.limit_changes(machines::scratch_size(step.limits));
    session.send(&Request::Machine(machine)).await?;
    session.send(&Request::Sandbox(request::sandbox(step, stacks, false, vec![GROUP.to_vec()]))).await?;
    session.send(&Request::Process(request::process(step, seccomp))).await?;
    let exited = session.follow(step.mounts, io).await.map_err(|error| match error {
        ExecutorError::Start { reason, .. } => {
            ExecutorError::Start { program: request::program(step).to_owned(), reason }
        }
        error => error,
    })?;
    for (number, _) in step.mounts.iter().enumerate().filter(|(_, mount)| request::is_captured(mount)) {
        session.capture_mount(number, io).await?;
    }
    if let Some(exceeded) = exceeded(&exited) {
        return Err(ExecutorError::Limit { exceeded, status: Some(exited.status) });
    }
    if exited.status == 0 {
        session.capture(io).await?;
    }
    let peak_memory = Some(exited.account.peak_memory).filter(|peak| *peak > 0);
    let usage = Usage { cpu: Some(Duration::from_micros(exited.cpu_micros)), peak_memory, ..Usage::default() };
    Ok(RunOutcome { status: exited.status, usage })
}

/// The limit that a step which failed went over.
fn exceeded(exited: &Exited) -> Option<Exceeded> {
    let Account { out_of_memory, out_of_pids, out_of_scratch, .. } = exited.account;
    let reached =
        [(out_of_memory, Exceeded::Memory), (out_of_scratch, Exceeded::Scratch), (out_of_pids, Exceeded::Pids)];
    let reached = reached.into_iter().find(|(is_reached, _)| *is_reached).map(|(_, exceeded)| exceeded);
    reached.filter(|_| exited.status != 0)
}

fn unavailable(reason: String) -> ExecutorError {
    ExecutorError::Unavailable { executor: NAME, reason }
}

#[cfg(test)]
mod tests;
