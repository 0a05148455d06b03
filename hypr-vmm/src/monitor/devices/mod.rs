//! What the guest talks to: two old devices of the PC, and virtio devices.

pub mod block;
pub mod console;
mod extents;
mod guest_io;
pub mod legacy;
pub mod mmio;

pub use self::extents::Extents;

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};

use super::memory::Memory;

/// What a device did with its queues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// The driver wants to be told that buffers were used.
    pub notify: bool,
    /// There is more to do, and others should have a turn first.
    pub more: bool,
    /// Serve again when the device's socket takes bytes.
    pub wants_room: bool,
    /// Serve again when the device's socket has bytes.
    pub wants_bytes: bool,
}

/// The driver does what no driver may do; the device needs a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

impl From<virtio_queue::Error> for Broken {
    fn from(_: virtio_queue::Error) -> Self {
        Self
    }
}

/// What [`take`] finds in a queue.
enum Taken<'a> {
    /// The next request.
    Chain(DescriptorChain<&'a Memory>),
    /// Nothing; the driver tells when there is something again.
    Nothing,
    /// Perhaps more, but others should have a turn first.
    Enough,
}

/// Takes the next request from `queue`, one off the `budget` of this turn.
///
/// # Errors
/// [`Broken`] when the queue is not well formed: also when it claims to have something and then has nothing, since it
/// could keep its thread busy so.
fn take<'a>(queue: &mut Queue, memory: &'a Memory, budget: &mut u16) -> Result<Taken<'a>, Broken> {
    *budget = match budget.checked_sub(1) {
        Some(budget) => budget,
        None => return Ok(Taken::Enough),
    };
    if let Some(chain) = queue.iter(memory)?.next() {
        return Ok(Taken::Chain(chain));
    }
    // What the driver adds before it sees that it is to tell must not be missed.
    match queue.enable_notification(memory)? {
        false => Ok(Taken::Nothing),
        true => queue.iter(memory)?.next().map(Taken::Chain).ok_or(Broken),
    }
}

/// A virtio device without its transport, which keeps status, features and interrupts.
pub trait VirtioDevice: Send {
    /// The number from section 5 of the virtio 1.2 specification.
    fn id(&self) -> u32;
    /// Feature bits on offer, without those the transport adds.
    fn features(&self) -> u64;
    /// The largest size of each queue.
    fn queue_sizes(&self) -> &'static [u16];
    /// The device-specific configuration space.
    fn config(&self) -> &[u8];
    /// Serves what the driver made available.
    ///
    /// # Errors
    /// [`Broken`] when a queue is not well formed.
    fn serve(&mut self, queues: &mut [Queue], memory: &Memory) -> Result<Served, Broken>;
    /// Forgets what the driver had asked for.
    fn reset(&mut self);
}

#[cfg(test)]
mod tests;
