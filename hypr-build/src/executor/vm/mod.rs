//! Steps in microVMs: each behind a kernel of its own, on the monitor of `hypr-vmm`.
//!
//! The machine has two disks, however many layers there are: one that shows all layers, and one that takes what the
//! step writes. Its first program is the same [agent](super::agent) that makes sandboxes of namespaces, and makes the
//! same sandbox inside of the machine, so that a step cannot tell the two executors apart but by the kernel. All that
//! the host hears of the machine is the [conversation](super::session) with that agent.

mod disk;
mod initramfs;
mod scratch;

use std::{
    fs::{self, File},
    io,
    num::{NonZeroU8, NonZeroU64},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use hypr_vmm::{Activity, Disk, End, Ended, Vm};
use tokio::{net::UnixStream, sync::OnceCell};

use self::disk::LayerDisk;
use super::{
    Exceeded, Executor, ExecutorError, Limits, Network, RunOutcome, RunStep, StepIo, Usage, agent,
    capabilities::Capabilities,
    cleanups::Cleanups,
    protocol::{Account, Exited, Machine, Request},
    request::{self, Stacks, blocking, setup_error},
    seccomp::Filter,
    session::Session,
};
use crate::kernel::GuestKernel;

const NAME: &str = "vm";

/// The name of the control group that the agent makes in its machine.
const GROUP: &[u8] = b"step";

/// Memory that the guest's kernel and the agent need for themselves, in MiB, and which part of all memory the kernel
/// keeps to describe it.
const KERNEL_MEMORY: u64 = 96;
const DESCRIBED_BY: u64 = 64;
/// Memory that one mounted layer takes for each processor, in KiB (measured with blocks of 128 KiB).
const LAYER_MEMORY: u64 = 1200;
/// The memory of a step that was given no limit, in MiB, at most; it is touched only as far as it is used.
const DEFAULT_MEMORY: u64 = 8192;
/// Processes and threads of a step that was given no limit of them.
const DEFAULT_PIDS: u64 = 16384;
/// What a step may write that was given no limit, in bytes; the host gives it as it is used.
const DEFAULT_SCRATCH: u64 = 256 << 30;

/// Runs steps in microVMs.
///
/// Every step has a machine of its own, which is gone with it. Dropping the executor waits for the last of them;
/// [`settle`](Executor::settle) does so without blocking.
#[derive(Debug)]
pub struct VmExecutor {
    kernel: Arc<GuestKernel>,
    scratch_root: PathBuf,
    cleanups: Arc<Cleanups>,
    shared: OnceCell<Arc<Shared>>,
}

/// What is the same for all machines.
#[derive(Debug)]
struct Shared {
    initramfs: File,
    kernel: File,
    seccomp: Vec<u8>,
    host_memory: u64,
    host_cpus: u8,
}

impl VmExecutor {
    /// An executor whose machines run `kernel`, and whose steps write to files without names in `scratch_root`.
    pub fn new(kernel: GuestKernel, scratch_root: impl Into<PathBuf>) -> Self {
        Self {
            kernel: Arc::new(kernel),
            scratch_root: scratch_root.into(),
            cleanups: Arc::default(),
            shared: OnceCell::new(),
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
        self.shared().await?;
        blocking(|| hypr_vmm::probe().map(drop).map_err(|error| unavailable(error.to_string()))).await
    }

    async fn shared(&self) -> Result<&Arc<Shared>, ExecutorError> {
        let kernel = Arc::clone(&self.kernel);
        self.shared.get_or_try_init(|| blocking(move || Shared::load(&kernel).map(Arc::new))).await
    }

    /// Starts the machine of `step`, with its layers on one disk and nothing on the other.
    async fn start(&self, step: &RunStep<'_>) -> Result<Running, ExecutorError> {
        let shared = Arc::clone(self.shared().await?);
        let (snapshot, mounts, limits) = (step.snapshot.clone(), step.mounts.to_vec(), step.limits.clone());
        let (scratch_root, cleanups) = (self.scratch_root.clone(), Arc::clone(&self.cleanups));
        let start = move || {
            let mut layers = LayerDisk::default();
            let root = layers.add(&snapshot)?;
            let mounts = mounts.into_iter().map(|mount| request::mount(mount, &mut |stack| layers.add(stack)));
            let stacks = Stacks { root, mounts: mounts.collect::<Result<_, _>>()? };
            let scratch = make_scratch(&scratch_root, &limits)?;
            let (mut vm, machine) = shared.boot(&limits, &layers, scratch)?;
            let channel = vm.channel().try_clone().and_then(|channel| {
                channel.set_nonblocking(true)?;
                Ok(channel)
            });
            let channel = channel.map_err(|source| setup_error("open the channel to the machine", source))?;
            let guard = Guard { vm: Some(vm), cleanups };
            Ok(Running { channel, machine, stacks, guard })
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
    guard: Guard,
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
        let seccomp = self.shared().await?.seccomp.clone();
        let Running { channel, machine, stacks, guard } = self.start(&step).await?;
        let channel = UnixStream::from_std(channel);
        let channel = channel.map_err(|source| setup_error("open the channel to the machine", source))?;
        let result = converse(channel, &step, machine, stacks, seccomp, io).await;
        match result {
            Ok(mut outcome) => {
                let Some(Activity { exits, bytes_written, disk_errors }) = guard.stop().await else {
                    return Ok(outcome);
                };
                (outcome.usage.exits, outcome.usage.bytes_written) = (Some(exits), Some(bytes_written));
                match (outcome.status, disk_errors) {
                    (0, _) | (_, 0) => Ok(outcome),
                    // The step saw errors of its disk that are none of its own.
                    _ => Err(setup_error(
                        "keep what the step writes on the host's disk",
                        io::ErrorKind::StorageFull.into(),
                    )),
                }
            }
            Err(ExecutorError::Lost(what)) => Err(guard.explain(what).await),
            Err(error) => Err(error),
        }
    }

    async fn settle(&self) {
        let cleanups = Arc::clone(&self.cleanups);
        // A panic in there is one of a cleanup, which has nothing left to do.
        let _ = tokio::task::spawn_blocking(move || cleanups.wait()).await;
    }
}

/// Tells the agent what to do, follows the process to its end and takes its changes.
async fn converse(
    channel: UnixStream,
    step: &RunStep<'_>,
    machine: Machine,
    stacks: Stacks,
    seccomp: Vec<u8>,
    io: &mut dyn StepIo,
) -> Result<RunOutcome, ExecutorError> {
    let mut session = Session::open(channel, step.limits.timeout).await?;
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

impl Shared {
    fn load(kernel: &GuestKernel) -> Result<Self, ExecutorError> {
        let agent = agent::program().map_err(unavailable)?;
        let filter = Filter::docker_default(Capabilities::DEFAULT).map_err(|error| unavailable(format!("{error}")))?;
        let modules = kernel.modules().map_err(|error| unavailable(crate::kernel::with_causes(&error)))?;
        let initramfs = initramfs::build(agent, &modules);
        let initramfs = initramfs.map_err(|source| setup_error("make the machine's first file system", source))?;
        let kernel = kernel.open().map_err(|error| unavailable(crate::kernel::with_causes(&error)))?;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            initramfs,
            kernel,
            seccomp: filter.to_bytes(),
            host_memory: memory_of_host() >> 20,
            host_cpus: u8::try_from(cpus.min(32)).unwrap_or(1),
        })
    }

    /// Starts a machine within `limits`; returns it with what its agent is to be told.
    fn boot(&self, limits: &Limits, layers: &LayerDisk, scratch: File) -> Result<(Vm, Machine), ExecutorError> {
        let failed = |source| setup_error("open the machine's files", source);
        let cpus = limits.cpus.map_or(u64::from(self.host_cpus), |cpus| cpus.get().into());
        let vcpus = NonZeroU8::new(u8::try_from(cpus).unwrap_or(u8::MAX).min(self.host_cpus));
        let vcpus = vcpus.unwrap_or(NonZeroU8::MIN);
        let places = layers.places();
        let own = KERNEL_MEMORY + places.len() as u64 * u64::from(vcpus.get()) * LAYER_MEMORY / 1024;
        let limit = limits.memory.map(NonZeroU64::get);
        let default = (self.host_memory / 2).clamp(256, DEFAULT_MEMORY);
        let memory = own + limit.map_or(default, |bytes| bytes.div_ceil(1 << 20));
        let memory = memory.saturating_add(memory / DESCRIBED_BY);
        let mut disk = Disk::unbound(disk::CAPACITY);
        disk = disk.showing(layers.extents().to_vec());
        let vm = Vm::builder(self.kernel.try_clone().map_err(failed)?)
            .initramfs(self.initramfs.try_clone().map_err(failed)?)
            .vcpus(vcpus)
            .memory(u32::try_from(memory).unwrap_or(u32::MAX))
            .disk(disk)
            .disk(Disk::writable(scratch).map_err(failed)?)
            .start()
            .map_err(|error| match error {
                hypr_vmm::Error::Setup { action, reason } => setup_error(&action, io::Error::other(reason)),
                error => unavailable(crate::kernel::with_causes(&error)),
            })?;
        let machine = Machine {
            layers: places,
            memory: limit.unwrap_or(0),
            pids: limits.pids.map_or(DEFAULT_PIDS, |pids| pids.get().into()),
        };
        Ok((vm, machine))
    }
}

fn make_scratch(directory: &Path, limits: &Limits) -> Result<File, ExecutorError> {
    let size = limits.scratch.map_or(DEFAULT_SCRATCH, NonZeroU64::get);
    if size < scratch::MIN_SIZE {
        let reason = format!("a microVM's disk has at least {} MiB", scratch::MIN_SIZE >> 20);
        return Err(ExecutorError::Unenforceable { limit: "scratch", reason });
    }
    let action = || format!("make a scratch disk in {}", directory.display());
    scratch::create(directory, size).map_err(|source| setup_error(&action(), source))
}

/// A machine that ends with this, aside from what follows.
struct Guard {
    vm: Option<Vm>,
    cleanups: Arc<Cleanups>,
}

impl Guard {
    /// Ends a machine whose step has ended, and tells what it did. Its memory is given back aside from what follows.
    async fn stop(mut self) -> Option<Activity> {
        let mut vm = self.vm.take()?;
        let (vm, ended) = self.cleanups.carry_out(move || vm.stop().map(|ended| (vm, ended))).await?.ok()?;
        self.vm = Some(vm);
        Some(ended.activity)
    }

    /// Why the conversation with the machine broke off, as far as its monitor knows.
    async fn explain(mut self, what: String) -> ExecutorError {
        let Some(mut vm) = self.vm.take() else { return ExecutorError::Lost(what) };
        let console = vm.console();
        // One that still runs is stopped, and said to be.
        let how = match self.cleanups.carry_out(move || vm.stop()).await {
            Some(Ok(Ended { end, .. })) if end != End::Stopped => format!("its machine is gone: {end}"),
            Some(Err(hypr_vmm::Error::Lost { status, .. })) => format!("its monitor ended ({status})"),
            _ => what,
        };
        ExecutorError::Lost(format!("{how}{}", last_words(&console)))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(vm) = self.vm.take() {
            self.cleanups.start(move || drop(vm));
        }
    }
}

/// Bytes of memory that this process may use: what the machine has, or its control group allows.
fn memory_of_host() -> u64 {
    let machine = rustix::system::sysinfo().totalram;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(group) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else { return machine };
    let directories = Path::new(group).ancestors().map(|directory| Path::new("/sys/fs/cgroup").join(directory));
    let limits =
        directories.filter_map(|directory| fs::read_to_string(directory.join("memory.max")).ok()?.trim().parse().ok());
    limits.min().map_or(machine, |limit: u64| limit.min(machine))
}

/// What a guest's kernel printed last, or from where it says what went wrong, on lines of their own and without what
/// would confuse a terminal.
fn last_words(console: &str) -> String {
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    let lines: Vec<String> = console.lines().map(clean).filter(|line| !line.trim().is_empty()).collect();
    const SIGNS: [&str; 4] = ["hypr-agent:", "Kernel panic", "BUG:", "Out of memory"];
    let telling = lines.iter().position(|line| SIGNS.iter().any(|sign| line.contains(sign)));
    let newest = &lines[telling.unwrap_or(lines.len().saturating_sub(12))..];
    newest.iter().take(12).fold(String::new(), |text, line| text + "\n  | " + line)
}

fn unavailable(reason: String) -> ExecutorError {
    ExecutorError::Unavailable { executor: NAME, reason }
}

#[cfg(test)]
mod tests;
