//! Modules of the kernel.

use std::{
    ffi::{c_int, c_long},
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::check_long;

#[cfg(target_arch = "x86_64")]
const FINIT_MODULE: c_long = 313;
#[cfg(not(target_arch = "x86_64"))]
const FINIT_MODULE: c_long = 273;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// Loads the module in `file`, without parameters.
pub(crate) fn load(file: BorrowedFd<'_>) -> io::Result<()> {
    const NO_FLAGS: c_int = 0;
    // SAFETY: the parameters are a terminated string; the kernel touches no memory of ours.
    check_long(unsafe { syscall(FINIT_MODULE, file.as_raw_fd(), c"".as_ptr(), NO_FLAGS) }).map(drop)
}
