//! What the target does with its bytes, so that it is checked without a fuzzer too.

use hypr_vmm::monitor::{
    devices::{Extents, VirtioDevice, block::Block, console::Console, mmio::MmioDevice},
    exits::Counters,
    memory::Memory,
};

#[path = "../src/monitor/devices/tests/driver.rs"]
#[allow(dead_code, reason = "shared with the unit tests, which use all of it")]
mod driver;
#[path = "../src/monitor/devices/tests/walk.rs"]
mod walk;

/// Has a guest do what `bytes` say, eight of them for each of its whims.
pub fn devices(bytes: &[u8]) {
    let mut whims = bytes.chunks(8).map(|chunk| {
        let mut number = [0; 8];
        number[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(number)
    });
    walk::walk(walk::Whims(&mut || whims.next()));
}

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_are_well() {
        super::devices(b"");
        for seed in 0..200_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let bytes: Vec<u8> = (0..4000)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state.to_le_bytes()[3]
                })
                .collect();
            super::devices(&bytes);
        }
    }
}
