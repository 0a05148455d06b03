//! Guests that do whatever comes to their minds, and guests that know what they do.

use std::{
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, OnceLock},
};

use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{Extents, VirtioDevice, block::Block, console::Console, mmio::MmioDevice};
use crate::{
    monitor::{exits::Counters, memory::Memory},
    wire::Extent,
};

/// Bytes of the guests' memory.
const MEMORY: u64 = 1 << 20;
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const DATA: u64 = 0x10000;

/// A generator of numbers that looks random and is the same every time (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number that is small, at an edge, or anything.
    fn interesting(&mut self) -> u64 {
        match self.below(6) {
            0 => self.below(8),
            1 => self.below(MEMORY),
            2 => MEMORY - self.below(16),
            3 => u64::MAX - self.below(16),
            4 => 1 << self.below(64),
            _ => self.next(),
        }
    }
}

fn memory() -> Memory {
    Memory::from_ranges(&[(GuestAddress(0), usize::try_from(MEMORY).unwrap())]).unwrap()
}

fn file(content: &[u8]) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.into()
}

fn disk(content: &[u8], is_writable: bool) -> Block {
    let capacity = content.len() as u64;
    let extent = Extent { start: 0, length: capacity, file: 0, offset: 0 };
    let extents = Extents::new(vec![extent], vec![file(content)], capacity).unwrap();
    let slot = Arc::new(OnceLock::from(extents));
    Block::new(capacity, is_writable, slot, Arc::new(Counters::default()))
}

fn console() -> (Console, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    ours.set_nonblocking(true).unwrap();
    (Console::new(theirs), ours)
}

fn attached(device: impl VirtioDevice + 'static) -> MmioDevice {
    MmioDevice::new(Box::new(device), EventFd::new(EFD_NONBLOCK).unwrap()).unwrap()
}

fn write(device: &MmioDevice, memory: &Memory, register: u64, value: u64) {
    device.write(register, &value.to_le_bytes()[..4], memory);
}

fn read(device: &MmioDevice, register: u64) -> u32 {
    let mut bytes = [0; 4];
    device.read(register, &mut bytes);
    u32::from_le_bytes(bytes)
}

