//! The system calls that the standard library has no words for, each behind a safe function.
//!
//! The agent is built without crates, so the declarations are its own: functions of the C library that every Linux
//! libc has with the same signature, and numbered system calls where structures differ between libraries. All unsafe
//! code of the agent is below this module.

pub(crate) mod attribute;
pub(crate) mod block;
pub(crate) mod create;
pub(crate) mod device;
pub(crate) mod fs;
pub(crate) mod module;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod pipe;
pub(crate) mod process;
pub(crate) mod rights;

use std::{
    ffi::{c_int, c_long},
    io,
};

/// Turns the `-1` of a C function into the error in `errno`.
pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Turns the `-1` of a C function that returns a length into the error in `errno`.
pub(crate) fn check_len(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Turns the `-1` of `syscall` into the error in `errno`.
pub(crate) fn check_long(result: c_long) -> io::Result<c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
