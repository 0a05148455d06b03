//! Guests that do whatever comes to their minds, and guests that know what they do.

mod driver;
mod walk;

use std::{
    io::{Read, Write},
    os::fd::OwnedFd,
    sync::{Arc, OnceLock},
};

use vm_memory::{Bytes, GuestAddress};

use self::driver::{
    AVAILABLE, DATA, DESCRIPTORS, MEMORY, USED, attached, bring_up, console, describe, disk, file, memory, offer, read,
};
use super::{Extents, VirtioDevice, block::Block, console::Console, mmio::MmioDevice};
use crate::{
    monitor::{exits::Counters, memory::Memory},
    wire::Extent,
};

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
fn a_request_of_a_port_may_be_of_any_size_and_a_turn_is_not() {
    // What takes everything at once, as a host does that reads as fast as the port writes.
    let sink = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let device = attached(Console::new(OwnedFd::from(sink).into()));
    let memory = memory();
    bring_up(&device, &memory, 8);
    for index in 0..8 {
        let next = if index < 7 { NEXT } else { 0 };
        describe(&memory, 1, index, (DATA, 512 << 10, next, u16::try_from(index + 1).unwrap()));
    }
    offer(&memory, 1, 0, 0);
    let used = || memory.read_obj::<u16>(GuestAddress(USED + 0x4000 + 2)).unwrap();
    let mut turns = 1;
    while device.serve(&memory).more {
        assert_eq!(used(), 0, "after {turns} turns");
        turns += 1;
    }
    assert_eq!((used(), turns), (1, 4), "a mebibyte each");
}

#[test]
fn a_million_steps_of_a_guest_without_reason_do_no_harm() {
    // Xorshift64*: what looks random and is the same every time. A step takes some four numbers.
    let (mut state, mut left) = (0x9e37_79b9_7f4a_7c15_u64, 4_000_000_u32);
    let mut next = || {
        left = left.checked_sub(1)?;
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        Some(state.wrapping_mul(0x2545_f491_4f6c_dd1d))
    };
    walk::walk(walk::Whims(&mut next));
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