/// What a driver does until the device is in use, with all queues at the same place or one behind the other.
fn bring_up(device: &MmioDevice, memory: &Memory, size: u64) {
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
fn describe(memory: &Memory, queue: u64, index: u64, (address, length, flags, next): (u64, u32, u16, u16)) {
    let at = DESCRIPTORS + queue * 0x4000 + index * 16;
    let bytes = [&address.to_le_bytes()[..], &length.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()].concat();
    memory.write_slice(&bytes, GuestAddress(at)).unwrap();
}

/// Makes the chain that begins at descriptor `head` available as number `count`.
fn offer(memory: &Memory, queue: u64, count: u16, head: u16) {
    let ring = AVAILABLE + queue * 0x4000;
    let place = ring + 4 + u64::from(count % 8) * 2;
    memory.write_obj(head, GuestAddress(place)).unwrap();
    memory.write_obj(count + 1, GuestAddress(ring + 2)).unwrap();
}

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// Has `device`, a disk, carry out one request; its status.
fn request(device: &MmioDevice, memory: &Memory, count: u16, kind: u32, sector: u64, length: u32) -> u8 {
    let header = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
    memory.write_slice(&header, GuestAddress(DATA)).unwrap();
    let for_device = if kind == 0 { WRITE } else { 0 };
    describe(memory, 0, 0, (DATA, 16, NEXT, 1));
    describe(memory, 0, 1, (DATA + 0x1000, length, NEXT | for_device, 2));
    describe(memory, 0, 2, (DATA + 0x100, 1, WRITE, 0));
    memory.write_obj(0xaa_u8, GuestAddress(DATA + 0x100)).unwrap();
    offer(memory, 0, count, 0);
    device.serve(memory);
    memory.read_obj(GuestAddress(DATA + 0x100)).unwrap()
}

#[test]
fn disks_are_read_and_written_and_end_where_they_end() {
    let content: Vec<u8> = (0..64 * 512_u32).map(|number| u8::try_from(number / 512).unwrap_or_default()).collect();
    let memory = memory();
    let device = attached(disk(&content, true));
    bring_up(&device, &memory, 8);
    assert_eq!((read(&device, 0x100), read(&device, 0x70)), (64, 0xf));
    let data = || {
        let mut bytes = [0; 1024];
        memory.read_slice(&mut bytes, GuestAddress(DATA + 0x1000)).unwrap();
        bytes
    };
    assert_eq!(request(&device, &memory, 0, 0, 5, 1024), 0);
    assert_eq!((data()[0], data()[512]), (5, 6));
    memory.write_slice(&[77; 512], GuestAddress(DATA + 0x1000)).unwrap();
    assert_eq!(request(&device, &memory, 1, 1, 5, 512), 0);
    assert_eq!(request(&device, &memory, 2, 0, 5, 1024), 0);
    assert_eq!((data()[0], data()[512]), (77, 6));
    assert_eq!(request(&device, &memory, 3, 0, 63, 1024), 1, "beyond the end");
    assert_eq!(request(&device, &memory, 4, 0, u64::MAX, 512), 1, "far beyond the end");
    assert_eq!(request(&device, &memory, 5, 0, 0, 100), 1, "part of a sector");
    assert_eq!(request(&device, &memory, 6, 99, 0, 512), 2, "of no known kind");
    let device = attached(disk(&content, false));
    memory.write_slice(&[0; 0x4000], GuestAddress(DESCRIPTORS)).unwrap();
    bring_up(&device, &memory, 8);
    assert_eq!(request(&device, &memory, 0, 1, 0, 512), 1, "not to be written");
}

#[test]
fn extents_are_shown_where_they_are_and_zeros_elsewhere() {
    let extent = |start, length, file, offset| Extent { start, length, file, offset };
    let files = || vec![file(&[1; 4096]), file(&[2; 1000])];
    let extents = vec![extent(4096, 4096, 1, 0), extent(1024, 512, 0, 512)];
    let extents = Extents::new(extents, files(), 1 << 40).unwrap();
    let memory = memory();
    let block = Block::new(1 << 40, false, Arc::new(OnceLock::from(extents)), Arc::default());
    let device = attached(block);
    bring_up(&device, &memory, 8);
    memory.write_slice(&[9; 0x3000], GuestAddress(DATA + 0x1000)).unwrap();
    assert_eq!(request(&device, &memory, 0, 0, 0, 0x3000), 0);
    let mut bytes = vec![0; 0x3000];
    memory.read_slice(&mut bytes, GuestAddress(DATA + 0x1000)).unwrap();
    let expected = |at: usize| match at {
        1024..1536 => 1,
        4096..5096 => 2,
        _ => 0,
    };
    assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == expected(at)));
    for refused in [
        vec![extent(0, 4096, 0, 0), extent(4095, 1, 1, 0)],
        vec![extent(u64::MAX, 2, 0, 0)],
        vec![extent(0, 1, 0, u64::MAX)],
        vec![extent(1 << 40, 1, 0, 0)],
        vec![extent(0, 1, 2, 0)],
        vec![extent(0, 0, 0, 0)],
    ] {
        assert!(Extents::new(refused, files(), 1 << 40).is_err());
    }
}

