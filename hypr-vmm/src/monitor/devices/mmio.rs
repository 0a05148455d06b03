//! The transport of virtio devices: registers in memory (virtio 1.2, section 4.2).
//!
//! The driver's requests arrive by eventfd and are served by a thread of the monitor, with the device locked. The two
//! registers that an interrupt handler needs are outside of the lock.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use virtio_bindings::{
    virtio_config::{
        VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED,
        VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_VERSION_1,
    },
    virtio_mmio::{
        VIRTIO_MMIO_CONFIG, VIRTIO_MMIO_CONFIG_GENERATION, VIRTIO_MMIO_DEVICE_FEATURES,
        VIRTIO_MMIO_DEVICE_FEATURES_SEL, VIRTIO_MMIO_DEVICE_ID, VIRTIO_MMIO_DRIVER_FEATURES,
        VIRTIO_MMIO_DRIVER_FEATURES_SEL, VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING, VIRTIO_MMIO_INTERRUPT_ACK,
        VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_MAGIC_VALUE, VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
        VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_DESC_HIGH, VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_NUM,
        VIRTIO_MMIO_QUEUE_NUM_MAX, VIRTIO_MMIO_QUEUE_READY, VIRTIO_MMIO_QUEUE_SEL, VIRTIO_MMIO_QUEUE_USED_HIGH,
        VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_SHM_LEN_HIGH, VIRTIO_MMIO_SHM_LEN_LOW, VIRTIO_MMIO_STATUS,
        VIRTIO_MMIO_VENDOR_ID, VIRTIO_MMIO_VERSION,
    },
    virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC},
};
use virtio_queue::{Queue, QueueT};
use vmm_sys_util::eventfd::EventFd;

use super::{Broken, Served, VirtioDevice};
use crate::monitor::{failure::Context, failure::Failure, memory::Memory};

/// "virt", little-endian.
const MAGIC: u32 = 0x7472_6976;
/// The version of the registers that virtio 1.x has.
const VERSION: u32 = 2;
/// "hypr", little-endian.
const VENDOR: u32 = 0x7270_7968;

/// How a device tells its driver that something happened.
#[derive(Debug)]
pub struct Interrupt {
    status: AtomicU32,
    line: EventFd,
}

impl Interrupt {
    /// An interrupt that is raised by writing to `line`.
    pub fn new(line: EventFd) -> Self {
        Self { status: AtomicU32::new(0), line }
    }

    fn raise(&self, cause: u32) {
        self.status.fetch_or(cause, Ordering::SeqCst);
        // The counter cannot overflow: KVM takes it down whenever it is up.
        let _ = self.line.write(1);
    }
}

/// A device with its transport.
pub struct MmioDevice {
    interrupt: Interrupt,
    state: Mutex<State>,
    /// Unlike the rest, what never changes.
    queue_count: usize,
}

impl std::fmt::Debug for MmioDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MmioDevice").field("queue_count", &self.queue_count).finish_non_exhaustive()
    }
}

struct State {
    device: Box<dyn VirtioDevice>,
    queues: Vec<Queue>,
    status: u32,
    driver_features: u64,
    device_features_page: u32,
    driver_features_page: u32,
    selected: usize,
}

impl MmioDevice {
    /// Gives `device` its registers.
    pub fn new(device: Box<dyn VirtioDevice>, line: EventFd) -> Result<Self, Failure> {
        let queues = device.queue_sizes().iter().map(|size| Queue::new(*size));
        let queues = queues.collect::<Result<Vec<_>, _>>().context("make a queue")?;
        let queue_count = queues.len();
        let state = State {
            device,
            queues,
            status: 0,
            driver_features: 0,
            device_features_page: 0,
            driver_features_page: 0,
            selected: 0,
        };
        Ok(Self { interrupt: Interrupt::new(line), state: Mutex::new(state), queue_count })
    }

    /// How many queues there are, and so how many ways to be notified.
    pub fn queue_count(&self) -> usize {
        self.queue_count
    }

    /// Serves what is available, and tells the driver.
    pub fn serve(&self, memory: &Memory) -> Served {
        let mut state = self.lock();
        if !state.is_active() {
            return Served::default();
        }
        let State { device, queues, .. } = &mut *state;
        match device.serve(queues, memory) {
            Ok(served) => {
                if served.notify {
                    self.interrupt.raise(VIRTIO_MMIO_INT_VRING);
                }
                served
            }
            Err(Broken) => {
                state.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
                self.interrupt.raise(VIRTIO_MMIO_INT_CONFIG);
                Served::default()
            }
        }
    }

