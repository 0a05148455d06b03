//! Setting extended attributes.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::check;

unsafe extern "C" {
    fn fsetxattr(fd: c_int, name: *const c_char, value: *const c_void, size: usize, flags: c_int) -> c_int;
}

/// Sets the extended attribute `name` of an open file.
pub(crate) fn set(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: `name` is a terminated string; the kernel reads `value.len()` bytes of `value`.
    check(unsafe { fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) }).map(drop)
}
