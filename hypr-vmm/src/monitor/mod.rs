//! The monitor: what runs one machine, in a process of its own.
//!
//! ```text
//! main thread   the library's requests, the channel
//! disks         requests of the guest's disks
//! vcpu 0..n     the guest, and its accesses to ports and registers
//! ```
//!
//! All that a guest can reach is in `devices`; each value that it gives is checked there. A guest that breaks the
//! monitor has its [jail](jail) to break next.

mod arch;
pub mod devices;
pub mod exits;
mod failure;
mod inherited;
mod jail;
mod machine;
pub mod memory;
mod probe;
mod statistics;
mod vcpu;
mod worker;

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::ExitCode,
    sync::{Arc, Barrier, mpsc},
    thread,
};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EventFd};

pub use self::failure::Failure;
use self::{
    failure::Context,
    jail::{Bounds, Role},
    machine::{Descriptors, Machine},
    statistics::Statistics,
    worker::Worker,
};
use crate::{
    End, Ended,
    wire::{self, Report, Request},
};

/// Serves the library, whose socket is the standard input, until it closes it or the machine ends.
pub fn main() -> ExitCode {
    // First, while nothing has been opened here.
    let closed = inherited::close().context("close what the monitor is not meant to have");
    // Else its name is the number of the descriptor that it was started from.
    let _ = rustix::thread::set_name(c"hypr-monitor");
    let control = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(control) => UnixStream::from(control),
        Err(_) => return ExitCode::FAILURE,
    };
    match closed.and_then(|()| serve(&control)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { action, reason }) => {
            // Without the library there is nobody to tell.
            let _ = wire::send(&control, &Report::Failed { action, reason }, &[], None);
            ExitCode::FAILURE
        }
    }
}

fn serve(control: &UnixStream) -> Result<(), Failure> {
    let Some((request, descriptors)) = receive(control)? else { return Ok(()) };
    match request {
        Request::Probe => answer_probe(control, descriptors),
        Request::Start(start) => run(control, &start, descriptors),
        Request::Bind { .. } | Request::Stop => Err(Failure::new("understand a request", "there is no machine yet")),
    }
}

fn answer_probe(control: &UnixStream, descriptors: Vec<OwnedFd>) -> Result<(), Failure> {
    let kvm = machine::kvm(Descriptors::new(descriptors).next("/dev/kvm")?);
    let result = probe::probe(&kvm)?;
    let mut jail = jail::close(Bounds::default())?;
    jail.seccomp = jail::confine(&jail::filter(Role::Main)?).is_ok();
    tell(
        control,
        &match result {
            Ok(max_vcpus) => Report::Works { max_vcpus, jail },
            Err(reason) => Report::Unfit(reason),
        },
    )
}

fn run(control: &UnixStream, start: &wire::Start, descriptors: Vec<OwnedFd>) -> Result<(), Failure> {
    let mut descriptors = Descriptors::new(descriptors);
    let kvm = machine::kvm(descriptors.next("/dev/kvm")?);
    let mut machine = Machine::build(&kvm, start, descriptors)?;
    drop(kvm);
    let statistics = Statistics::open(&machine.vcpus);
    let mut jail = jail::close(bounds(start))?;
    machine.load(start)?;

    let wake = Arc::new(EventFd::new(EFD_CLOEXEC).context("make an event")?);
    let ends = start_threads(&mut machine, &wake)?;
    let mut worker = Worker::new(Arc::clone(machine.memory()), std::mem::take(&mut machine.attached_console))?;
    worker.watch(control, CONTROL)?;
    worker.watch(&worker::as_fd(&wake), MACHINE)?;
    jail::confine(&jail::filter(Role::Main)?)?;
    // All threads have their filters when the library hears of the machine.
    ends.barrier.wait();
    jail.seccomp = true;
    tell(control, &Report::Running(jail))?;
    let end = follow(control, &mut worker, &machine, &ends.receiver)?;
    let Some(end) = end else { return Ok(()) };
    let mut activity = machine.counters.read();
    activity.exits.all = statistics.exits();
    tell(control, &Report::Ended(Ended { end, activity }))
}

