//! One session with hypr, from hello to the last byte of the changes.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter},
    os::fd::{AsFd, OwnedFd},
};

use crate::{
    baseline::Baseline,
    capture::{self, Options},
    channel::{Changes, Channel},
    failure::{Context, Failed},
    init::Plan,
    machine::Machine,
    marks::Marks,
    protocol::{self, Access, Content, FailureKind, Lower, Mount, Report, Request, Sandbox},
    root::mount_name,
    scratch::Scratch,
    streams::Streams,
    supervise::{self, End},
    sys::{pipe, process},
    trees,
};

/// The channel, which hypr hands over as standard input.
pub(crate) fn open_channel() -> io::Result<Channel> {
    let socket = pipe::duplicate(io::stdin().as_fd())?;
    // Standard output is the null device: what is started here must not find the channel at descriptor 0.
    pipe::place(io::stdout().as_fd(), 0)?;
    Ok(Channel::new(socket))
}

/// Does the one thing that hypr asks for, and reports. Ends early, in peace, when the channel does.
pub(crate) fn serve(channel: &mut Channel) -> Result<(), Failed> {
    channel.send(&Report::Hello(protocol::VERSION))?;
    match receive_task(channel)? {
        None => Ok(()),
        Some(Request::Sandbox(sandbox)) => serve_sandbox(channel, sandbox, None),
        Some(Request::Unpack) => trees::unpack(channel),
        Some(Request::Remove(name)) => trees::remove(channel, &name),
        Some(_) => Err(out_of_order()),
    }
}

/// Serves hypr from within a machine.
pub(crate) fn serve_machine(channel: &mut Channel) -> Result<(), Failed> {
    channel.send(&Report::Hello(protocol::VERSION))?;
    let Some(request) = channel.receive()? else { return Ok(()) };
    let Request::Machine(machine) = request else { return Err(out_of_order()) };
    let machine = Machine::set_up(&machine, channel)?;
    match channel.receive()? {
        None => Ok(()),
        Some(Request::Sandbox(sandbox)) => serve_sandbox(channel, sandbox, Some(&machine)),
        Some(_) => Err(out_of_order()),
    }
}

fn serve_sandbox(channel: &mut Channel, sandbox: Sandbox, machine: Option<&Machine>) -> Result<(), Failed> {
    let groups = sandbox.cgroups.len();
    let lowers = sandbox.lowers.iter().chain(sandbox.mounts.iter().flat_map(Mount::lowers));
    let mounts = lowers.filter(|lower| **lower == Lower::Mount).count();
    let mut descriptors = channel.take_descriptors(1 + 2 * groups + mounts)?;
    let mounts = descriptors.split_off(1 + 2 * groups);
    let cgroups = descriptors.split_off(1);
    let [directory] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| out_of_order())?;
    if sandbox.user_namespace && !enter_user_namespace(channel)? {
        return Ok(());
    }
    process::set_dumpable(false).context("close the agent to other processes")?;
    let Some(request) = channel.receive()? else { return Ok(()) };
    let Request::Process(process) = request else { return Err(out_of_order()) };

    let marks = if sandbox.user_namespace { Marks::User } else { Marks::Trusted };
    let (cgroups, parents) = pairs(cgroups);
    // From here on there is something to clean up, whichever way this function is left.
    let scratch = Scratch::new(directory, sandbox.cgroups.clone(), parents)?;
    let plan = Plan { sandbox, process, mounts, cgroups };
    let outcome = run(channel, &scratch, plan, marks, machine);
    if let Err(failed) = outcome {
        let _ = channel.send(&Report::Failed(failed.0));
    }
    channel.wait_for_end();
    scratch.clear();
    Ok(())
}