    /// The guest reads `bytes` at `offset` of the registers.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        bytes.fill(0);
        let Ok(offset) = u32::try_from(offset) else { return };
        if offset == VIRTIO_MMIO_INTERRUPT_STATUS {
            return copy(&self.interrupt.status.load(Ordering::SeqCst).to_le_bytes(), bytes);
        }
        let state = self.lock();
        match offset.checked_sub(VIRTIO_MMIO_CONFIG) {
            Some(start) => {
                let start = usize::try_from(start).unwrap_or(usize::MAX);
                let config = state.device.config().get(start..).unwrap_or_default();
                let count = config.len().min(bytes.len());
                bytes[..count].copy_from_slice(&config[..count]);
            }
            // Registers are read as 32 bits each; anything else reads as nothing.
            None if bytes.len() == 4 => copy(&state.register(offset).to_le_bytes(), bytes),
            None => {}
        }
    }

    /// The guest writes `bytes` at `offset` of the registers. Configuration spaces cannot be written.
    pub fn write(&self, offset: u64, bytes: &[u8], memory: &Memory) {
        let (Ok(offset), Ok(value)) = (u32::try_from(offset), <[u8; 4]>::try_from(bytes)) else { return };
        let value = u32::from_le_bytes(value);
        match offset {
            VIRTIO_MMIO_INTERRUPT_ACK => {
                self.interrupt.status.fetch_and(!value, Ordering::SeqCst);
            }
            VIRTIO_MMIO_STATUS => {
                let mut state = self.lock();
                state.set_status(value, memory);
                if value == 0 {
                    self.interrupt.status.store(0, Ordering::SeqCst);
                }
            }
            _ => self.lock().set_register(offset, value),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has(&self, bits: u32) -> bool {
        self.status & bits == bits
    }

    fn is_active(&self) -> bool {
        self.has(VIRTIO_CONFIG_S_DRIVER_OK) && !self.has(VIRTIO_CONFIG_S_NEEDS_RESET)
    }

    fn features(&self) -> u64 {
        let transport = [VIRTIO_F_VERSION_1, VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC];
        self.device.features() | transport.iter().fold(0, |bits, bit| bits | 1 << bit)
    }

    fn register(&self, offset: u32) -> u32 {
        match offset {
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => self.device.id(),
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_DEVICE_FEATURES => half(self.features(), self.device_features_page),
            VIRTIO_MMIO_QUEUE_NUM_MAX => self.queues.get(self.selected).map_or(0, |queue| queue.max_size().into()),
            VIRTIO_MMIO_QUEUE_READY => self.queues.get(self.selected).is_some_and(Queue::ready).into(),
            VIRTIO_MMIO_STATUS => self.status,
            // There is no shared memory: its length reads as -1.
            VIRTIO_MMIO_SHM_LEN_LOW | VIRTIO_MMIO_SHM_LEN_HIGH => u32::MAX,
            VIRTIO_MMIO_CONFIG_GENERATION => 0,
            _ => 0,
        }
    }

    fn set_register(&mut self, offset: u32, value: u32) {
        match offset {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.device_features_page = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.driver_features_page = value,
            VIRTIO_MMIO_QUEUE_SEL => self.selected = usize::try_from(value).unwrap_or(usize::MAX),
            VIRTIO_MMIO_DRIVER_FEATURES
                if self.has(VIRTIO_CONFIG_S_DRIVER) && !self.has(VIRTIO_CONFIG_S_FEATURES_OK) =>
            {
                self.driver_features = with_half(self.driver_features, self.driver_features_page, value);
            }
            _ => self.set_queue_register(offset, value),
        }
    }

    /// Queues are set up after the features were agreed on and before the device is used.
    fn set_queue_register(&mut self, offset: u32, value: u32) {
        if !self.has(VIRTIO_CONFIG_S_FEATURES_OK) || self.has(VIRTIO_CONFIG_S_DRIVER_OK) {
            return;
        }
        let Some(queue) = self.queues.get_mut(self.selected) else { return };
        match offset {
            VIRTIO_MMIO_QUEUE_READY => queue.set_ready(value == 1),
            _ if queue.ready() => {}
            VIRTIO_MMIO_QUEUE_NUM => queue.set_size(u16::try_from(value).unwrap_or(0)),
            VIRTIO_MMIO_QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => queue.set_avail_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => queue.set_avail_ring_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_USED_LOW => queue.set_used_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_USED_HIGH => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }

    /// Each state adds a bit to the one before it (virtio 1.2, section 3.1.1); zero resets.
    fn set_status(&mut self, value: u32, memory: &Memory) {
        if value == 0 {
            return self.reset();
        }
        if value & VIRTIO_CONFIG_S_FAILED != 0 {
            self.status |= VIRTIO_CONFIG_S_FAILED;
            return;
        }
        const ORDER: [u32; 4] = [
            VIRTIO_CONFIG_S_ACKNOWLEDGE,
            VIRTIO_CONFIG_S_DRIVER,
            VIRTIO_CONFIG_S_FEATURES_OK,
            VIRTIO_CONFIG_S_DRIVER_OK,
        ];
        for (number, bit) in ORDER.into_iter().enumerate() {
            let before: u32 = ORDER[..number].iter().sum();
            if value & bit == 0 || self.has(bit) || !self.has(before) {
                continue;
            }
            match bit {
                VIRTIO_CONFIG_S_FEATURES_OK if !self.agrees() => return,
                VIRTIO_CONFIG_S_DRIVER_OK => self.activate(memory),
                _ => {}
            }
            self.status |= bit;
        }
    }

    fn agrees(&self) -> bool {
        self.driver_features & !self.features() == 0 && self.driver_features & 1 << VIRTIO_F_VERSION_1 != 0
    }

    fn activate(&mut self, memory: &Memory) {
        let event_idx = self.driver_features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        for queue in &mut self.queues {
            queue.set_event_idx(event_idx);
        }
        if self.queues.iter().any(|queue| queue.ready() && !queue.is_valid(memory)) {
            self.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        }
    }

    fn reset(&mut self) {
        self.queues.iter_mut().for_each(QueueT::reset);
        self.device.reset();
        (self.status, self.driver_features, self.selected) = (0, 0, 0);
        (self.device_features_page, self.driver_features_page) = (0, 0);
    }
}

fn half(value: u64, page: u32) -> u32 {
    let bytes = value.to_le_bytes();
    let half = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    match page {
        0 => u32::from_le_bytes(half(0)),
        1 => u32::from_le_bytes(half(4)),
        _ => 0,
    }
}

fn with_half(value: u64, page: u32, half: u32) -> u64 {
    match page {
        0 => value & !0xffff_ffff | u64::from(half),
        1 => value & 0xffff_ffff | u64::from(half) << 32,
        _ => value,
    }
}

fn copy(from: &[u8], to: &mut [u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
