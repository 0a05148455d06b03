//! Device nodes.

use std::{
    ffi::{CStr, c_char, c_int, c_uint},
    io,
};

use super::check;

const CHARACTER_DEVICE: c_uint = 0o020_000;

unsafe extern "C" {
    fn mknod(path: *const c_char, mode: c_uint, device: u64) -> c_int;
}

/// Makes the character device `major`:`minor`, both below 256, at `path`.
pub(crate) fn make(path: &CStr, major: u32, minor: u32) -> io::Result<()> {
    let device = u64::from(major) << 8 | u64::from(minor);
    // SAFETY: `path` is a terminated string that outlives the call.
    check(unsafe { mknod(path.as_ptr(), CHARACTER_DEVICE | 0o666, device) }).map(drop)
}