fn run(
    channel: &mut Channel,
    scratch: &Scratch,
    plan: Plan,
    marks: Marks,
    machine: Option<&Machine>,
) -> Result<(), Failed> {
    scratch.make_stage()?;
    let mut root = Upper { directory: scratch.make_upper("")?, baseline: Baseline::default() };
    let mut mounts = BTreeMap::new();
    for (number, mount) in (0..).zip(&plan.sandbox.mounts) {
        if let Content::Tree { access: Access::Discarded | Access::Captured, .. } = mount.content {
            let directory = scratch.make_upper(&mount_name(number))?;
            mounts.insert(number, Upper { directory, baseline: Baseline::default() });
        }
    }
    let streams = Streams::listen(&plan.sandbox.mounts)?;
    let is_captured: Vec<bool> = plan.sandbox.mounts.iter().map(is_captured).collect();
    let record = |channel: &mut Channel| {
        root.record()?;
        mounts.values_mut().try_for_each(Upper::record)?;
        channel.send(&Report::Started)
    };
    let End::Exited(mut exited) = supervise::run(channel, plan, streams, record)? else { return Ok(()) };
    exited.account = machine.map(Machine::account).unwrap_or_default();
    channel.send(&Report::Exited(exited))?;
    loop {
        match channel.receive()? {
            None => return Ok(()),
            Some(Request::Capture) => root.capture(channel, marks)?,
            Some(Request::CaptureMount(number)) if is_captured.get(number as usize) == Some(&true) => {
                mounts.get(&number).ok_or_else(out_of_order)?.capture(channel, marks)?;
            }
            // Said before hypr heard of the end.
            Some(Request::Stream(..)) => {}
            Some(_) => return Err(out_of_order()),
        }
    }
}

fn is_captured(mount: &Mount) -> bool {
    matches!(mount.content, Content::Tree { access: Access::Captured, .. })
}

/// The upper directory of an overlay, and what stood in it before the process began.
struct Upper {
    directory: File,
    baseline: Baseline,
}

impl Upper {
    fn record(&mut self) -> Result<(), Failed> {
        let recorded = Baseline::record(self.directory.as_fd()).map_err(|error| error.source);
        self.baseline = recorded.context("read the upper directory")?;
        Ok(())
    }

    /// Sends the changes.
    fn capture(&self, channel: &mut Channel, marks: Marks) -> Result<(), Failed> {
        let mut out = BufWriter::with_capacity(protocol::MAX_REPORT, Changes(channel));
        let options = Options { marks, baseline: &self.baseline, skip: &[] };
        let summary = capture::capture(self.directory.as_fd(), &options, &mut out)
            .map_err(|error| Failed::new(FailureKind::Capture, "capture the changes", error.to_string()))?;
        drop(out);
        if summary.sockets > 0 {
            channel.send(&Report::LeftOut { sockets: summary.sockets, first: summary.first_socket })?;
        }
        channel.send(&Report::Captured)
    }
}

/// The first request that is not about descriptors.
fn receive_task(channel: &mut Channel) -> Result<Option<Request>, Failed> {
    loop {
        match channel.receive()? {
            Some(Request::Descriptors(_)) => {}
            other => return Ok(other),
        }
    }
}

/// Moves into a user namespace of the agent's own; `false` when hypr has gone.
pub(crate) fn enter_user_namespace(channel: &mut Channel) -> Result<bool, Failed> {
    process::unshare(process::NEW_USER).context("make a user namespace")?;
    // The id maps are files of this process, which only its user may write, and only while it is dumpable.
    process::set_dumpable(true).context("open the agent's id maps")?;
    channel.send(&Report::MapIds)?;
    match channel.receive()? {
        None => return Ok(false),
        Some(Request::IdsMapped) => {}
        Some(_) => return Err(out_of_order()),
    }
    process::become_root().context("become root of the user namespace")?;
    Ok(true)
}

/// Splits `cgroup.procs` and parent directories, which arrive in turns.
fn pairs(descriptors: Vec<OwnedFd>) -> (Vec<OwnedFd>, Vec<OwnedFd>) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (index, descriptor) in descriptors.into_iter().enumerate() {
        if index % 2 == 0 { first.push(descriptor) } else { second.push(descriptor) }
    }
    (first, second)
}

pub(crate) fn out_of_order() -> Failed {
    Failed::new(FailureKind::Protocol, "understand a request", "it is out of order")
}