fn bounds(start: &wire::Start) -> Bounds {
    let writable = start.disks.iter().filter(|disk| disk.is_writable).flat_map(|disk| &disk.extents);
    let largest_disk = writable.map(|extent| extent.offset.saturating_add(extent.length)).max().unwrap_or(0);
    Bounds { largest_file: largest_disk.max(wire::CONSOLE), memory: start.memory, threads: u64::from(start.vcpus) + 2 }
}

/// The numbers of what the main thread watches besides its device.
const CONTROL: usize = 0;
const MACHINE: usize = 1;

/// What the processors tell.
struct Ends {
    receiver: mpsc::Receiver<End>,
    /// Holds them back until everything stands.
    barrier: Arc<Barrier>,
}

/// Starts all threads; the processors wait for the main thread, and all of them have their filters by then.
fn start_threads(machine: &mut Machine, wake: &Arc<EventFd>) -> Result<Ends, Failure> {
    let (sender, receiver) = mpsc::channel();
    let vcpus = std::mem::take(&mut machine.vcpus);
    let barrier = Arc::new(Barrier::new(vcpus.len() + 2));
    let mut disks = Worker::new(Arc::clone(machine.memory()), std::mem::take(&mut machine.attached_disks))?;
    let (filter, standing) = (jail::filter(Role::Disks)?, Arc::clone(&barrier));
    spawn("disks", move || {
        confined(&filter);
        standing.wait();
        // Nothing else is watched, so this ends with the process alone, or with an error that nothing can be done about.
        let _ = disks.wait();
        std::process::abort()
    })?;
    for (id, mut vcpu) in vcpus.into_iter().enumerate() {
        let (filter, standing) = (jail::filter(Role::Vcpu)?, Arc::clone(&barrier));
        let (bus, sender, wake) = (Arc::clone(&machine.bus), sender.clone(), Arc::clone(wake));
        spawn(&format!("vcpu {id}"), move || {
            confined(&filter);
            standing.wait();
            vcpu::run(&mut vcpu, &bus, &sender, &wake);
            // A processor that is dropped would be unmapped under the others' feet.
            loop {
                thread::park();
            }
        })?;
    }
    Ok(Ends { receiver, barrier })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop).context("start a thread")
}

/// A thread without its filter must not run.
fn confined(filter: &seccompiler::BpfProgram) {
    if jail::confine(filter).is_err() {
        std::process::abort();
    }
}

/// Serves the library until the machine ends; `None` when the library has gone.
fn follow(
    control: &UnixStream,
    worker: &mut Worker,
    machine: &Machine,
    ends: &mpsc::Receiver<End>,
) -> Result<Option<End>, Failure> {
    loop {
        match worker.wait().context("wait for the guest")? {
            MACHINE => match ends.try_recv() {
                Ok(end) => return Ok(Some(end)),
                Err(_) => continue,
            },
            _ => match receive(control)? {
                None => return Ok(None),
                Some((Request::Stop, _)) => return Ok(Some(End::Stopped)),
                Some((Request::Bind { disk, extents }, files)) => {
                    // A mistake of the library's program is no reason to end the machine.
                    let report = match machine.bind(disk, extents, files) {
                        Ok(()) => Report::Bound,
                        Err(Failure { reason, .. }) => Report::Refused(reason),
                    };
                    tell(control, &report)?;
                }
                Some(_) => return Err(Failure::new("understand a request", "there is a machine already")),
            },
        }
    }
}

fn receive(control: &UnixStream) -> Result<Option<(Request, Vec<OwnedFd>)>, Failure> {
    wire::receive(control, wire::MAX_DESCRIPTORS, None).context("read a request")
}

fn tell(control: &UnixStream, report: &Report) -> Result<(), Failure> {
    wire::send(control, report, &[], None).context("answer")
}
