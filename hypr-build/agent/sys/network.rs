//! The loopback interface.

use std::{
    ffi::{c_int, c_short, c_ulong},
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use super::check;

const AF_INET: c_int = 2;
const SOCK_DGRAM: c_int = 2;
const SOCK_CLOEXEC: c_int = 0o2_000_000;
const SIOCGIFFLAGS: c_ulong = 0x8913;
const SIOCSIFFLAGS: c_ulong = 0x8914;
const IFF_UP: c_short = 1;

/// The kernel's `struct ifreq` with the flags of its union.
#[repr(C)]
struct Interface {
    name: [u8; 16],
    flags: c_short,
    rest: [u8; 22],
}

unsafe extern "C" {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
}

/// Brings `lo` of this network namespace up.
pub(crate) fn raise_loopback() -> io::Result<()> {
    // SAFETY: the call touches no memory.
    let socket = check(unsafe { socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) })?;
    // SAFETY: the call has just made this descriptor and nothing else knows of it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let mut interface = Interface { name: [0; 16], flags: 0, rest: [0; 22] };
    interface.name[..2].copy_from_slice(b"lo");
    // SAFETY: `interface` is a whole `struct ifreq`, which the kernel reads and writes.
    check(unsafe { ioctl(socket.as_raw_fd(), SIOCGIFFLAGS, &raw mut interface) })?;
    interface.flags |= IFF_UP;
    // SAFETY: as above.
    check(unsafe { ioctl(socket.as_raw_fd(), SIOCSIFFLAGS, &raw mut interface) }).map(drop)
}
