//! Files by directory handle: nothing here takes a path of more than one name or follows a symbolic link.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_void},
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use super::{check, check_len, check_long};

pub(crate) const O_RDONLY: c_int = 0;
pub(crate) const O_NONBLOCK: c_int = 0o4000;
#[cfg(any(target_arch = "x86_64", target_arch = "riscv64"))]
pub(crate) const O_DIRECTORY: c_int = 0o200_000;
#[cfg(any(target_arch = "x86_64", target_arch = "riscv64"))]
pub(crate) const O_NOFOLLOW: c_int = 0o400_000;
#[cfg(target_arch = "aarch64")]
pub(crate) const O_DIRECTORY: c_int = 0o40_000;
#[cfg(target_arch = "aarch64")]
pub(crate) const O_NOFOLLOW: c_int = 0o100_000;
pub(crate) const O_CLOEXEC: c_int = 0o2_000_000;

const AT_SYMLINK_NOFOLLOW: c_int = 0x100;
const AT_EMPTY_PATH: c_int = 0x1000;
const STATX_BASIC_STATS: c_uint = 0x7ff;
const SEEK_DATA: c_int = 3;
const SEEK_HOLE: c_int = 4;
const ENODATA: i32 = 61;
const ENXIO: i32 = 6;
const EOPNOTSUPP: i32 = 95;

#[cfg(target_arch = "x86_64")]
mod number {
    use std::ffi::c_long;
    pub(super) const GETDENTS64: c_long = 217;
    pub(super) const STATX: c_long = 332;
    pub(super) const FSTATFS: c_long = 138;
}
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
mod number {
    use std::ffi::c_long;
    pub(super) const GETDENTS64: c_long = 61;
    pub(super) const STATX: c_long = 291;
    pub(super) const FSTATFS: c_long = 44;
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn openat(dir: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
    fn readlinkat(dir: c_int, path: *const c_char, buffer: *mut c_char, size: usize) -> isize;
    fn flistxattr(fd: c_int, list: *mut c_char, size: usize) -> isize;
    fn fgetxattr(fd: c_int, name: *const c_char, value: *mut c_void, size: usize) -> isize;
    fn lseek(fd: c_int, offset: i64, whence: c_int) -> i64;
}

/// What an inode is, from the top bits of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Fifo,
    CharDevice,
    Directory,
    BlockDevice,
    File,
    Symlink,
    Socket,
}

impl Kind {
    fn of_mode(mode: u16) -> io::Result<Self> {
        Ok(match mode >> 12 {
            0o01 => Self::Fifo,
            0o02 => Self::CharDevice,
            0o04 => Self::Directory,
            0o06 => Self::BlockDevice,
            0o10 => Self::File,
            0o12 => Self::Symlink,
            0o14 => Self::Socket,
            other => return Err(io::Error::other(format!("unknown file type {other:o}"))),
        })
    }
}

/// A point in time as the file system keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    /// Seconds since 1970, rounded down.
    pub(crate) seconds: i64,
    /// 0 to 999,999,999 on top of that.
    pub(crate) nanos: u32,
}

/// What `statx` tells of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: Kind,
    /// Permission bits with set-uid, set-gid and sticky.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u32,
    pub(crate) size: u64,
    /// What is allocated, in units of 512 bytes.
    pub(crate) blocks: u64,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
    /// Major and minor number of a device inode.
    pub(crate) device: (u32, u32),
    /// The file system's device number and the inode's number in it.
    pub(crate) id: (u32, u32, u64),
}

/// The kernel's `struct statx_timestamp`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawTime {
    seconds: i64,
    nanos: u32,
    reserved: i32,
}

/// The kernel's `struct statx`, the same on every architecture.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawStat {
    mask: u32,
    block_size: u32,
    attributes: u64,
    links: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    spare0: u16,
    inode: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    accessed: RawTime,
    born: RawTime,
    changed: RawTime,
    modified: RawTime,
    device_major: u32,
    device_minor: u32,
    filesystem_major: u32,
    filesystem_minor: u32,
    spare: [u64; 14],
}

const _: () = assert!(size_of::<RawStat>() == 256);

