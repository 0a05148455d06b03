//! Processes, namespaces and credentials.

use std::{
    convert::Infallible,
    ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_ulong, c_void},
    io,
    os::fd::{AsRawFd, OwnedFd},
    ptr,
};

use super::{check, check_long};

pub(crate) const NEW_NS: c_int = 0x0002_0000;
pub(crate) const NEW_CGROUP: c_int = 0x0200_0000;
pub(crate) const NEW_UTS: c_int = 0x0400_0000;
pub(crate) const NEW_IPC: c_int = 0x0800_0000;
pub(crate) const NEW_USER: c_int = 0x1000_0000;
pub(crate) const NEW_PID: c_int = 0x2000_0000;
pub(crate) const NEW_NET: c_int = 0x4000_0000;

pub(crate) const RLIMIT_CORE: c_int = 4;
pub(crate) const RLIMIT_NOFILE: c_int = 7;

pub(crate) const KILL: c_int = 9;

const PR_SET_PDEATHSIG: c_int = 1;
const PR_SET_DUMPABLE: c_int = 4;
const PR_SET_NAME: c_int = 15;
const PR_SET_SECCOMP: c_int = 22;
const PR_CAPBSET_DROP: c_int = 24;
const PR_CAP_AMBIENT: c_int = 47;
const PR_CAP_AMBIENT_CLEAR_ALL: c_ulong = 4;
const SECCOMP_MODE_FILTER: c_ulong = 2;
const KEYCTL_JOIN_SESSION_KEYRING: c_long = 1;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const SIG_SETMASK: c_int = 2;
const LAST_SIGNAL: c_int = 64;
const AT_REMOVEDIR: c_int = 0x200;
/// The same on every architecture, as all calls since Linux 5.1.
const CLOSE_RANGE: c_long = 436;

#[cfg(target_arch = "x86_64")]
const KEYCTL: c_long = 250;
#[cfg(not(target_arch = "x86_64"))]
const KEYCTL: c_long = 219;

#[repr(C)]
struct TimeValue {
    seconds: i64,
    micros: i64,
}

/// The kernel's `struct rusage`.
#[repr(C)]
struct ResourceUsage {
    user: TimeValue,
    system: TimeValue,
    rest: [i64; 14],
}

/// The kernel's `struct rlimit`.
#[repr(C)]
struct ResourceLimit {
    soft: u64,
    hard: u64,
}

/// The kernel's `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const c_void,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    #[link_name = "unshare"]
    fn c_unshare(flags: c_int) -> c_int;
    #[link_name = "fork"]
    fn c_fork() -> c_int;
    fn _exit(status: c_int) -> !;
    fn wait4(pid: c_int, status: *mut c_int, options: c_int, usage: *mut ResourceUsage) -> c_int;
    #[link_name = "kill"]
    fn c_kill(pid: c_int, signal: c_int) -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
    fn setsid() -> c_int;
    fn fchdir(directory: c_int) -> c_int;
    fn unlinkat(directory: c_int, name: *const c_char, flags: c_int) -> c_int;
    #[link_name = "umask"]
    fn c_umask(mask: c_uint) -> c_uint;
    fn sethostname(name: *const c_char, length: usize) -> c_int;
    fn setgroups(count: usize, groups: *const c_uint) -> c_int;
    fn setresgid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn setresuid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn capset(header: *const c_void, data: *const c_void) -> c_int;
    fn getrlimit(resource: c_int, limit: *mut ResourceLimit) -> c_int;
    fn setrlimit(resource: c_int, limit: *const ResourceLimit) -> c_int;
    fn signal(signal: c_int, handler: usize) -> usize;
    fn sigprocmask(how: c_int, set: *const c_void, old: *mut c_void) -> c_int;
    fn execve(path: *const c_char, args: *const *const c_char, env: *const *const c_char) -> c_int;
}

/// Which side of a [`fork`] this is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fork {
    Child,
    Parent(Child),
}

/// A process that was forked here and not waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Child(c_int);

/// How a process ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) child: Child,
    /// 0 to 255; 128 + N after signal N.
    pub(crate) status: u8,
    /// User and system time of it and of the children it waited for, in microseconds.
    pub(crate) cpu_micros: u64,
}

/// Moves this process, or its next children for [`NEW_PID`], into new namespaces.
pub(crate) fn unshare(namespaces: c_int) -> io::Result<()> {
    // SAFETY: the call touches no memory.
    check(unsafe { c_unshare(namespaces) }).map(drop)
}

