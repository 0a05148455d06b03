//! Starting machines, one of them before the step that is going to use it.

use std::{
    fs::{self, File},
    io,
    num::{NonZeroU8, NonZeroU64},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use hypr_vmm::{Activity, Disk, End, Ended, Extent, Vm};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    super::{
        ExecutorError, Limits, agent, capabilities::Capabilities, cleanups::Cleanups, request::setup_error,
        seccomp::Filter,
    },
    disk, initramfs, scratch, unavailable,
};
use crate::{error::with_causes, kernel::GuestKernel};

/// Memory that the guest's kernel and the agent need for themselves, in MiB, and which part of all memory the kernel
/// keeps to describe it.
const KERNEL_MEMORY: u64 = 96;
const DESCRIBED_BY: u64 = 64;
/// Memory that one mounted layer takes for each processor, in KiB (measured with blocks of 128 KiB).
const LAYER_MEMORY: u64 = 1200;
/// Steps whose numbers of layers differ by less have machines of one shape.
const LAYERS: usize = 8;
/// The memory of a step that was given no limit, in MiB, at most; it is touched only as far as it is used.
const DEFAULT_MEMORY: u64 = 8192;
/// What a step may write that was given no limit, in bytes; the host gives it as it is used.
const DEFAULT_SCRATCH: u64 = 256 << 30;

/// The number of the disk that shows all layers.
const LAYER_DISK: usize = 0;

/// What a machine is like before it knows its step. Those of one shape can stand in for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    vcpus: NonZeroU8,
    /// MiB.
    memory: u32,
    /// Bytes.
    scratch: u64,
}

/// Makes machines.
#[derive(Debug)]
pub(super) struct Machines {
    initramfs: File,
    kernel: File,
    seccomp: Vec<u8>,
    scratch_root: PathBuf,
    host_memory: u64,
    host_cpus: u8,
    cleanups: Arc<Cleanups>,
    spare: Mutex<Spare>,
    /// How many there are, the spare one included.
    count: Arc<AtomicUsize>,
    /// MiB of the host's memory that no machine may use yet.
    room: Arc<Semaphore>,
    /// Steps that wait for room, and so for the spare machine to go.
    waiting: AtomicUsize,
}

/// A machine that waits for its step.
#[derive(Debug, Default)]
enum Spare {
    #[default]
    None,
    Starting,
    Ready(Booted),
}

/// Counts one who waits, for as long as this is held.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Memory of the host that a machine may use, for as long as this is held.
#[derive(Debug)]
pub(super) struct Room {
    _permit: OwnedSemaphorePermit,
}

impl Machines {
    /// Machines that run `kernel`, and write to files in `scratch_root`.
    ///
    /// # Errors
    /// Fails when the kernel's files cannot be read.
    pub(super) fn load(
        kernel: &GuestKernel,
        scratch_root: PathBuf,
        cleanups: Arc<Cleanups>,
    ) -> Result<Self, ExecutorError> {
        let agent = agent::program().map_err(unavailable)?;
        let filter = Filter::docker_default(Capabilities::DEFAULT).map_err(|error| unavailable(format!("{error}")))?;
        let modules = kernel.modules().map_err(|error| unavailable(with_causes(&error)))?;
        let initramfs = initramfs::build(agent, &modules);
        let initramfs = initramfs.map_err(|source| setup_error("make the machine's first file system", source))?;
        let kernel = kernel.open().map_err(|error| unavailable(with_causes(&error)))?;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let host_memory = memory_of_host() >> 20;
        let room = usize::try_from(host_memory).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Ok(Self {
            initramfs,
            kernel,
            seccomp: filter.to_bytes(),
            scratch_root,
            host_memory,
            host_cpus: u8::try_from(cpus.min(32)).unwrap_or(1),
            cleanups,
            spare: Mutex::default(),
            count: Arc::default(),
            room: Arc::new(Semaphore::new(room)),
            waiting: AtomicUsize::new(0),
        })
    }

    /// The filter of system calls that each step's process has.
    pub(super) fn seccomp(&self) -> &[u8] {
        &self.seccomp
    }

    /// Waits until the host has memory for a step with `limits` beside all other machines. A spare one has to go for it.
    pub(super) async fn room(&self, limits: &Limits) -> Result<Room, ExecutorError> {
        let claim = self.claim(self.memory_of(limits));
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(claim) {
            return Ok(Room { _permit: permit });
        }
        // One that is being started sees that somebody waits, and goes.
        let _waiting = Waiting::new(&self.waiting);
        self.drop_spare();
        let permit = Arc::clone(&self.room).acquire_many_owned(claim).await;
        // Nobody closes it.
        let permit = permit.map_err(|_| unavailable("there is no more room for machines".to_owned()))?;
        Ok(Room { _permit: permit })
    }

