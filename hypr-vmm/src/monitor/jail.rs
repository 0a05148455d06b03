//! What keeps the monitor from doing harm once a guest has taken it over.
//!
//! The process gives up its user, its capabilities and the file system; then each thread gives up all system calls but
//! those that its work takes. What is open by then is all that it ever has.

use std::collections::BTreeMap;

use landlock::{ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetStatus};
use rustix::{
    process::{DumpableBehavior, Gid, Resource, Rlimit, Uid},
    thread::{CapabilitySet, CapabilitySets},
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::failure::{Context, Failure};
use crate::Jail;

/// The user and group `nobody`.
const NOBODY: u32 = 65534;
/// `KVM_RUN`, the only request that a processor's thread makes.
const KVM_RUN: u64 = 0xae80;

/// The bits of a mapping's flags that tell its kind (Linux's `MAP_TYPE`).
const MAP_TYPE: u64 = 0xf;

/// What the monitor's own memory may come to beside the guest's, and for each thread besides, in bytes.
const OWN_MEMORY: u64 = 256 << 20;
const MEMORY_OF_THREAD: u64 = 4 << 20;

/// What a machine may use of the host.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    /// Bytes that the guest's writable disk may grow to.
    pub(crate) largest_file: u64,
    /// Bytes of the guest's memory.
    pub(crate) memory: u64,
    pub(crate) threads: u64,
}

/// Closes everything but system calls.
pub(crate) fn close(bounds: Bounds) -> Result<Jail, Failure> {
    // In this order: nobody may not say what programs of nobody's can never get.
    for capability in CapabilitySet::all().iter() {
        // Not all kernels know all of them, and who has none may not give them up.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let user = give_up_user()?;
    give_up_capabilities()?;
    rustix::thread::set_no_new_privs(true).context("give up privileges of programs")?;
    let landlock = close_file_system();
    limit(Resource::Core, 0).context("limit core dumps")?;
    limit(Resource::Fsize, bounds.largest_file).context("limit files")?;
    let own = OWN_MEMORY.saturating_add(bounds.threads.saturating_mul(MEMORY_OF_THREAD));
    limit(Resource::Data, bounds.memory.saturating_add(own)).context("limit memory")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context("close the monitor's memory")?;
    Ok(Jail {
        user,
        capabilities: true,
        no_new_privileges: true,
        landlock: landlock != RulesetStatus::NotEnforced,
        all_of_landlock: landlock == RulesetStatus::FullyEnforced,
        limits: true,
        // Filters are of threads, and come when each of them stands.
        seccomp: false,
    })
}

/// Sets a limit for good, unless there is a lower one already.
fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let most = rustix::process::getrlimit(resource).maximum.map_or(most, |present| present.min(most));
    rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

/// Root becomes nobody, anybody else stays.
fn give_up_user() -> Result<bool, Failure> {
    let action = "give up root";
    if rustix::process::geteuid().is_root() {
        let (group, user) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
        // A user namespace may lack the user nobody, or forbid groups; capabilities are given up all the same.
        let result = rustix::thread::set_thread_groups(&[])
            .and_then(|()| rustix::thread::set_thread_res_gid(group, group, group))
            .and_then(|()| rustix::thread::set_thread_res_uid(user, user, user));
        match result {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => return Ok(false),
            other => other.context(action)?,
        }
    }
    Ok(!rustix::process::geteuid().is_root())
}

fn give_up_capabilities() -> Result<(), Failure> {
    let action = "give up capabilities";
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).context(action)
}

/// Forbids every access to the file system that this kernel can forbid: none, those that Landlock has known from the
/// beginning, of which opening files is one, or all.
fn close_file_system() -> RulesetStatus {
    let everything = AccessFs::from_all(ABI::V5);
    let status = Ruleset::default()
        .handle_access(everything)
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    status.map_or(RulesetStatus::NotEnforced, |status| status.ruleset)
}

/// What a thread does for a living.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Talks with the library and serves the channel.
    Main,
    /// Serves disks.
    Disks,
    /// Runs a processor.
    Vcpu,
}

impl Role {
    /// System calls that only this role makes.
    fn calls(self) -> &'static [i64] {
        match self {
            Self::Main => &[
                libc::SYS_epoll_wait,
                libc::SYS_epoll_pwait,
                libc::SYS_epoll_pwait2,
                libc::SYS_epoll_ctl,
                libc::SYS_read,
                libc::SYS_readv,
                libc::SYS_writev,
                libc::SYS_recvfrom,
                libc::SYS_recvmsg,
                libc::SYS_sendto,
                libc::SYS_shutdown,
                libc::SYS_close,
                libc::SYS_pread64,
            ],
            Self::Disks => &[
                libc::SYS_epoll_wait,
                libc::SYS_epoll_pwait,
                libc::SYS_epoll_pwait2,
                libc::SYS_read,
                libc::SYS_preadv,
                libc::SYS_pwritev,
            ],
            Self::Vcpu => &[libc::SYS_pwrite64],
        }
    }
}

/// What every thread needs: memory, locks, waking others, and ends.
const COMMON: [i64; 13] = [
    libc::SYS_write,
    libc::SYS_futex,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_exit_group,
];

/// The filter of a thread with `role`: anything else ends the process.
pub(crate) fn filter(role: Role) -> Result<BpfProgram, Failure> {
    let action = "make a system call filter";
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        COMMON.iter().chain(role.calls()).map(|call| (*call, Vec::new())).collect();
    // Memory, but none that could hold a program, and none that is shared: that would not count as the process's own,
    // which alone is limited. What a processor shares with KVM was mapped when that was made.
    let executable = u64::try_from(libc::PROT_EXEC).context(action)?;
    let private = u64::try_from(libc::MAP_PRIVATE).context(action)?;
    let no_program = condition(2, SeccompCmpOp::MaskedEq(executable), 0)?;
    // All of the bits, since the one of shared memory is in other kinds as well.
    let no_sharing = condition(3, SeccompCmpOp::MaskedEq(MAP_TYPE), private)?;
    rules.insert(libc::SYS_mprotect, vec![rule(vec![no_program.clone()])?]);
    rules.insert(libc::SYS_mmap, vec![rule(vec![no_program, no_sharing])?]);
    if role == Role::Vcpu {
        rules.insert(libc::SYS_ioctl, vec![rule(vec![condition(1, SeccompCmpOp::Eq, KVM_RUN)?])?]);
    }
    let architecture = TargetArch::try_from(std::env::consts::ARCH).context(action)?;
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture);
    filter.and_then(BpfProgram::try_from).context(action)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Failure> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
    condition.context("make a system call filter")
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, Failure> {
    SeccompRule::new(conditions).context("make a system call filter")
}

/// Leaves this thread nothing but what `filter` has.
pub(crate) fn confine(filter: &BpfProgram) -> Result<(), Failure> {
    seccompiler::apply_filter(filter).context("install a system call filter")
}

#[cfg(test)]
mod tests;
