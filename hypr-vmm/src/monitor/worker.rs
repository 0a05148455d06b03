//! The threads that serve devices when the guest, or what a device is connected to, has something for them.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use vmm_sys_util::eventfd::EventFd;

use super::{
    devices::{Served, mmio::MmioDevice},
    failure::{Context, Failure},
    memory::Memory,
};

/// A device, and what says that it has something to do.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) device: Arc<MmioDevice>,
    /// One for each queue.
    pub(crate) notifications: Vec<Arc<EventFd>>,
    /// What the device waits for when it says so.
    pub(crate) socket: Option<OwnedFd>,
}

/// What a worker waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Queue { device: usize, queue: usize },
    Socket { device: usize },
    Other(usize),
}

/// Serves some devices.
#[derive(Debug)]
pub(crate) struct Worker {
    memory: Arc<Memory>,
    attached: Vec<Attached>,
    epoll: OwnedFd,
    /// The number of each is what epoll knows it by.
    sources: Vec<Source>,
    /// What each device's socket is watched for.
    watched: Vec<EventFlags>,
    /// Devices that have more to do; kept between calls of [`wait`](Self::wait), since nothing tells of it again.
    busy: Vec<bool>,
}

impl Worker {
    /// A worker for `attached`.
    pub(crate) fn new(memory: Arc<Memory>, attached: Vec<Attached>) -> Result<Self, Failure> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("make a poll set")?;
        let watched = vec![EventFlags::empty(); attached.len()];
        let busy = vec![false; attached.len()];
        let mut worker = Self { memory, attached: Vec::new(), epoll, sources: Vec::new(), watched, busy };
        for (device, attached) in attached.iter().enumerate() {
            for (queue, notification) in attached.notifications.iter().enumerate() {
                worker.add(&as_fd(notification), Source::Queue { device, queue }, EventFlags::IN)?;
            }
            if let Some(socket) = &attached.socket {
                worker.add(socket, Source::Socket { device }, EventFlags::empty())?;
            }
        }
        worker.attached = attached;
        Ok(worker)
    }

    /// Watches `fd` as well; [`wait`](Self::wait) returns `number` when it can be read.
    pub(crate) fn watch(&mut self, fd: &impl AsFd, number: usize) -> Result<(), Failure> {
        self.add(fd, Source::Other(number), EventFlags::IN)
    }

    /// Serves devices until one of the [watched](Self::watch) descriptors can be read.
    pub(crate) fn wait(&mut self) -> io::Result<usize> {
        loop {
            let mut events = Vec::with_capacity(16);
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            let timeout = self.busy.contains(&true).then_some(&now);
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let mut other = None;
            for Event { data, flags } in events {
                let source = usize::try_from(data.u64()).ok().and_then(|number| self.sources.get(number));
                match source.copied() {
                    Some(Source::Queue { device, queue }) => {
                        // Whatever the count is, one turn serves all.
                        let _ = self.attached[device].notifications[queue].read();
                        self.busy[device] = true;
                    }
                    Some(Source::Socket { device }) => {
                        self.busy[device] = true;
                        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
                            self.forget_socket(device)?;
                        }
                    }
                    Some(Source::Other(number)) => other = Some(number),
                    None => {}
                }
            }
            for device in 0..self.attached.len() {
                if std::mem::take(&mut self.busy[device]) {
                    self.busy[device] = self.serve(device)?;
                }
            }
            if let Some(number) = other {
                return Ok(number);
            }
        }
    }

    /// Serves a device; true when it has more to do.
    fn serve(&mut self, number: usize) -> io::Result<bool> {
        let attached = &self.attached[number];
        let Served { more, wants_room, wants_bytes, .. } = attached.device.serve(&self.memory);
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::OUT, wants_room);
        flags.set(EventFlags::IN, wants_bytes);
        if let Some(socket) = attached.socket.as_ref().filter(|_| self.watched[number] != flags) {
            let source = Source::Socket { device: number };
            let data = self.sources.iter().position(|known| *known == source).unwrap_or_default();
            epoll::modify(&self.epoll, socket, EventData::new_u64(data as u64), flags)?;
            self.watched[number] = flags;
        }
        Ok(more)
    }

    /// The other end of a socket has gone, which epoll would go on telling.
    fn forget_socket(&mut self, device: usize) -> io::Result<()> {
        if let Some(socket) = self.attached[device].socket.take() {
            epoll::delete(&self.epoll, &socket)?;
        }
        Ok(())
    }

    fn add(&mut self, fd: &impl AsFd, source: Source, flags: EventFlags) -> Result<(), Failure> {
        let data = EventData::new_u64(self.sources.len() as u64);
        epoll::add(&self.epoll, fd, data, flags).context("watch a descriptor")?;
        self.sources.push(source);
        Ok(())
    }
}

/// An eventfd as what `rustix` takes.
pub(crate) fn as_fd(event: &EventFd) -> std::os::fd::BorrowedFd<'_> {
    use std::os::fd::{AsRawFd, BorrowedFd};
    // SAFETY: the descriptor is open as long as `event` is borrowed.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}
