//! Partitions of disks, as `linux/blkpg.h` has them.

use std::{
    ffi::{c_int, c_ulong, c_void},
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::check;

const BLKPG: c_ulong = 0x1269;
const ADD_PARTITION: c_int = 1;

unsafe extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
}

/// `struct blkpg_partition`; places and lengths are bytes.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: c_int,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct Argument {
    operation: c_int,
    flags: c_int,
    length: c_int,
    data: *mut c_void,
}

/// Makes `length` bytes from byte `start` of `disk` its partition `number`, from 1 on. Both are whole sectors.
pub(crate) fn add_partition(disk: BorrowedFd<'_>, number: c_int, start: u64, length: u64) -> io::Result<()> {
    let out_of_range = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let start = i64::try_from(start).map_err(out_of_range)?;
    let length = i64::try_from(length).map_err(out_of_range)?;
    let mut partition = Partition { start, length, number, names: [0; 128] };
    let length = c_int::try_from(size_of::<Partition>()).unwrap_or(0);
    let argument = Argument { operation: ADD_PARTITION, flags: 0, length, data: (&raw mut partition).cast() };
    // SAFETY: the argument and what it points to are laid out as the kernel has them and outlive the call.
    check(unsafe { ioctl(disk.as_raw_fd(), BLKPG, &raw const argument) }).map(drop)
}
