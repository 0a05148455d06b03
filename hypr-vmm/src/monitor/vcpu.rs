//! One virtual processor and its thread.

use std::sync::{Arc, Mutex, PoisonError, mpsc::Sender};

use kvm_ioctls::{VcpuExit, VcpuFd};
use vmm_sys_util::eventfd::EventFd;

use super::{
    arch::layout,
    devices::{legacy::Ports, mmio::MmioDevice},
    exits::{Counters, Kind},
    memory::Memory,
};
use crate::End;

/// What processors reach by ports and registers.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) ports: Mutex<Ports>,
    /// One page of registers each, from [`layout::MMIO`] on.
    pub(crate) devices: Vec<Arc<MmioDevice>>,
    /// What wakes the worker of each device's queues.
    pub(crate) notifications: Vec<Vec<Arc<EventFd>>>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) counters: Arc<Counters>,
}

/// The register that a driver writes a queue's number to; KVM answers it by itself, but for numbers of no queue.
const QUEUE_NOTIFY: u64 = 0x50;

impl Bus {
    /// The device whose registers `address` is in, and the offset.
    fn device(&self, address: u64) -> Option<(usize, u64)> {
        let offset = address.checked_sub(layout::MMIO)?;
        let number = usize::try_from(offset / layout::MMIO_STRIDE).ok()?;
        (number < self.devices.len()).then_some((number, offset % layout::MMIO_STRIDE))
    }

    fn read(&self, address: u64, bytes: &mut [u8]) {
        match self.device(address) {
            Some((number, offset)) => self.devices[number].read(offset, bytes),
            None => bytes.fill(0xff),
        }
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        let Some((number, offset)) = self.device(address) else { return };
        if offset == QUEUE_NOTIFY {
            let queue = bytes.first().map(|number| usize::from(*number));
            if let Some(notification) = queue.and_then(|queue| self.notifications[number].get(queue)) {
                let _ = notification.write(1);
            }
            return;
        }
        self.devices[number].write(offset, bytes, &self.memory);
    }

    fn ports(&self) -> std::sync::MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `vcpu` until the machine ends, and says how to `ends`.
pub(crate) fn run(vcpu: &mut VcpuFd, bus: &Bus, ends: &Sender<End>, wake: &EventFd) {
    let end = until_end(vcpu, bus);
    bus.ports().flush();
    if ends.send(end).is_ok() {
        let _ = wake.write(1);
    }
}

fn until_end(vcpu: &mut VcpuFd, bus: &Bus) -> End {
    loop {
        let kind = match vcpu.run() {
            Ok(VcpuExit::IoIn(port, bytes)) => {
                bus.ports().read(port, bytes);
                Kind::PortRead
            }
            Ok(VcpuExit::IoOut(port, bytes)) => {
                if bus.ports().write(port, bytes) {
                    return End::Reset;
                }
                Kind::PortWrite
            }
            Ok(VcpuExit::MmioRead(address, bytes)) => {
                bus.read(address, bytes);
                Kind::RegisterRead
            }
            Ok(VcpuExit::MmioWrite(address, bytes)) => {
                bus.write(address, bytes);
                Kind::RegisterWrite
            }
            Ok(VcpuExit::Shutdown) => return End::TripleFault,
            Ok(VcpuExit::SystemEvent(..) | VcpuExit::Hlt) => return End::Reset,
            Ok(VcpuExit::InternalError) => return End::Unemulated,
            Ok(VcpuExit::FailEntry(reason, _)) => return End::Refused(format!("entry failure {reason:#x}")),
            Ok(VcpuExit::Intr) => Kind::Other,
            Ok(other) => return End::Refused(format!("an exit that no machine of this kind has: {other:?}")),
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => Kind::Other,
            Err(error) => return End::Refused(format!("{error}")),
        };
        bus.counters.count(kind);
    }
}