#[test]
fn broken_queues_need_a_reset_and_are_well_after_it() {
    let content = vec![3; 4096];
    let memory = memory();
    let device = attached(disk(&content, true));
    let breaks: [fn(&Memory); 6] = [
        // A chain that goes round in circles.
        |memory| describe(memory, 0, 0, (DATA, 16, NEXT, 0)),
        // A buffer outside of the memory.
        |memory| describe(memory, 0, 0, (MEMORY - 8, 16, 0, 0)),
        // A buffer that wraps around.
        |memory| describe(memory, 0, 0, (u64::MAX - 8, 16, 0, 0)),
        // No room for a status.
        |memory| describe(memory, 0, 0, (DATA, 16, 0, 0)),
        // A header that is too short.
        |memory| describe(memory, 0, 0, (DATA, 15, 0, 0)),
        // What the device writes before what it reads.
        |memory| {
            describe(memory, 0, 0, (DATA, 16, NEXT | WRITE, 1));
            describe(memory, 0, 1, (DATA, 16, 0, 0));
        },
    ];
    for (number, damage) in breaks.into_iter().enumerate() {
        memory.write_slice(&[0; 0x4000], GuestAddress(DESCRIPTORS)).unwrap();
        bring_up(&device, &memory, 8);
        damage(&memory);
        offer(&memory, 0, 0, 0);
        device.serve(&memory);
        assert_eq!(read(&device, 0x70) & 0x40, 0x40, "{number}");
        memory.write_slice(&[0; 0x4000], GuestAddress(DESCRIPTORS)).unwrap();
        bring_up(&device, &memory, 8);
        assert_eq!(request(&device, &memory, 0, 0, 0, 512), 0, "{number}");
    }
    // More chains than the queue has places.
    bring_up(&device, &memory, 8);
    memory.write_obj(5000_u16, GuestAddress(AVAILABLE + 2)).unwrap();
    device.serve(&memory);
    assert_eq!(read(&device, 0x70) & 0x40, 0x40);
}

#[test]
fn a_port_opens_and_carries_bytes_both_ways() {
    let (device, mut host) = console();
    let memory = memory();
    let device = attached(device);
    bring_up(&device, &memory, 8);
    let control = |event: u16, count: u16| {
        let message = [&[0; 4][..], &event.to_le_bytes(), &1_u16.to_le_bytes()].concat();
        memory.write_slice(&message, GuestAddress(DATA)).unwrap();
        describe(&memory, 3, 0, (DATA, 8, 0, 0));
        offer(&memory, 3, count, 0);
    };
    for answer in 0..2 {
        describe(&memory, 2, answer, (DATA + 0x100 + answer * 8, 8, WRITE, 0));
        offer(&memory, 2, u16::try_from(answer).unwrap(), u16::try_from(answer).unwrap());
    }
    // The device is ready; the port is; the port is open.
    for (count, event) in [0, 3, 6].into_iter().enumerate() {
        control(event, u16::try_from(count).unwrap());
        device.serve(&memory);
    }
    let events: [u16; 8] = memory.read_obj(GuestAddress(DATA + 0x100)).unwrap();
    assert_eq!((events[2], events[6]), (1, 6), "a port is added, and opened");
    memory.write_slice(b"to the host", GuestAddress(DATA + 0x200)).unwrap();
    describe(&memory, 1, 0, (DATA + 0x200, 11, 0, 0));
    offer(&memory, 1, 0, 0);
    device.serve(&memory);
    let mut heard = [0; 11];
    host.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"to the host");
    assert_eq!(read(&device, 0x70), 0xf);
    describe(&memory, 0, 0, (DATA + 0x300, 64, WRITE, 0));
    offer(&memory, 0, 0, 0);
    assert!(device.serve(&memory).wants_bytes);
    host.write_all(b"to the guest").unwrap();
    device.serve(&memory);
    let heard: [u8; 12] = memory.read_obj(GuestAddress(DATA + 0x300)).unwrap();
    assert_eq!(&heard, b"to the guest");
}

#[test]
fn a_port_waits_for_a_host_that_does_not_read_and_loses_nothing() {
    let (device, mut host) = console();
    let memory = memory();
    let device = attached(device);
    bring_up(&device, &memory, 8);
    let mut sent = 0_u32;
    for count in 0..2000_u16 {
        let content: Vec<u8> = (0..16384)
            .map(|_| {
                sent += 1;
                (sent % 251) as u8
            })
            .collect();
        memory.write_slice(&content, GuestAddress(DATA)).unwrap();
        describe(&memory, 1, 0, (DATA, 16384, 0, 0));
        offer(&memory, 1, count, 0);
        if device.serve(&memory).wants_room {
            break;
        }
    }
    assert!(sent < 2000 * 16384, "the socket takes everything");
    let mut received = 0_u32;
    let mut buffer = [0; 5000];
    while received < sent {
        device.serve(&memory);
        let count = host.read(&mut buffer).unwrap();
        for byte in &buffer[..count] {
            received += 1;
            assert_eq!(u32::from(*byte), received % 251);
        }
    }
    assert!(!device.serve(&memory).wants_room);
}

