//! Pipes and waiting on several descriptors at once.

use std::{
    ffi::{c_int, c_long, c_short, c_ulong},
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use super::check;

const O_CLOEXEC: c_int = 0o2_000_000;
const F_DUPFD_CLOEXEC: c_int = 1030;

pub(crate) const POLLIN: c_short = 1;
pub(crate) const POLLOUT: c_short = 4;
pub(crate) const POLLERR: c_short = 8;

/// The kernel's `struct pollfd`; a negative descriptor is passed over.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct PollFd {
    pub(crate) fd: c_int,
    pub(crate) events: c_short,
    pub(crate) revents: c_short,
}

unsafe extern "C" {
    fn pipe2(ends: *mut c_int, flags: c_int) -> c_int;
    #[link_name = "poll"]
    fn c_poll(entries: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
    fn dup2(old: c_int, new: c_int) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
}

/// A pipe's reading and writing end, closed when a program is executed.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: the kernel writes two descriptors into the array.
    check(unsafe { pipe2(ends.as_mut_ptr(), O_CLOEXEC) })?;
    // SAFETY: the call has just made these descriptors and nothing else knows of them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Waits for an event; `timeout` in milliseconds, for ever when negative.
pub(crate) fn poll(entries: &mut [PollFd], timeout: c_int) -> io::Result<()> {
    loop {
        // SAFETY: the kernel reads and writes `entries.len()` entries of the slice.
        match check(unsafe { c_poll(entries.as_mut_ptr(), entries.len() as c_ulong, timeout) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(drop),
        }
    }
}

/// Makes the number `number` stand for what `fd` stands for, across `execve` as well.
pub(crate) fn place(fd: BorrowedFd<'_>, number: c_int) -> io::Result<()> {
    // SAFETY: the call touches no memory; callers place standard streams, which no value of ours owns.
    check(unsafe { dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// A copy of `fd` above the standard streams, closed when a program is executed.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the call touches no memory.
    let copy = check(unsafe { fcntl(fd.as_raw_fd(), F_DUPFD_CLOEXEC, 3 as c_long) })?;
    // SAFETY: the call has just made this descriptor and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
