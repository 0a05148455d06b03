//! A guest that does whatever comes to its mind.

use std::io::{Read, Write};

use vm_memory::{Bytes, GuestAddress};

use super::driver::{MEMORY, attached, bring_up, console, describe, disk, memory, offer, read, write};

/// Where a guest's whims come from.
pub struct Whims<'a>(pub &'a mut dyn FnMut() -> Option<u64>);

impl Whims<'_> {
    fn next(&mut self) -> u64 {
        self.0().unwrap_or_default()
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

/// Has a guest with three devices take steps until it has no whims any more. From time to time it comes to its senses, and
/// has to find the device working.
pub fn walk(mut whims: Whims<'_>) {
    let content = vec![7; 1 << 16];
    let (console, mut host) = console();
    let devices = [attached(disk(&content, false)), attached(disk(&content, true)), attached(console)];
    let memory = memory();
    let mut ignored = [0; 4096];
    for step in 0_u32.. {
        let Some(action) = whims.0() else { break };
        let device = &devices[usize::try_from(whims.below(3)).unwrap()];
        match action % 16 {
            0..5 => {
                let register = whims.below(0x48) * 4;
                let value = whims.interesting();
                write(device, &memory, register, value);
            }
            5 => {
                let width = usize::try_from(whims.below(9)).unwrap();
                let value = whims.interesting().to_le_bytes();
                device.write(whims.below(0x1000), &value[..width], &memory);
            }
            6 => {
                let width = usize::try_from(whims.below(9)).unwrap();
                device.read(whims.interesting(), &mut [0; 8][..width]);
            }
            7 => bring_up(device, &memory, 1 << whims.below(9)),
            8..11 => {
                let queue = whims.below(4);
                let index = whims.below(8);
                let length = u32::try_from(whims.interesting() & 0xffff_ffff).unwrap();
                let flags = u16::try_from(whims.below(8)).unwrap();
                let next = u16::try_from(whims.below(12)).unwrap();
                let address = whims.interesting();
                describe(&memory, queue, index, (address, length, flags, next));
            }
            11 => {
                let count = u16::try_from(whims.below(65535)).unwrap();
                offer(&memory, whims.below(4), count, u16::try_from(whims.below(300)).unwrap());
            }
            12 => {
                let at = whims.below(MEMORY - 8);
                memory.write_obj(whims.interesting(), GuestAddress(at)).unwrap();
            }
            13 => {
                let _ = host.write(&ignored[..usize::try_from(whims.below(600)).unwrap()]);
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