/// Forks. The agent has one thread, so the child may do all that the parent may.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: with one thread no lock can be held by another that the child lacks.
    match check(unsafe { c_fork() })? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(Child(pid))),
    }
}

/// Ends this process at once, without the exit handlers that belong to the process it was forked from.
pub(crate) fn exit(status: u8) -> ! {
    // SAFETY: the call does not return.
    unsafe { _exit(status.into()) }
}

/// Waits for `child`, or for any child.
pub(crate) fn wait(child: Option<Child>) -> io::Result<Ended> {
    let mut status = 0;
    let mut usage = ResourceUsage {
        user: TimeValue { seconds: 0, micros: 0 },
        system: TimeValue { seconds: 0, micros: 0 },
        rest: [0; 14],
    };
    let pid = loop {
        // SAFETY: the kernel writes an int and a `struct rusage`, which both outlive the call.
        let result = unsafe { wait4(child.map_or(-1, |child| child.0), &raw mut status, 0, &raw mut usage) };
        match check(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    let micros = |time: &TimeValue| time.seconds.unsigned_abs() * 1_000_000 + time.micros.unsigned_abs();
    let signal = status & 0x7f;
    let status = if signal == 0 { status >> 8 } else { 128 + signal };
    Ok(Ended {
        child: Child(pid),
        status: u8::try_from(status & 0xff).unwrap_or(u8::MAX),
        cpu_micros: micros(&usage.user) + micros(&usage.system),
    })
}

/// Sends SIGKILL to `child`. One that has ended already is none to complain about.
pub(crate) fn kill(child: Child) {
    // SAFETY: the call touches no memory; the child has not been waited for, so its number is still its own.
    unsafe { c_kill(child.0, KILL) };
}

/// Has the kernel kill this process when its parent ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: the call touches no memory.
    check(unsafe { prctl(PR_SET_PDEATHSIG, KILL as c_ulong) }).map(drop)
}

/// Opens this process's entries in `/proc` to others of its user, or closes them to all but the privileged.
pub(crate) fn set_dumpable(dumpable: bool) -> io::Result<()> {
    // SAFETY: the call touches no memory.
    check(unsafe { prctl(PR_SET_DUMPABLE, c_ulong::from(dumpable)) }).map(drop)
}

/// Names this process, in at most 15 bytes.
pub(crate) fn set_name(name: &CStr) {
    // SAFETY: `name` is a terminated string that outlives the call.
    unsafe { prctl(PR_SET_NAME, name.as_ptr()) };
}

/// Leaves the caller's session, so that the keys of its terminal do not reach this process.
pub(crate) fn new_session() {
    // SAFETY: the call touches no memory. It fails only for a group's leader, which needs no new session.
    unsafe { setsid() };
}

/// Sets the bits that new files do not get.
pub(crate) fn umask(mask: c_uint) {
    // SAFETY: the call touches no memory.
    unsafe { c_umask(mask) };
}

/// Names the machine in this UTS namespace.
pub(crate) fn set_host_name(name: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `name.len()` bytes of `name`.
    check(unsafe { sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// Leaves the session keyring of whoever started hypr.
pub(crate) fn join_new_session_keyring() -> io::Result<()> {
    // SAFETY: a null name asks for an anonymous keyring; the call touches no memory.
    check_long(unsafe { syscall(KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<c_char>()) }).map(drop)
}

/// Replaces the supplementary groups.
pub(crate) fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads `groups.len()` numbers of `groups`.
    check(unsafe { setgroups(groups.len(), groups.as_ptr()) }).map(drop)
}

/// Becomes the user `uid` of the group `gid`.
pub(crate) fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: the call touches no memory.
    check(unsafe { setresgid(gid, gid, gid) })?;
    // SAFETY: the call touches no memory.
    check(unsafe { setresuid(uid, uid, uid) }).map(drop)
}

/// Becomes the root user of this user namespace.
pub(crate) fn become_root() -> io::Result<()> {
    // SAFETY: the call touches no memory.
    check(unsafe { setresgid(0, 0, 0) })?;
    // SAFETY: the call touches no memory.
    check(unsafe { setresuid(0, 0, 0) }).map(drop)
}

/// Makes `directory` the working directory.
pub(crate) fn change_directory(directory: &OwnedFd) -> io::Result<()> {
    // SAFETY: the call touches no memory.
    check(unsafe { fchdir(directory.as_raw_fd()) }).map(drop)
}

/// Removes the empty directory `name` in `parent`.
pub(crate) fn remove_directory_at(parent: &OwnedFd, name: &CStr) -> io::Result<()> {
    // SAFETY: `name` is a terminated string that outlives the call.
    check(unsafe { unlinkat(parent.as_raw_fd(), name.as_ptr(), AT_REMOVEDIR) }).map(drop)
}

/// Closes every descriptor above the standard streams but those in `kept`, whoever believes to own them.
///
/// # Safety
/// No value that owns one of the others may be used or dropped afterwards.
pub(crate) unsafe fn close_all_but(kept: &mut [c_int]) -> io::Result<()> {
    kept.sort_unstable();
    let mut first: c_uint = 3;
    for &kept in kept.iter() {
        let kept = kept.unsigned_abs();
        if kept > first {
            // SAFETY: the caller's promise.
            check_long(unsafe { syscall(CLOSE_RANGE, first, kept - 1, 0 as c_uint) })?;
        }
        first = first.max(kept + 1);
    }
    // SAFETY: the caller's promise.
    check_long(unsafe { syscall(CLOSE_RANGE, first, c_uint::MAX, 0 as c_uint) }).map(drop)
}

/// Takes every capability but those in `kept` out of the bounding set.
pub(crate) fn bound_capabilities(kept: u64) -> io::Result<()> {
    for capability in 0..64u64 {
        if kept & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: the call touches no memory.
        match check(unsafe { prctl(PR_CAPBSET_DROP, capability as c_ulong) }) {
            // EINVAL: past the last one this kernel knows.
            Err(error) if error.raw_os_error() == Some(22) => return Ok(()),
            other => other?,
        };
    }
    Ok(())
}

/// Sets the permitted and effective capabilities; none are inheritable or ambient.
pub(crate) fn set_capabilities(capabilities: u64) -> io::Result<()> {
    // SAFETY: the call touches no memory. It fails on kernels without ambient capabilities, where there are none.
    unsafe { prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) };
    let low = (capabilities & 0xffff_ffff) as u32;
    let high = (capabilities >> 32) as u32;
    let header: [u32; 2] = [CAPABILITY_VERSION_3, 0];
    let sets: [u32; 6] = [low, low, 0, high, high, 0];
    // SAFETY: version 3 has a header of two words and two triples of effective, permitted and inheritable.
    check(unsafe { capset(header.as_ptr().cast(), sets.as_ptr().cast()) }).map(drop)
}

/// Lowers `resource` to `soft` and `hard`, as far as they are above it.
pub(crate) fn limit(resource: c_int, soft: u64, hard: u64) -> io::Result<()> {
    let mut current = ResourceLimit { soft: 0, hard: 0 };
    // SAFETY: the kernel writes a `struct rlimit`.
    check(unsafe { getrlimit(resource, &raw mut current) })?;
    let hard = hard.min(current.hard);
    let wanted = ResourceLimit { soft: soft.min(hard), hard };
    // SAFETY: the kernel reads a `struct rlimit`.
    check(unsafe { setrlimit(resource, &raw const wanted) }).map(drop)
}

/// Gives every signal its default action and blocks none.
pub(crate) fn reset_signals() {
    for number in 1..=LAST_SIGNAL {
        // SAFETY: SIG_DFL is 0 and no handler of ours is lost. Signals that cannot be set stay at their default.
        unsafe { signal(number, 0) };
    }
    // The C library's sigset_t is at most 128 bytes.
    let none = [0u64; 16];
    // SAFETY: an all-zero set is the empty one; no old set is asked for.
    unsafe { sigprocmask(SIG_SETMASK, none.as_ptr().cast(), ptr::null_mut()) };
}

/// Puts this process under a classic BPF program of eight bytes an instruction.
pub(crate) fn filter_system_calls(instructions: &[u8]) -> io::Result<()> {
    // The kernel copies from any address, but `struct sock_filter` is aligned to four bytes.
    let words: Vec<u32> = instructions.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect();
    let length = u16::try_from(words.len() / 2).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = Program { length, instructions: words.as_ptr().cast() };
    // SAFETY: `program` describes `words`, which holds `length` instructions of eight bytes.
    check(unsafe { prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const program) }).map(drop)
}

/// Becomes the program at `path`.
pub(crate) fn execute(path: &CStr, args: &[CString], env: &[CString]) -> io::Result<Infallible> {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both lists end with a null pointer and point at terminated strings that outlive the call.
    unsafe { execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Err(io::Error::last_os_error())
}
