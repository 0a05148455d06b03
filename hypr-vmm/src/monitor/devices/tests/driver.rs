//! A driver that knows what it does, and devices for it.

use std::{
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, OnceLock},
};

use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{Block, Console, Counters, Extents, Memory, MmioDevice, VirtioDevice};

/// Bytes of the guests' memory.
pub const MEMORY: u64 = 1 << 20;
pub const DESCRIPTORS: u64 = 0x1000;
pub const AVAILABLE: u64 = 0x2000;
pub const USED: u64 = 0x3000;
pub const DATA: u64 = 0x10000;

pub fn memory() -> Memory {
    Memory::from_ranges(&[(GuestAddress(0), usize::try_from(MEMORY).unwrap())]).unwrap()
}

pub fn file(content: &[u8]) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.into()
}

pub fn disk(content: &[u8], is_writable: bool) -> Block {
    let capacity = content.len() as u64;
    let slot = Arc::new(OnceLock::from(Extents::of_file(file(content), capacity)));
    Block::new(capacity, is_writable, slot, Arc::new(Counters::default()))
}

pub fn console() -> (Console, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    ours.set_nonblocking(true).unwrap();
    (Console::new(theirs), ours)
}

pub fn attached(device: impl VirtioDevice + 'static) -> MmioDevice {
    MmioDevice::new(Box::new(device), EventFd::new(EFD_NONBLOCK).unwrap()).unwrap()
}

pub fn write(device: &MmioDevice, memory: &Memory, register: u64, value: u64) {
    device.write(register, &value.to_le_bytes()[..4], memory);
}

pub fn read(device: &MmioDevice, register: u64) -> u32 {
    let mut bytes = [0; 4];
    device.read(register, &mut bytes);
    u32::from_le_bytes(bytes)
}

/// What a driver does until the device is in use, with all queues at the same place or one behind the other.
pub fn bring_up(device: &MmioDevice, memory: &Memory, size: u64) {
    write(device, memory, 0x70, 0);
    for status in [1, 3] {
        write(device, memory, 0x70, status);
    }
    for page in [0, 1] {
        write(device, memory, 0x14, page);
        write(device, memory, 0x24, page);
        let offered = read(device, 0x10);
        write(device, memory, 0x20, offered.into());
    }
    write(device, memory, 0x70, 0xb);
    for queue in 0..device.queue_count() as u64 {
        write(device, memory, 0x30, queue);
        write(device, memory, 0x38, size);
        for (register, address) in [(0x80, DESCRIPTORS), (0x90, AVAILABLE), (0xa0, USED)] {
            write(device, memory, register, address + queue * 0x4000);
            write(device, memory, register + 4, 0);
        }
        write(device, memory, 0x44, 1);
    }
    write(device, memory, 0x70, 0xf);
}

/// A descriptor of queue `queue`.
pub fn describe(memory: &Memory, queue: u64, index: u64, (address, length, flags, next): (u64, u32, u16, u16)) {
    let at = DESCRIPTORS + queue * 0x4000 + index * 16;
    let bytes = [&address.to_le_bytes()[..], &length.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()].concat();
    memory.write_slice(&bytes, GuestAddress(at)).unwrap();
}

/// Makes the chain that begins at descriptor `head` available as number `count`.
pub fn offer(memory: &Memory, queue: u64, count: u16, head: u16) {
    let ring = AVAILABLE + queue * 0x4000;
    let place = ring + 4 + u64::from(count % 8) * 2;
    memory.write_obj(head, GuestAddress(place)).unwrap();
    memory.write_obj(count + 1, GuestAddress(ring + 2)).unwrap();
}