    /// One that wants more than there is has it alone.
    fn claim(&self, memory: u64) -> u32 {
        u32::try_from(memory.min(self.host_memory)).unwrap_or(u32::MAX)
    }

    /// MiB that a step with `limits` may use.
    fn memory_of(&self, limits: &Limits) -> u64 {
        let default = (self.host_memory / 2).clamp(256, DEFAULT_MEMORY);
        limits.memory.map_or(default, |bytes| bytes.get().div_ceil(1 << 20))
    }

    /// The shape of a machine for a step with `limits` and so many layers.
    ///
    /// # Errors
    /// Fails when there are no disks of the size that the step's is to have.
    pub(super) fn shape(&self, limits: &Limits, layers: usize) -> Result<Shape, ExecutorError> {
        let scratch = scratch_size(limits);
        if !(scratch::MIN_SIZE..=scratch::MAX_SIZE).contains(&scratch) {
            let (least, most) = (scratch::MIN_SIZE >> 20, scratch::MAX_SIZE >> 30);
            let reason = format!("a microVM's disk has {least} MiB to {most} GiB");
            return Err(ExecutorError::Unenforceable { limit: "scratch", reason });
        }
        let cpus = limits.cpus.map_or(u64::from(self.host_cpus), |cpus| cpus.get().into());
        let vcpus = NonZeroU8::new(u8::try_from(cpus).unwrap_or(u8::MAX).min(self.host_cpus));
        let vcpus = vcpus.unwrap_or(NonZeroU8::MIN);
        let layers = layers.next_multiple_of(LAYERS) as u64;
        let own = KERNEL_MEMORY + layers * u64::from(vcpus.get()) * LAYER_MEMORY / 1024;
        let memory = self.memory_of(limits).saturating_add(own);
        let memory = memory.saturating_add(memory / DESCRIBED_BY);
        Ok(Shape { vcpus, memory: u32::try_from(memory).unwrap_or(u32::MAX), scratch })
    }

    /// A machine of this shape that shows `layers`: the spare one, if it is like that and lives.
    ///
    /// # Errors
    /// Fails when no machine can be started.
    pub(super) fn take(&self, shape: Shape, layers: &[Extent], room: Room) -> Result<Booted, ExecutorError> {
        if let Some(mut spare) = self.take_spare().filter(|spare| spare.shape == shape)
            && spare.show(layers).is_ok()
        {
            return Ok(spare);
        }
        let mut booted = self.boot(shape, room)?;
        booted.show(layers)?;
        Ok(booted)
    }

    /// Starts a spare machine of this shape where a processor is idle and there is memory, aside from what follows.
    /// `limits` are those of the step that is like the one it waits for.
    pub(super) fn start_spare(self: &Arc<Self>, shape: Shape, limits: &Limits) {
        let claim = self.claim(self.memory_of(limits));
        let mut spare = self.spare();
        if self.count.load(Ordering::Relaxed) >= self.host_cpus.into() || !matches!(*spare, Spare::None) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(claim) else { return };
        *spare = Spare::Starting;
        drop(spare);
        let this = Arc::clone(self);
        self.cleanups.start(move || {
            let booted = this.boot(shape, Room { _permit: permit });
            // The step that would have had it tells what is wrong.
            let booted = booted.map_err(|error| tracing::debug!("no spare machine: {}", with_causes(&error)));
            let mut spare = this.spare();
            // What is not kept ends without the lock.
            let (kept, _too_much) = match booted {
                Ok(booted) if this.waiting.load(Ordering::SeqCst) == 0 => (Spare::Ready(booted), None),
                other => (Spare::None, other.ok()),
            };
            *spare = kept;
            drop(spare);
        });
    }

    /// Ends the spare machine, if there is one.
    pub(super) fn drop_spare(&self) {
        drop(self.take_spare());
    }

    fn take_spare(&self) -> Option<Booted> {
        let mut spare = self.spare();
        match std::mem::take(&mut *spare) {
            Spare::Ready(booted) => Some(booted),
            other => {
                *spare = other;
                None
            }
        }
    }

