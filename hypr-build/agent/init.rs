//! Process 1 of a sandbox's pid namespace.
//!
//! It makes the namespaces and the root, starts the process as number 2, and reaps what is orphaned, as a process that
//! knows nothing of being number 1 expects. When the process ends it tells the agent and ends as well, upon which the
//! kernel kills the rest. It gives up all capabilities before the process starts and stays out of its reach: signals
//! from inside do not touch a number 1, and its memory and descriptors are closed to others because it is not dumpable.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsRawFd, OwnedFd},
};

use crate::{
    failure::{Context, Failed},
    launch, masks,
    protocol::{Exited, FailureKind, Process, Report, Sandbox},
    root,
    sys::{
        mount, network,
        pipe::{POLLERR, PollFd, poll},
        process::{self, Fork},
    },
};

/// What the sandbox is to be.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) sandbox: Sandbox,
    pub(crate) process: Process,
    /// A detached mount for each layer of the kind [`Lower::Mount`](crate::protocol::Lower::Mount), in their order.
    pub(crate) mounts: Vec<OwnedFd>,
    /// The `cgroup.procs` of the step's control groups.
    pub(crate) cgroups: Vec<OwnedFd>,
}

/// What connects the sandbox with the agent.
#[derive(Debug)]
pub(crate) struct Links {
    /// A byte says that the process may start.
    pub(crate) go: OwnedFd,
    /// Frames to the agent.
    pub(crate) report: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Runs as the child of the agent, in a new pid namespace.
pub(crate) fn main(plan: Plan, links: Links) -> ! {
    let report = File::from(links.report);
    let links = Inherited { go: File::from(links.go), stdout: links.stdout, stderr: links.stderr };
    match run(&plan, &links, &report) {
        Ok(()) => process::exit(0),
        Err(failed) => {
            tell(&report, &Report::Failed(failed.0));
            process::exit(1)
        }
    }
}

struct Inherited {
    go: File,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

fn run(plan: &Plan, links: &Inherited, report: &File) -> Result<(), Failed> {
    process::set_name(c"init");
    process::die_with_parent().context("follow the agent")?;
    let mut kept: Vec<_> = plan.mounts.iter().chain(&plan.cgroups).map(AsRawFd::as_raw_fd).collect();
    kept.extend([links.go.as_raw_fd(), links.stdout.as_raw_fd(), links.stderr.as_raw_fd(), report.as_raw_fd()]);
    // SAFETY: this process never returns to the frames that own the channel, the scratch directory and the reading
    // ends; it ends by `process::exit`, which drops nothing.
    unsafe { process::close_all_but(&mut kept) }.context("close the agent's descriptors")?;
    if agent_is_gone(report)? {
        process::exit(1);
    }
    enter_namespaces(&plan.sandbox)?;
    root::build(&plan.sandbox, &plan.mounts)?;
    masks::apply()?;

    tell(report, &Report::Started);
    // The end of the pipe instead of a byte: the agent has gone.
    if (&links.go).read_exact(&mut [0]).is_err() {
        process::exit(1);
    }
    let child = match process::fork().start_context("fork")? {
        Fork::Child => {
            let failed = launch::launch(plan, &links.stdout, &links.stderr);
            tell(report, &Report::Failed(failed.0));
            process::exit(127)
        }
        Fork::Parent(child) => child,
    };
    step_back(report)?;
    loop {
        let ended = process::wait(None).context("wait for the process")?;
        if ended.child == child {
            tell(report, &Report::Exited(Exited { status: ended.status, ..Exited::default() }));
            return Ok(());
        }
    }
}

/// Gives up what is needed no more while the image's code runs.
fn step_back(report: &File) -> Result<(), Failed> {
    process::bound_capabilities(0).context("give up capabilities")?;
    process::set_capabilities(0).context("give up capabilities")?;
    let mut kept = [report.as_raw_fd()];
    // SAFETY: only `report` is used from here on, and this process ends by `process::exit`, which drops nothing.
    unsafe { process::close_all_but(&mut kept) }.context("close the sandbox's descriptors")?;
    // A change of credentials may have cleared it.
    process::die_with_parent().context("follow the agent")?;
    if agent_is_gone(report)? {
        process::exit(1)
    }
    Ok(())
}

fn enter_namespaces(sandbox: &Sandbox) -> Result<(), Failed> {
    let mut namespaces = process::NEW_NS | process::NEW_UTS | process::NEW_IPC;
    if !sandbox.host_network {
        namespaces |= process::NEW_NET;
    }
    process::unshare(namespaces).context("make namespaces")?;
    mount::make_private(c"/").context("make the mount namespace private")?;
    // Kernels without keyrings have none to leave.
    match process::join_new_session_keyring() {
        Err(error) if error.raw_os_error() == Some(38) => {}
        other => other.context("leave the session keyring")?,
    }
    process::set_host_name(&sandbox.hostname).context("set the host name")?;
    if !sandbox.host_network {
        network::raise_loopback().context("bring the loopback interface up")?;
    }
    Ok(())
}

/// Whether nobody reads the reports any more: the parent may have ended before it was followed.
fn agent_is_gone(report: &File) -> Result<bool, Failed> {
    let mut entries = [PollFd { fd: report.as_raw_fd(), events: 0, revents: 0 }];
    poll(&mut entries, 0).context("look after the agent")?;
    Ok(entries[0].revents & POLLERR != 0)
}

/// Sends a report, which with its few bytes goes through a pipe whole. Without an agent there is nobody to tell.
fn tell(mut report: &File, message: &Report) {
    let mut message = message.encode();
    if message.len() > 4096 {
        let kind = FailureKind::Setup;
        message = Report::Failed(Failed::new(kind, "tell what went wrong", "it is too long").0).encode();
    }
    let _ = report.write_all(&message);
}
