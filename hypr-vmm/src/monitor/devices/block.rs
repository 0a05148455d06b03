//! A disk (virtio 1.2, section 5.2).

use std::sync::{Arc, OnceLock};

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_IN,
    VIRTIO_BLK_T_OUT,
};
use virtio_queue::{DescriptorChain, Queue, QueueT};

use super::{
    Broken, Extents, Served, Taken, VirtioDevice,
    guest_io::{self, Buffers},
    take,
};
use crate::monitor::{exits::Counters, memory::Memory};

/// Requests that may wait.
const QUEUE_SIZES: [u16; 1] = [256];
/// The most buffers that a request has: a whole queue less the header and the status.
const MAX_SEGMENTS: u32 = 254;
/// Bytes of a sector, which is what requests count in.
const SECTOR: u64 = 512;
/// Far more than a driver asks for at once; a bound on what one request may cost.
const MAX_REQUEST: usize = 64 << 20;

/// A disk made of parts of files.
#[derive(Debug)]
pub struct Block {
    capacity: u64,
    is_writable: bool,
    extents: Arc<OnceLock<Extents>>,
    config: Vec<u8>,
    counters: Arc<Counters>,
}

impl Block {
    /// A disk of `capacity` bytes, all of which are zero until `extents` are known.
    pub fn new(capacity: u64, is_writable: bool, extents: Arc<OnceLock<Extents>>, counters: Arc<Counters>) -> Self {
        // `capacity`, `size_max`, `seg_max`; the rest is for features that are not offered.
        let mut config = vec![0; 60];
        config[..8].copy_from_slice(&(capacity / SECTOR).to_le_bytes());
        config[12..16].copy_from_slice(&MAX_SEGMENTS.to_le_bytes());
        Self { capacity, is_writable, extents, config, counters }
    }

    /// Serves one request; returns how many bytes were written for the driver.
    fn request(&self, chain: DescriptorChain<&Memory>, memory: &Memory) -> Result<u32, Broken> {
        let mut buffers = Buffers::of(chain, memory)?;
        let mut header = [0; 16];
        let head = guest_io::split_off_front(&mut buffers.readable, header.len()).ok_or(Broken)?;
        guest_io::copy_from(memory, &head, &mut header)?;
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = header;
        let (kind, sector) = (u32::from_le_bytes([k0, k1, k2, k3]), u64::from_le_bytes(sector));
        // The status is the last byte that the device writes.
        let length = guest_io::total(&buffers.writable).checked_sub(1).ok_or(Broken)?;
        let data = guest_io::split_off_front(&mut buffers.writable, length).ok_or(Broken)?;
        let status_at = buffers.writable;

        let (status, written) = match kind {
            VIRTIO_BLK_T_IN => match self.place(sector, length) {
                Some(start) => match self.extents().read(start, memory, data) {
                    Ok(()) => (VIRTIO_BLK_S_OK, length),
                    Err(_) => self.failed(),
                },
                None => (VIRTIO_BLK_S_IOERR, 0),
            },
            VIRTIO_BLK_T_OUT if self.is_writable => {
                let length = guest_io::total(&buffers.readable);
                match self.place(sector, length) {
                    Some(start) => match self.extents().write(start, memory, buffers.readable) {
                        Ok(()) => {
                            self.counters.count_written(length as u64);
                            (VIRTIO_BLK_S_OK, 0)
                        }
                        Err(_) => self.failed(),
                    },
                    None => (VIRTIO_BLK_S_IOERR, 0),
                }
            }
            VIRTIO_BLK_T_OUT => (VIRTIO_BLK_S_IOERR, 0),
            _ => (VIRTIO_BLK_S_UNSUPP, 0),
        };
        guest_io::copy_to(memory, &status_at, &[u8::try_from(status).unwrap_or(u8::MAX)])?;
        u32::try_from(written + 1).map_err(|_| Broken)
    }

    fn extents(&self) -> &Extents {
        static NONE: Extents = Extents::none();
        self.extents.get().unwrap_or(&NONE)
    }

    fn failed(&self) -> (u32, usize) {
        self.counters.count_disk_error();
        (VIRTIO_BLK_S_IOERR, 0)
    }

    /// Where `length` bytes from `sector` begin, if they are on the disk and whole sectors.
    fn place(&self, sector: u64, length: usize) -> Option<u64> {
        let start = sector.checked_mul(SECTOR)?;
        let end = start.checked_add(u64::try_from(length).ok()?)?;
        (end <= self.capacity && length <= MAX_REQUEST && (length as u64).is_multiple_of(SECTOR)).then_some(start)
    }
}

impl VirtioDevice for Block {
    fn id(&self) -> u32 {
        virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_BLK_F_SEG_MAX | u64::from(!self.is_writable) << VIRTIO_BLK_F_RO
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUE_SIZES
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn serve(&mut self, queues: &mut [Queue], memory: &Memory) -> Result<Served, Broken> {
        let queue = queues.first_mut().filter(|queue| queue.ready()).ok_or(Broken)?;
        let mut budget = queue.size();
        queue.disable_notification(memory)?;
        let more = loop {
            match take(queue, memory, &mut budget)? {
                Taken::Chain(chain) => {
                    let head = chain.head_index();
                    let written = self.request(chain, memory)?;
                    queue.add_used(memory, head, written)?;
                }
                Taken::Nothing => break false,
                Taken::Enough => break true,
            }
        };
        Ok(Served { notify: queue.needs_notification(memory)?, more, ..Served::default() })
    }

    fn reset(&mut self) {}
}