#[test]
fn a_million_steps_of_a_guest_without_reason_do_no_harm() {
    let content = vec![7; 1 << 16];
    let (console, mut host) = console();
    let devices = [attached(disk(&content, false)), attached(disk(&content, true)), attached(console)];
    let memory = memory();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut ignored = [0; 4096];
    for step in 0..1_000_000_u32 {
        let device = &devices[usize::try_from(random.below(3)).unwrap()];
        match random.below(16) {
            0..5 => {
                let register = random.below(0x48) * 4;
                let value = random.interesting();
                write(device, &memory, register, value);
            }
            5 => {
                let width = usize::try_from(random.below(9)).unwrap();
                let value = random.interesting().to_le_bytes();
                device.write(random.below(0x1000), &value[..width], &memory);
            }
            6 => {
                let width = usize::try_from(random.below(9)).unwrap();
                device.read(random.interesting(), &mut [0; 8][..width]);
            }
            7 => bring_up(device, &memory, 1 << random.below(9)),
            8..11 => {
                let queue = random.below(4);
                let index = random.below(8);
                let length = u32::try_from(random.interesting() & 0xffff_ffff).unwrap();
                let flags = u16::try_from(random.below(8)).unwrap();
                let next = u16::try_from(random.below(12)).unwrap();
                let address = random.interesting();
                describe(&memory, queue, index, (address, length, flags, next));
            }
            11 => {
                let count = u16::try_from(random.below(65535)).unwrap();
                offer(&memory, random.below(4), count, u16::try_from(random.below(300)).unwrap());
            }
            12 => {
                let at = random.below(MEMORY - 8);
                memory.write_obj(random.interesting(), GuestAddress(at)).unwrap();
            }
            13 => {
                let _ = host.write(&ignored[..usize::try_from(random.below(600)).unwrap()]);
                while matches!(host.read(&mut ignored), Ok(count) if count > 0) {}
            }
            _ => {
                device.serve(&memory);
            }
        }
        if step % 1000 == 0 {
            // Whatever it did, a driver that resets the device has a working one.
            bring_up(device, &memory, 8);
            assert_eq!(read(device, 0x70) & 0xf, 0xf, "step {step}");
        }
    }
}

#[test]
fn what_was_written_before_a_port_was_closed_still_arrives() {
    let (device, mut host) = console();
    let memory = memory();
    let device = attached(device);
    bring_up(&device, &memory, 8);
    let control = |count: u16, value: u16| {
        let message = [&[0; 4][..], &6_u16.to_le_bytes(), &value.to_le_bytes()].concat();
        memory.write_slice(&message, GuestAddress(DATA)).unwrap();
        describe(&memory, 3, 0, (DATA, 8, 0, 0));
        offer(&memory, 3, count, 0);
    };
    control(0, 1);
    device.serve(&memory);
    memory.write_slice(b"the last words", GuestAddress(DATA + 0x200)).unwrap();
    describe(&memory, 1, 0, (DATA + 0x200, 14, 0, 0));
    offer(&memory, 1, 0, 0);
    control(1, 0);
    device.serve(&memory);
    let mut heard = String::new();
    host.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "the last words");
}

#[test]
fn a_full_round_of_requests_leaves_an_honest_disk_in_order() {
    let memory = memory();
    let device = attached(disk(&[7; 512], false));
    bring_up(&device, &memory, 4);
    for count in 0..20 {
        assert_eq!(request(&device, &memory, count, 0, 0, 512), 0);
    }
    assert_eq!(read(&device, 0x70), 0xf);
}
