//! A stream between the guest and the library: one port of a virtio console (virtio 1.2, section 5.3).
//!
//! Bytes go between the guest's buffers and a socket without a copy. When the socket takes no more, the guest's
//! buffers stay in use until it does; when the guest offers no buffers, nothing is read. So each side's pace reaches
//! the other.

use std::{
    collections::VecDeque,
    io,
    os::{fd::AsFd, unix::net::UnixStream},
};

use virtio_queue::{Queue, QueueOwnedT, QueueT};

use super::{
    Broken, Served, Taken, VirtioDevice,
    guest_io::{self, Buffer, Buffers},
    take,
};
use crate::monitor::memory::Memory;

/// The feature of having ports that are no terminals (virtio 1.2, section 5.3.3).
const VIRTIO_CONSOLE_F_MULTIPORT: u32 = 1;
// Control messages (virtio 1.2, section 5.3.6.2).
const VIRTIO_CONSOLE_DEVICE_READY: u16 = 0;
const VIRTIO_CONSOLE_PORT_ADD: u16 = 1;
const VIRTIO_CONSOLE_PORT_READY: u16 = 3;
const VIRTIO_CONSOLE_PORT_OPEN: u16 = 6;

/// Port 0's receive and transmit queues, then those for control.
const QUEUE_SIZES: [u16; 4] = [64, 64, 16, 16];
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// The only port's number.
const PORT: u32 = 0;
/// Control messages that wait for the driver; it asks for two.
const MAX_WAITING: usize = 16;
/// Bytes that go one way before others have a turn: those of a request's buffers may come to gigabytes.
const TURN: usize = 1 << 20;

/// A console with one port that is no terminal.
#[derive(Debug)]
pub struct Console {
    socket: UnixStream,
    config: [u8; 12],
    control: VecDeque<[u8; 8]>,
    /// A request whose bytes the socket has not taken yet.
    sending: Option<(u16, Vec<Buffer>)>,
    is_open: bool,
    /// The guest has closed its port, and what it wrote before is yet to be sent.
    is_closing: bool,
    wants_room: bool,
    wants_bytes: bool,
}

impl Console {
    /// A port to `socket`, which must not block.
    pub fn new(socket: UnixStream) -> Self {
        let mut config = [0; 12];
        // `max_nr_ports`, after columns and rows.
        config[4..8].copy_from_slice(&1u32.to_le_bytes());
        Self {
            socket,
            config,
            control: VecDeque::new(),
            sending: None,
            is_open: false,
            is_closing: false,
            wants_room: false,
            wants_bytes: false,
        }
    }

    fn send_control(&mut self, event: u16, value: u16) {
        if self.control.len() < MAX_WAITING {
            let mut message = [0; 8];
            message[..4].copy_from_slice(&PORT.to_le_bytes());
            message[4..6].copy_from_slice(&event.to_le_bytes());
            message[6..].copy_from_slice(&value.to_le_bytes());
            self.control.push_back(message);
        }
    }

    fn receive_control(&mut self, [p0, p1, p2, p3, e0, e1, v0, v1]: [u8; 8]) {
        let (port, event) = (u32::from_le_bytes([p0, p1, p2, p3]), u16::from_le_bytes([e0, e1]));
        let value = u16::from_le_bytes([v0, v1]);
        match event {
            VIRTIO_CONSOLE_DEVICE_READY if value == 1 => self.send_control(VIRTIO_CONSOLE_PORT_ADD, 1),
            VIRTIO_CONSOLE_PORT_READY if port == PORT && value == 1 => {
                self.send_control(VIRTIO_CONSOLE_PORT_OPEN, 1);
            }
            VIRTIO_CONSOLE_PORT_OPEN if port == PORT => {
                self.is_closing |= self.is_open && value == 0;
                self.is_open = value == 1;
            }
            _ => {}
        }
    }

    /// Takes the driver's control messages and answers them.
    fn serve_control(&mut self, queues: &mut [Queue], memory: &Memory) -> Result<Served, Broken> {
        let mut served = Served::default();
        let [.., answers, questions] = queues else { return Err(Broken) };
        let mut budget = if questions.ready() { questions.size() } else { 0 };
        while budget > 0 {
            match take(questions, memory, &mut budget)? {
                Taken::Chain(chain) => {
                    let head = chain.head_index();
                    let buffers = Buffers::of(chain, memory)?;
                    let mut message = [0; 8];
                    if guest_io::total(&buffers.readable) >= message.len() {
                        guest_io::copy_from(memory, &buffers.readable, &mut message)?;
                        self.receive_control(message);
                    }
                    questions.add_used(memory, head, 0)?;
                    served.notify |= questions.needs_notification(memory)?;
                    served.more = budget == 0;
                }
                Taken::Nothing | Taken::Enough => break,
            }
        }
        let mut budget = if answers.ready() { answers.size() } else { 0 };
        while budget > 0 && !self.control.is_empty() {
            let Taken::Chain(chain) = take(answers, memory, &mut budget)? else { break };
            let head = chain.head_index();
            let buffers = Buffers::of(chain, memory)?;
            let message = self.control.pop_front().unwrap_or_default();
            let written = guest_io::copy_to(memory, &buffers.writable, &message)?;
            answers.add_used(memory, head, u32::try_from(written).map_err(|_| Broken)?)?;
            served.notify |= answers.needs_notification(memory)?;
        }
        Ok(served)
    }

