//! Counting what a machine costs: the guest's exits to the monitor, by kind, and what it did to its disks.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of one machine.
#[derive(Debug, Default)]
pub struct Counters {
    port_reads: AtomicU64,
    port_writes: AtomicU64,
    register_reads: AtomicU64,
    register_writes: AtomicU64,
    others: AtomicU64,
    bytes_written: AtomicU64,
    disk_errors: AtomicU64,
}

/// A kind of exit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    PortRead,
    PortWrite,
    RegisterRead,
    RegisterWrite,
    Other,
}

impl Counters {
    /// Counts an exit.
    pub(crate) fn count(&self, kind: Kind) {
        let counter = match kind {
            Kind::PortRead => &self.port_reads,
            Kind::PortWrite => &self.port_writes,
            Kind::RegisterRead => &self.register_reads,
            Kind::RegisterWrite => &self.register_writes,
            Kind::Other => &self.others,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes that were written to a disk.
    pub(crate) fn count_written(&self, bytes: u64) {
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a request that the host could not carry out.
    pub(crate) fn count_disk_error(&self) {
        self.disk_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub(crate) fn read(&self) -> crate::Activity {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        crate::Activity {
            exits: crate::Exits {
                port_reads: value(&self.port_reads),
                port_writes: value(&self.port_writes),
                register_reads: value(&self.register_reads),
                register_writes: value(&self.register_writes),
                others: value(&self.others),
                all: None,
            },
            bytes_written: value(&self.bytes_written),
            disk_errors: value(&self.disk_errors),
        }
    }
}
