//! Descriptors that arrive with the bytes of a Unix socket.

use std::{
    ffi::{c_int, c_void},
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use super::check_len;
const SOL_SOCKET: c_int = 1;
const SCM_RIGHTS: c_int = 1;
const MSG_CTRUNC: c_int = 8;
const MSG_CMSG_CLOEXEC: c_int = 0x4000_0000;
const CONTROL_HEADER: usize = 16;
/// The kernel's limit of descriptors in one message, rounded up to whole words.
const MAX_DESCRIPTORS: usize = 254;

#[repr(C)]
struct Buffer {
    start: *mut c_void,
    length: usize,
}

/// `struct msghdr` as the kernel has it on 64-bit little-endian machines; every libc's is laid out alike there.
#[repr(C)]
struct Message {
    name: *mut c_void,
    name_length: u32,
    buffers: *mut Buffer,
    buffer_count: usize,
    control: *mut c_void,
    control_length: usize,
    flags: c_int,
}

unsafe extern "C" {
    fn recvmsg(socket: c_int, message: *mut Message, flags: c_int) -> isize;
}

/// Reads into `bytes` from `socket` and appends the descriptors that came along. 0 is the end of the stream.
pub(crate) fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
    // u64 for the alignment of the control header: length (8 bytes), level (4), type (4), then the descriptors.
    let mut control = [0u64; (CONTROL_HEADER + 4 * MAX_DESCRIPTORS) / 8];
    let mut buffer = Buffer { start: bytes.as_mut_ptr().cast(), length: bytes.len() };
    let mut message = Message {
        name: ptr::null_mut(),
        name_length: 0,
        buffers: &raw mut buffer,
        buffer_count: 1,
        control: control.as_mut_ptr().cast(),
        control_length: size_of_val(&control),
        flags: 0,
    };
    // SAFETY: `message` points at `bytes` and `control` with their true lengths; all outlive the call.
    let count = check_len(unsafe { recvmsg(socket.as_raw_fd(), &raw mut message, MSG_CMSG_CLOEXEC) })?;
    let filled = message.control_length.min(size_of_val(&control));
    let control: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).take(filled).collect();
    collect(&control, descriptors);
    if message.flags & MSG_CTRUNC != 0 {
        return Err(io::Error::other("descriptors were lost on the way"));
    }
    Ok(count)
}

/// Takes the descriptors out of control messages that the kernel has just written.
fn collect(mut control: &[u8], descriptors: &mut Vec<OwnedFd>) {
    while let Some((header, _)) = control.split_first_chunk::<CONTROL_HEADER>() {
        let [length @ .., l0, l1, l2, l3, t0, t1, t2, t3] = *header;
        let length = usize::from_ne_bytes(length).clamp(CONTROL_HEADER, control.len());
        let rights =
            i32::from_ne_bytes([l0, l1, l2, l3]) == SOL_SOCKET && i32::from_ne_bytes([t0, t1, t2, t3]) == SCM_RIGHTS;
        if rights {
            for number in control[CONTROL_HEADER..length].as_chunks::<4>().0 {
                // SAFETY: the kernel has just installed this descriptor for us and nothing else knows of it.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(c_int::from_ne_bytes(*number)) });
            }
        }
        control = control.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
}