/// Opens `name` in `dir`; `flags` get `O_CLOEXEC` and `O_NOFOLLOW` added and must not ask for creation.
pub(crate) fn open_at(dir: BorrowedFd<'_>, name: &CStr, flags: c_int) -> io::Result<OwnedFd> {
    // SAFETY: `name` is a terminated string that outlives the call; without O_CREAT no further argument is read.
    let fd = check(unsafe { openat(dir.as_raw_fd(), name.as_ptr(), flags | O_CLOEXEC | O_NOFOLLOW) })?;
    // SAFETY: the call has just made this descriptor and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens the directory `name` in `dir` for reading.
pub(crate) fn open_dir(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    open_at(dir, name, O_RDONLY | O_DIRECTORY)
}

/// Looks at `name` in `dir` itself, never at what it links to.
pub(crate) fn stat_at(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Stat> {
    statx(dir, name, AT_SYMLINK_NOFOLLOW)
}

/// Looks at an open file.
pub(crate) fn stat(fd: BorrowedFd<'_>) -> io::Result<Stat> {
    statx(fd, c"", AT_EMPTY_PATH)
}

fn statx(dir: BorrowedFd<'_>, name: &CStr, flags: c_int) -> io::Result<Stat> {
    let mut raw = RawStat::default();
    // SAFETY: `name` is a terminated string; the kernel writes at most the 256 bytes of `raw`, which is valid for
    // every bit pattern.
    let result =
        unsafe { syscall(number::STATX, dir.as_raw_fd(), name.as_ptr(), flags, STATX_BASIC_STATS, &raw mut raw) };
    check_long(result)?;
    let time = |raw: RawTime| Time { seconds: raw.seconds, nanos: raw.nanos };
    Ok(Stat {
        kind: Kind::of_mode(raw.mode)?,
        mode: raw.mode & 0o7777,
        uid: raw.uid,
        gid: raw.gid,
        links: raw.links,
        size: raw.size,
        blocks: raw.blocks,
        mtime: time(raw.modified),
        ctime: time(raw.changed),
        device: (raw.device_major, raw.device_minor),
        id: (raw.filesystem_major, raw.filesystem_minor, raw.inode),
    })
}

/// The kernel's `struct statfs` for 64-bit machines.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawFileSystem {
    kind: i64,
    block_size: i64,
    blocks: u64,
    free: u64,
    available: u64,
    files: u64,
    free_files: u64,
    others: [u64; 8],
}

/// How many bytes and how many files are free on the file system that `fd` is on.
pub(crate) fn free_space(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let mut raw = RawFileSystem::default();
    // SAFETY: the kernel writes at most its 120 bytes into `raw`, which is valid for every bit pattern.
    check_long(unsafe { syscall(number::FSTATFS, fd.as_raw_fd(), &raw mut raw) })?;
    Ok((raw.available.saturating_mul(raw.block_size.unsigned_abs()), raw.free_files))
}

/// The names in the directory `dir`, in the file system's order, without `.` and `..`.
///
/// The directory is read from where its offset stands: from the start for a handle that was just opened.
pub(crate) fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    // Offset of the name in `struct linux_dirent64`: 8 bytes inode, 8 offset, 2 record length, 1 type.
    const NAME: usize = 19;
    let mut names = Vec::new();
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        // SAFETY: the kernel writes at most `buffer.len()` bytes into `buffer`.
        let result = unsafe { syscall(number::GETDENTS64, dir.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
        let filled = usize::try_from(check_long(result)?).unwrap_or(0);
        if filled == 0 {
            return Ok(names);
        }
        let mut records = buffer.get(..filled).unwrap_or_default();
        while let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, low, high, ..] = *records {
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let name = records.get(NAME..length).and_then(|bytes| CStr::from_bytes_until_nul(bytes).ok());
            let name = name.ok_or_else(|| io::Error::other("malformed directory record"))?.to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
            records = records.get(length..).unwrap_or_default();
        }
    }
}

/// Where the symbolic link `name` in `dir` points.
pub(crate) fn read_link_at(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Vec<u8>> {
    // A target is shorter than PATH_MAX.
    let mut target = vec![0u8; 4096];
    // SAFETY: `name` is a terminated string; the kernel writes at most `target.len()` bytes into `target`.
    let result =
        unsafe { readlinkat(dir.as_raw_fd(), name.as_ptr(), target.as_mut_ptr().cast::<c_char>(), target.len()) };
    let length = check_len(result)?;
    target.truncate(length);
    Ok(target)
}

/// The names of the extended attributes of an open file; none where the file system has no such thing.
pub(crate) fn xattr_names(fd: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut list = vec![0u8; 4096];
    let length = loop {
        // SAFETY: the kernel writes at most `list.len()` bytes into `list`.
        let result = unsafe { flistxattr(fd.as_raw_fd(), list.as_mut_ptr().cast::<c_char>(), list.len()) };
        match check_len(result) {
            Ok(length) => break length,
            Err(error) if error.raw_os_error() == Some(EOPNOTSUPP) => return Ok(Vec::new()),
            // XATTR_LIST_MAX is 64 KiB: no list is longer.
            Err(error) if error.raw_os_error() == Some(34) && list.len() < 65536 => list.resize(65536, 0),
            Err(error) => return Err(error),
        }
    };
    let names = list.get(..length).unwrap_or_default();
    Ok(names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| CString::new(name).ok())
        .collect())
}

/// The value of an extended attribute; `None` if there is none of that name.
pub(crate) fn xattr(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0u8; 256];
    loop {
        // SAFETY: `name` is a terminated string; the kernel writes at most `value.len()` bytes into `value`.
        let result =
            unsafe { fgetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast::<c_void>(), value.len()) };
        match check_len(result) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(error) if matches!(error.raw_os_error(), Some(ENODATA | EOPNOTSUPP)) => return Ok(None),
            // XATTR_SIZE_MAX is 64 KiB: no value is longer.
            Err(error) if error.raw_os_error() == Some(34) && value.len() < 65536 => value.resize(65536, 0),
            Err(error) => return Err(error),
        }
    }
}

/// Where data begins at or after `offset`; `None` when only a hole follows.
pub(crate) fn seek_data(fd: BorrowedFd<'_>, offset: u64) -> io::Result<Option<u64>> {
    match seek(fd, offset, SEEK_DATA) {
        Err(error) if error.raw_os_error() == Some(ENXIO) => Ok(None),
        other => other.map(Some),
    }
}

/// Where the data at `offset` ends: at a hole or at the end of the file.
pub(crate) fn seek_hole(fd: BorrowedFd<'_>, offset: u64) -> io::Result<u64> {
    seek(fd, offset, SEEK_HOLE)
}

fn seek(fd: BorrowedFd<'_>, offset: u64, whence: c_int) -> io::Result<u64> {
    let offset = i64::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: the call reads and writes no memory of ours.
    u64::try_from(unsafe { lseek(fd.as_raw_fd(), offset, whence) }).map_err(|_| io::Error::last_os_error())
}
