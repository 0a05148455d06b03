//! Reading and writing between files and the guest's memory, without a copy in between.
//!
//! The guest may change its memory at any time, so no Rust reference to it ever exists: the kernel is given addresses.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::Broken;
use crate::monitor::memory::Memory;

/// The most buffers that one call moves; the kernel's own limit.
const MAX_BUFFERS: usize = 1024;

/// A part of the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Buffer {
    address: GuestAddress,
    length: usize,
}

/// The buffers of one request: those that the driver wrote, then those that the device writes.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) readable: Vec<Buffer>,
    pub(crate) writable: Vec<Buffer>,
}

impl Buffers {
    /// The buffers of `chain`, all of which are memory that there is.
    pub(crate) fn of(chain: DescriptorChain<&Memory>, memory: &Memory) -> Result<Self, Broken> {
        let mut buffers = Self::default();
        for descriptor in chain {
            let length = usize::try_from(descriptor.len()).map_err(|_| Broken)?;
            let buffer = Buffer { address: descriptor.addr(), length };
            if length == 0 {
                continue;
            }
            if !GuestMemoryBackend::check_range(memory, buffer.address, length) {
                return Err(Broken);
            }
            match descriptor.is_write_only() {
                true => buffers.writable.push(buffer),
                // What the device reads comes before what it writes (virtio 1.2, section 2.7.4.2).
                false if buffers.writable.is_empty() => buffers.readable.push(buffer),
                false => return Err(Broken),
            }
        }
        Ok(buffers)
    }
}

/// Bytes in all of `buffers`.
pub(crate) fn total(buffers: &[Buffer]) -> usize {
    buffers.iter().fold(0, |sum: usize, buffer| sum.saturating_add(buffer.length))
}

/// The first `most` bytes of `buffers`, or all when they have fewer.
pub(crate) fn front(buffers: &[Buffer], most: usize) -> Vec<Buffer> {
    let mut left = most;
    let bounded = buffers.iter().map(|buffer| {
        let length = buffer.length.min(left);
        left -= length;
        Buffer { length, ..*buffer }
    });
    bounded.take_while(|buffer| buffer.length > 0).collect()
}

/// Takes the first `count` bytes off `buffers`; `None` when they have fewer.
pub(crate) fn split_off_front(buffers: &mut Vec<Buffer>, mut count: usize) -> Option<Vec<Buffer>> {
    if total(buffers) < count {
        return None;
    }
    let mut front = Vec::new();
    let mut rest = Vec::with_capacity(buffers.len());
    for buffer in buffers.drain(..) {
        let taken = buffer.length.min(count);
        count -= taken;
        if taken > 0 {
            front.push(Buffer { length: taken, ..buffer });
        }
        if taken < buffer.length {
            let address = GuestAddress(buffer.address.0 + taken as u64);
            rest.push(Buffer { address, length: buffer.length - taken });
        }
    }
    *buffers = rest;
    Some(front)
}

/// Copies as much of `buffers` as `bytes` has room for.
pub(crate) fn copy_from(memory: &Memory, buffers: &[Buffer], mut bytes: &mut [u8]) -> Result<(), Broken> {
    for buffer in buffers {
        let (now, rest) = bytes.split_at_mut(buffer.length.min(bytes.len()));
        memory.read_slice(now, buffer.address).map_err(|_| Broken)?;
        bytes = rest;
    }
    Ok(())
}

/// Copies as much of `bytes` as `buffers` have room for; returns how much.
pub(crate) fn copy_to(memory: &Memory, buffers: &[Buffer], mut bytes: &[u8]) -> Result<usize, Broken> {
    let before = bytes.len();
    for buffer in buffers {
        let (now, rest) = bytes.split_at(buffer.length.min(bytes.len()));
        memory.write_slice(now, buffer.address).map_err(|_| Broken)?;
        bytes = rest;
    }
    Ok(before - bytes.len())
}

