//! Mounts: the classic calls where a path serves, the descriptor calls where a detached mount has to be attached.

use std::{
    ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong, c_void},
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use super::{check, check_long};

pub(crate) const READ_ONLY: c_ulong = 1;
pub(crate) const NO_SUID: c_ulong = 2;
pub(crate) const NO_DEV: c_ulong = 4;
pub(crate) const NO_EXEC: c_ulong = 8;
pub(crate) const REMOUNT: c_ulong = 32;
pub(crate) const NO_ATIME: c_ulong = 1024;
pub(crate) const BIND: c_ulong = 4096;
const MOVE: c_ulong = 8192;
pub(crate) const RECURSIVE: c_ulong = 16384;
pub(crate) const PRIVATE: c_ulong = 1 << 18;

const MNT_DETACH: c_int = 2;
const AT_FDCWD: c_int = -100;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 4;
/// The same on every architecture, as all calls since Linux 5.1.
const MOVE_MOUNT: c_long = 429;
#[cfg(target_arch = "x86_64")]
const PIVOT_ROOT: c_long = 155;
#[cfg(not(target_arch = "x86_64"))]
const PIVOT_ROOT: c_long = 41;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    #[link_name = "mount"]
    fn c_mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn chroot(path: *const c_char) -> c_int;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
}

/// Mounts `source` of file system `kind` on `target` with the options in `data`, which fit into a page.
pub(crate) fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: c_ulong, data: &CStr) -> io::Result<()> {
    // SAFETY: all four are terminated strings that outlive the call.
    check(unsafe { c_mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) }).map(drop)
}

/// Makes what is at `source` appear at `target` as well.
pub(crate) fn bind(source: &CStr, target: &CStr, flags: c_ulong) -> io::Result<()> {
    mount(source, target, c"none", BIND | flags, c"")
}

/// Gives a bind mount its flags, which the call that makes it ignores.
pub(crate) fn remount_bind(target: &CStr, flags: c_ulong) -> io::Result<()> {
    mount(c"none", target, c"none", REMOUNT | BIND | flags, c"")
}

/// Keeps what is mounted here from appearing elsewhere, and the other way round.
pub(crate) fn make_private(target: &CStr) -> io::Result<()> {
    // SAFETY: `target` is a terminated string; with these flags the kernel looks at nothing else.
    check(unsafe { c_mount(ptr::null(), target.as_ptr(), ptr::null(), PRIVATE | RECURSIVE, ptr::null()) }).map(drop)
}

/// Attaches the detached mount `mount` at `target`.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: &CStr) -> io::Result<()> {
    // SAFETY: both strings are terminated and outlive the call.
    let result = unsafe {
        syscall(MOVE_MOUNT, mount.as_raw_fd(), c"".as_ptr(), AT_FDCWD, target.as_ptr(), MOVE_MOUNT_F_EMPTY_PATH)
    };
    check_long(result).map(drop)
}

/// Takes the mount at `target` and all below it out of the tree.
pub(crate) fn detach(target: &CStr) -> io::Result<()> {
    // SAFETY: `target` is a terminated string that outlives the call.
    check(unsafe { umount2(target.as_ptr(), MNT_DETACH) }).map(drop)
}

/// Makes the working directory, which is a mount, the root of this mount namespace; the old root is gone after it.
pub(crate) fn pivot_into_working_directory() -> io::Result<()> {
    // SAFETY: both strings are terminated; the call touches no memory of ours.
    check_long(unsafe { syscall(PIVOT_ROOT, c".".as_ptr(), c".".as_ptr()) })?;
    // The old root now lies on top of the new one.
    detach(c".")?;
    std::env::set_current_dir("/")
}

/// Makes the working directory, which is a mount, the root of everything. For the first file system of a kernel, which
/// cannot be exchanged for another.
pub(crate) fn move_working_directory_to_root() -> io::Result<()> {
    mount(c".", c"/", c"none", MOVE, c"")?;
    // SAFETY: the path is a terminated string that outlives the call.
    check(unsafe { chroot(c".".as_ptr()) })?;
    std::env::set_current_dir("/")
}
