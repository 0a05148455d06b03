//! Makes files by directory handle, and sets what they carry.

use std::{
    ffi::{CStr, c_char, c_int, c_long, c_uint, c_void},
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use super::{
    check, check_long,
    fs::{O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW},
};

const O_WRONLY: c_int = 0o1;
const O_CREAT: c_int = 0o100;
const O_EXCL: c_int = 0o200;
const AT_SYMLINK_NOFOLLOW: c_int = 0x100;
const S_IFIFO: c_uint = 0o010_000;
const S_IFCHR: c_uint = 0o020_000;
const UTIME_OMIT: c_long = 0x3fff_fffe;
const OPENAT2: c_long = 437;
/// RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS and RESOLVE_BENEATH.
const RESOLVE_PLAIN_BENEATH: u64 = 0x01 | 0x02 | 0x04 | 0x08;

/// The kernel's `struct open_how`.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// `struct timespec` of 64-bit systems.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanos: c_long,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn openat(dir: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
    fn mkdirat(dir: c_int, path: *const c_char, mode: c_uint) -> c_int;
    fn mknodat(dir: c_int, path: *const c_char, mode: c_uint, device: u64) -> c_int;
    fn symlinkat(target: *const c_char, dir: c_int, path: *const c_char) -> c_int;
    fn linkat(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_int) -> c_int;
    fn fchownat(dir: c_int, path: *const c_char, uid: c_uint, gid: c_uint, flags: c_int) -> c_int;
    fn fchown(fd: c_int, uid: c_uint, gid: c_uint) -> c_int;
    fn fchmod(fd: c_int, mode: c_uint) -> c_int;
    fn fchmodat(dir: c_int, path: *const c_char, mode: c_uint, flags: c_int) -> c_int;
    fn utimensat(dir: c_int, path: *const c_char, times: *const Timespec, flags: c_int) -> c_int;
    fn futimens(fd: c_int, times: *const Timespec) -> c_int;
    fn fsetxattr(fd: c_int, name: *const c_char, value: *const c_void, size: usize, flags: c_int) -> c_int;
}

/// Opens the directory at `path` below `root`: no part of it may be a symbolic link or lead out, or to another mount.
pub(crate) fn open_dir_beneath(root: BorrowedFd<'_>, path: &CStr) -> io::Result<OwnedFd> {
    let flags = u64::from((O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW).unsigned_abs());
    let how = OpenHow { flags, mode: 0, resolve: RESOLVE_PLAIN_BENEATH };
    // SAFETY: `path` is a terminated string, and the kernel reads `how` for as many bytes as it is told.
    let fd =
        check_long(unsafe { syscall(OPENAT2, root.as_raw_fd(), path.as_ptr(), &raw const how, size_of::<OpenHow>()) })?;
    let fd = c_int::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the call has just made this descriptor and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes the file `name`, which must not exist, for its owner alone.
pub(crate) fn file(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    // SAFETY: `name` is a terminated string, and the mode that O_CREAT wants is there.
    let fd = check(unsafe { openat(dir.as_raw_fd(), name.as_ptr(), flags, c_uint::from(0o600u16)) })?;
    // SAFETY: the call has just made this descriptor and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes the directory `name`, which must not exist, for its owner alone.
pub(crate) fn directory(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: `name` is a terminated string.
    check(unsafe { mkdirat(dir.as_raw_fd(), name.as_ptr(), 0o700) }).map(drop)
}

/// Makes the named pipe `name`.
pub(crate) fn fifo(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: `name` is a terminated string.
    check(unsafe { mknodat(dir.as_raw_fd(), name.as_ptr(), S_IFIFO | 0o600, 0) }).map(drop)
}

/// Makes the whiteout `name`, which since Linux 5.8 needs no capability.
pub(crate) fn whiteout(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: `name` is a terminated string.
    check(unsafe { mknodat(dir.as_raw_fd(), name.as_ptr(), S_IFCHR, 0) }).map(drop)
}

/// Makes the symbolic link `name` to `target`.
pub(crate) fn symlink(target: &CStr, dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: both are terminated strings.
    check(unsafe { symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) }).map(drop)
}

/// Makes `name` another name of the file `target` in `target_dir`, which is not followed if it is a link.
pub(crate) fn hard_link(target_dir: BorrowedFd<'_>, target: &CStr, dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: both are terminated strings.
    check(unsafe { linkat(target_dir.as_raw_fd(), target.as_ptr(), dir.as_raw_fd(), name.as_ptr(), 0) }).map(drop)
}

/// Sets the owner of an open file.
pub(crate) fn set_owner(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: the call touches no memory of ours.
    check(unsafe { fchown(fd.as_raw_fd(), uid, gid) }).map(drop)
}

/// Sets the owner of `name` itself, be it a link.
pub(crate) fn set_owner_at(dir: BorrowedFd<'_>, name: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: `name` is a terminated string.
    check(unsafe { fchownat(dir.as_raw_fd(), name.as_ptr(), uid, gid, AT_SYMLINK_NOFOLLOW) }).map(drop)
}

/// Sets the permissions of an open file.
pub(crate) fn set_mode(fd: BorrowedFd<'_>, mode: u16) -> io::Result<()> {
    // SAFETY: the call touches no memory of ours.
    check(unsafe { fchmod(fd.as_raw_fd(), mode.into()) }).map(drop)
}

/// Sets the permissions of `name`, which must not be a link.
pub(crate) fn set_mode_at(dir: BorrowedFd<'_>, name: &CStr, mode: u16) -> io::Result<()> {
    // SAFETY: `name` is a terminated string.
    check(unsafe { fchmodat(dir.as_raw_fd(), name.as_ptr(), mode.into(), 0) }).map(drop)
}

/// Sets the modification time of an open file, in seconds since 1970, and leaves the time of access.
pub(crate) fn set_mtime(fd: BorrowedFd<'_>, seconds: i64) -> io::Result<()> {
    let times = times(seconds);
    // SAFETY: the kernel reads the two structures that are there.
    check(unsafe { futimens(fd.as_raw_fd(), times.as_ptr()) }).map(drop)
}

/// Sets the modification time of `name` itself, be it a link.
pub(crate) fn set_mtime_at(dir: BorrowedFd<'_>, name: &CStr, seconds: i64) -> io::Result<()> {
    let times = times(seconds);
    // SAFETY: `name` is a terminated string, and the kernel reads the two structures that are there.
    check(unsafe { utimensat(dir.as_raw_fd(), name.as_ptr(), times.as_ptr(), AT_SYMLINK_NOFOLLOW) }).map(drop)
}

fn times(seconds: i64) -> [Timespec; 2] {
    [Timespec { seconds: 0, nanos: UTIME_OMIT }, Timespec { seconds, nanos: 0 }]
}

/// Sets an extended attribute of an open file.
pub(crate) fn set_xattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: `name` is a terminated string, and the kernel reads `value.len()` bytes of `value`.
    let result = unsafe { fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast::<c_void>(), value.len(), 0) };
    check(result).map(drop)
}