/// Fills `buffers` with zeros.
pub(crate) fn clear(memory: &Memory, buffers: &[Buffer]) -> Result<(), Broken> {
    const ZEROS: [u8; 4096] = [0; 4096];
    for buffer in buffers {
        let mut done = 0;
        while done < buffer.length {
            let count = (buffer.length - done).min(ZEROS.len());
            let address = GuestAddress(buffer.address.0 + done as u64);
            memory.write_slice(&ZEROS[..count], address).map_err(|_| Broken)?;
            done += count;
        }
    }
    Ok(())
}

/// Reads from `file` into `buffers` until they are full or the file ends; returns how much.
pub(crate) fn read_at(file: BorrowedFd<'_>, offset: u64, memory: &Memory, buffers: Vec<Buffer>) -> io::Result<usize> {
    move_all(memory, buffers, |vectors, done| {
        let offset = position(offset, done)?;
        let count = i32::try_from(vectors.len()).unwrap_or(i32::MAX);
        // SAFETY: each vector is a range of the guest's memory, which stays mapped; nothing in this process has a
        // reference to it.
        Ok(unsafe { libc::preadv(file.as_raw_fd(), vectors.as_ptr(), count, offset) })
    })
}

/// Writes all of `buffers` to `file`; returns how much was written.
pub(crate) fn write_at(file: BorrowedFd<'_>, offset: u64, memory: &Memory, buffers: Vec<Buffer>) -> io::Result<usize> {
    move_all(memory, buffers, |vectors, done| {
        let offset = position(offset, done)?;
        let count = i32::try_from(vectors.len()).unwrap_or(i32::MAX);
        // SAFETY: as above; the call does not write to them.
        Ok(unsafe { libc::pwritev(file.as_raw_fd(), vectors.as_ptr(), count, offset) })
    })
}

/// Reads from the stream `file` once.
pub(crate) fn read_some(file: BorrowedFd<'_>, memory: &Memory, buffers: &[Buffer]) -> io::Result<usize> {
    let vectors = vectors(memory, buffers)?;
    let count = i32::try_from(vectors.len()).unwrap_or(i32::MAX);
    // SAFETY: as in `read_at`.
    checked(unsafe { libc::readv(file.as_raw_fd(), vectors.as_ptr(), count) })
}

/// Writes to the stream `file` once.
pub(crate) fn write_some(file: BorrowedFd<'_>, memory: &Memory, buffers: &[Buffer]) -> io::Result<usize> {
    let vectors = vectors(memory, buffers)?;
    let count = i32::try_from(vectors.len()).unwrap_or(i32::MAX);
    // SAFETY: as in `write_at`.
    checked(unsafe { libc::writev(file.as_raw_fd(), vectors.as_ptr(), count) })
}

fn move_all(
    memory: &Memory,
    mut buffers: Vec<Buffer>,
    call: impl Fn(&[libc::iovec], usize) -> io::Result<isize>,
) -> io::Result<usize> {
    let mut done = 0;
    while !buffers.is_empty() {
        let vectors = vectors(memory, &buffers)?;
        let count = match call(&vectors, done).and_then(checked) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if count == 0 {
            break;
        }
        done += count;
        split_off_front(&mut buffers, count);
    }
    Ok(done)
}

/// The first of `buffers` as addresses of this process.
fn vectors(memory: &Memory, buffers: &[Buffer]) -> io::Result<Vec<libc::iovec>> {
    let mut vectors = Vec::with_capacity(buffers.len().min(MAX_BUFFERS));
    for buffer in buffers {
        for slice in memory.get_slices(buffer.address, buffer.length) {
            let slice = slice.map_err(io::Error::other)?;
            let iov_base = slice.ptr_guard_mut().as_ptr().cast();
            if vectors.len() == MAX_BUFFERS {
                return Ok(vectors);
            }
            vectors.push(libc::iovec { iov_base, iov_len: slice.len() });
        }
    }
    Ok(vectors)
}

fn position(offset: u64, done: usize) -> io::Result<i64> {
    i64::try_from(offset.saturating_add(done as u64)).map_err(io::Error::other)
}

fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