    /// How many machines there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn boot(&self, shape: Shape, room: Room) -> Result<Booted, ExecutorError> {
        let failed = |source| setup_error("open the machine's files", source);
        let action = || format!("make a scratch disk in {}", self.scratch_root.display());
        let scratch = scratch::create(&self.scratch_root, shape.scratch);
        let scratch = scratch.map_err(|source| setup_error(&action(), source))?;
        let vm = Vm::builder(self.kernel.try_clone().map_err(failed)?)
            .initramfs(self.initramfs.try_clone().map_err(failed)?)
            .vcpus(shape.vcpus)
            .memory(shape.memory)
            .disk(Disk::unbound(disk::CAPACITY))
            .disk(Disk::writable(scratch).map_err(failed)?)
            .start()
            .map_err(failed_to_start)?;
        self.count.fetch_add(1, Ordering::Relaxed);
        let (cleanups, count) = (Arc::clone(&self.cleanups), Arc::clone(&self.count));
        Ok(Booted { vm: Some(vm), shape, cleanups, count, room: Some(room) })
    }
}

/// Bytes that a step with `limits` may write.
pub(super) fn scratch_size(limits: &Limits) -> u64 {
    limits.scratch.map_or(DEFAULT_SCRATCH, NonZeroU64::get)
}

fn failed_to_start(error: hypr_vmm::Error) -> ExecutorError {
    match error {
        hypr_vmm::Error::Ended { ended, console } => gone(&ended.end, &console),
        hypr_vmm::Error::Lost { status, console } => lost(&status, &console),
        error @ (hypr_vmm::Error::Silent { .. } | hypr_vmm::Error::Unruly { .. }) => {
            ExecutorError::Lost(error.to_string())
        }
        hypr_vmm::Error::Setup { action, reason } => setup_error(&action, io::Error::other(reason)),
        error @ hypr_vmm::Error::Extents { .. } => setup_error("show the layers", io::Error::other(error)),
        error => unavailable(with_causes(&error)),
    }
}

/// The machine ended by itself.
fn gone(end: &End, console: &str) -> ExecutorError {
    ExecutorError::Lost(format!("its machine is gone: {end}{}", last_words(console)))
}

/// The monitor ended without a word.
fn lost(status: &str, console: &str) -> ExecutorError {
    ExecutorError::Lost(format!("its monitor ended ({status}){}", last_words(console)))
}

/// A machine that was started. It ends with this, aside from what follows.
#[derive(Debug)]
pub(super) struct Booted {
    vm: Option<Vm>,
    shape: Shape,
    cleanups: Arc<Cleanups>,
    count: Arc<AtomicUsize>,
    room: Option<Room>,
}

impl Booted {
    /// Shows these layers on its first disk.
    fn show(&mut self, layers: &[Extent]) -> Result<(), ExecutorError> {
        self.vm.as_mut().map_or(Ok(()), |vm| vm.bind(LAYER_DISK, layers)).map_err(failed_to_start)
    }

    /// hypr's end of the channel to its agent.
    pub(super) fn channel(&mut self) -> io::Result<UnixStream> {
        let vm = self.vm.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let channel = vm.channel().try_clone()?;
        channel.set_nonblocking(true)?;
        Ok(channel)
    }

    /// Ends a machine whose step has ended, and tells what it did. Its memory is given back aside from what follows.
    ///
    /// # Errors
    /// Fails when the monitor does not tell: nobody knows then whether all that the step wrote was kept.
    pub(super) async fn stop(mut self) -> Result<Activity, ExecutorError> {
        let untold = || ExecutorError::Lost("its monitor did not tell what it did".to_owned());
        let mut vm = self.vm.take().ok_or_else(untold)?;
        let stopped = self.cleanups.carry_out(move || vm.stop().map(|ended| (vm, ended))).await.ok_or_else(untold)?;
        let (vm, ended) = stopped.map_err(failed_to_start)?;
        self.vm = Some(vm);
        Ok(ended.activity)
    }

    /// Why the conversation with the machine broke off, as far as its monitor knows.
    pub(super) async fn explain(mut self, what: String) -> ExecutorError {
        let Some(mut vm) = self.vm.take() else { return ExecutorError::Lost(what) };
        let console = vm.console();
        // One that still runs is stopped, and said to be.
        match self.cleanups.carry_out(move || vm.stop()).await {
            Some(Ok(Ended { end, .. })) if end != End::Stopped => gone(&end, &console),
            Some(Err(hypr_vmm::Error::Lost { status, .. })) => lost(&status, &console),
            Some(Err(error @ (hypr_vmm::Error::Silent { .. } | hypr_vmm::Error::Unruly { .. }))) => {
                ExecutorError::Lost(error.to_string())
            }
            _ => ExecutorError::Lost(format!("{what}{}", last_words(&console))),
        }
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        if let Some(vm) = self.vm.take() {
            let room = self.room.take();
            self.cleanups.start(move || drop((vm, room)));
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