    /// Sends what the driver has written, and then the end if its port was closed.
    fn transmit(&mut self, queue: &mut Queue, memory: &Memory) -> Result<Served, Broken> {
        self.wants_room = false;
        let mut served = Served::default();
        if !queue.ready() {
            return Ok(served);
        }
        let mut budget = queue.size();
        let mut left = TURN;
        let mut used = false;
        'turn: loop {
            if self.sending.is_none() {
                match take(queue, memory, &mut budget)? {
                    Taken::Chain(chain) => {
                        let head = chain.head_index();
                        self.sending = Some((head, Buffers::of(chain, memory)?.readable));
                    }
                    Taken::Nothing => {
                        if self.is_closing {
                            // The library reads what was sent, and then the end. It may have gone already.
                            let _ = self.socket.shutdown(std::net::Shutdown::Write);
                        }
                        break;
                    }
                    Taken::Enough => {
                        served.more = true;
                        break;
                    }
                }
            }
            let Some((head, buffers)) = &mut self.sending else { break };
            while !buffers.is_empty() {
                if left == 0 {
                    served.more = true;
                    break 'turn;
                }
                match guest_io::write_some(self.socket.as_fd(), memory, &guest_io::front(buffers, left)) {
                    Ok(count) => {
                        left = left.saturating_sub(count);
                        drop(guest_io::split_off_front(buffers, count));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.wants_room = true;
                        served.notify = used && queue.needs_notification(memory)?;
                        return Ok(served);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // Nobody listens any more; the library ends the machine when it wants to.
                    Err(_) => buffers.clear(),
                }
            }
            queue.add_used(memory, *head, 0)?;
            self.sending = None;
            used = true;
        }
        served.notify = used && queue.needs_notification(memory)?;
        Ok(served)
    }

    /// Receives what the library has written.
    fn receive(&mut self, queue: &mut Queue, memory: &Memory) -> Result<bool, Broken> {
        self.wants_bytes = false;
        if !queue.ready() || !self.is_open {
            return Ok(false);
        }
        let mut budget = queue.size();
        let mut left = TURN;
        let mut used = false;
        loop {
            if left == 0 {
                self.wants_bytes = true;
                break;
            }
            let chain = match take(queue, memory, &mut budget)? {
                Taken::Chain(chain) => chain,
                Taken::Nothing => break,
                // The socket may well have more.
                Taken::Enough => {
                    self.wants_bytes = true;
                    break;
                }
            };
            let head = chain.head_index();
            // What is cut off the driver learns by the length.
            let buffers = guest_io::front(&Buffers::of(chain, memory)?.writable, left);
            match guest_io::read_some(self.socket.as_fd(), memory, &buffers) {
                Ok(count) if count > 0 => {
                    queue.add_used(memory, head, u32::try_from(count).map_err(|_| Broken)?)?;
                    left = left.saturating_sub(count);
                    used = true;
                }
                other => {
                    queue.go_to_previous_position();
                    // At the end of the stream there is nothing more to wait for.
                    self.wants_bytes = matches!(other, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        Ok(used && queue.needs_notification(memory)?)
    }
}

impl VirtioDevice for Console {
    fn id(&self) -> u32 {
        virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_CONSOLE_F_MULTIPORT
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUE_SIZES
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn serve(&mut self, queues: &mut [Queue], memory: &Memory) -> Result<Served, Broken> {
        // In this order: what was written before the port was closed is there to be sent when that is heard of.
        let told = self.serve_control(queues, memory)?;
        let sent = self.transmit(queues.get_mut(TRANSMIT).ok_or(Broken)?, memory)?;
        let received = self.receive(queues.get_mut(RECEIVE).ok_or(Broken)?, memory)?;
        Ok(Served {
            notify: told.notify || sent.notify || received,
            more: told.more || sent.more,
            wants_room: self.wants_room,
            wants_bytes: self.wants_bytes,
        })
    }

    fn reset(&mut self) {
        self.control.clear();
        self.sending = None;
        (self.is_open, self.is_closing, self.wants_room, self.wants_bytes) = (false, false, false, false);
    }
}
