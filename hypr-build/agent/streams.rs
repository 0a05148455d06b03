//! Sockets in the sandbox whose connections are streams to hypr.
//!
//! The agent listens, for it alone has the channel: the sockets lie in the scratch directory and are mounted for the
//! step. Nothing here waits. What a process does not read is kept, and hypr sends no more of it than fits; what hypr
//! does not take is left to the process.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::AsRawFd,
        unix::{
            fs::chown,
            net::{UnixListener, UnixStream},
        },
    },
};

use crate::{
    attributes,
    channel::Channel,
    failure::{Context, Failed},
    protocol::{Content, Flow, MAX_DATA, MAX_STREAMS, Mount, Report, WINDOW},
    root::mount_name,
    session::out_of_order,
    sys::pipe::{POLLIN, POLLOUT, PollFd},
};

/// All sockets of a sandbox, and the connections to them.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// With the number of the mount.
    listeners: Vec<(u32, UnixListener)>,
    open: BTreeMap<u32, Connection>,
    /// The number of the next stream.
    next: u32,
}

/// A stream, as the process sees it.
#[derive(Debug)]
struct Connection {
    socket: UnixStream,
    /// What hypr sent and the process has not read.
    incoming: VecDeque<u8>,
    /// Bytes that hypr takes yet.
    allowance: usize,
    /// Whether the process sends nothing more.
    is_read: bool,
    /// Whether hypr sends nothing more.
    is_ended: bool,
}

/// The name of a mount's socket in the scratch directory.
pub(crate) fn socket_name(mount: u32) -> String {
    format!("{}socket", mount_name(mount))
}

impl Streams {
    /// Makes the sockets that `mounts` ask for in the working directory, and listens.
    pub(crate) fn listen(mounts: &[Mount]) -> Result<Self, Failed> {
        let mut listeners = Vec::new();
        for (number, mount) in (0..).zip(mounts) {
            let Content::Socket { mode, uid, gid } = mount.content else { continue };
            let (name, action) = (socket_name(number), "make a socket");
            let listener = UnixListener::bind(&name).context(action)?;
            listener.set_nonblocking(true).context(action)?;
            chown(&name, Some(uid), Some(gid)).context(&format!("give a socket to {uid}:{gid}"))?;
            attributes::set_mode(&name, mode).context(action)?;
            listeners.push((number, listener));
        }
        Ok(Self { listeners, ..Self::default() })
    }

    /// What to wait for, in the order in which [`serve`](Self::serve) is told what came.
    pub(crate) fn interests(&self) -> impl Iterator<Item = PollFd> {
        let is_full = self.open.len() >= MAX_STREAMS;
        let listeners = self.listeners.iter().map(move |(_, listener)| {
            let fd = if is_full { -1 } else { listener.as_raw_fd() };
            PollFd { fd, events: POLLIN, revents: 0 }
        });
        listeners.chain(self.open.values().map(Connection::interest))
    }

    /// Does what can be done at once. `entries` are the answers to [`interests`](Self::interests).
    pub(crate) fn serve(&mut self, entries: &[PollFd], channel: &mut Channel) -> Result<(), Failed> {
        let (listeners, connections) = entries.split_at(self.listeners.len().min(entries.len()));
        let numbers: Vec<u32> = self.open.keys().copied().collect();
        for (number, _) in numbers.into_iter().zip(connections).filter(|(_, entry)| entry.revents != 0) {
            self.go_on(number, channel)?;
        }
        for (index, _) in listeners.iter().enumerate().filter(|(_, entry)| entry.revents != 0) {
            self.accept(index, channel)?;
        }
        Ok(())
    }

    /// Takes what hypr says of a stream.
    pub(crate) fn take(&mut self, number: u32, flow: Flow, channel: &mut Channel) -> Result<(), Failed> {
        // One that the process has closed meanwhile.
        let Some(connection) = self.open.get_mut(&number) else { return Ok(()) };
        match flow {
            Flow::Data(bytes) if !connection.is_ended && connection.incoming.len() + bytes.len() <= WINDOW => {
                connection.incoming.extend(bytes);
            }
            Flow::Taken(count) if connection.allowance + count as usize <= WINDOW => {
                connection.allowance += count as usize;
            }
            Flow::End if !connection.is_ended => connection.is_ended = true,
            Flow::Close => {
                self.open.remove(&number);
                return Ok(());
            }
            _ => return Err(out_of_order()),
        }
        self.go_on(number, channel)
    }

    fn accept(&mut self, index: usize, channel: &mut Channel) -> Result<(), Failed> {
        let Some((mount, listener)) = self.listeners.get(index).filter(|_| self.open.len() < MAX_STREAMS) else {
            return Ok(());
        };
        // Who connected may have given up.
        let Ok((socket, _)) = listener.accept() else { return Ok(()) };
        socket.set_nonblocking(true).context("accept a connection")?;
        let (stream, mount) = (self.next, *mount);
        self.next = self.next.checked_add(1).ok_or_else(out_of_order)?;
        let connection =
            Connection { socket, incoming: VecDeque::new(), allowance: WINDOW, is_read: false, is_ended: false };
        self.open.insert(stream, connection);
        channel.send(&Report::Connected { stream, mount })
    }

    /// Moves what can be moved, and forgets a stream that is over.
    fn go_on(&mut self, number: u32, channel: &mut Channel) -> Result<(), Failed> {
        let Some(connection) = self.open.get_mut(&number) else { return Ok(()) };
        let mut say = |flow| channel.send(&Report::Stream(number, flow));
        let is_lost = match connection.deliver() {
            Ok(0) => false,
            Ok(count) => say(Flow::Taken(count)).map(|()| false)?,
            Err(_) => true,
        };
        let is_lost = is_lost
            || match connection.collect() {
                Ok(None) => false,
                Ok(Some(flow)) => say(flow).map(|()| false)?,
                Err(_) => true,
            };
        if is_lost {
            say(Flow::Close)?;
        }
        if is_lost || connection.is_over() {
            self.open.remove(&number);
        }
        Ok(())
    }
}

impl Connection {
    fn interest(&self) -> PollFd {
        let reads = if self.is_read || self.allowance == 0 { 0 } else { POLLIN };
        let writes = if self.incoming.is_empty() { 0 } else { POLLOUT };
        // A descriptor that nothing is wanted of would still tell of its end, again and again.
        let fd = if reads | writes == 0 { -1 } else { self.socket.as_raw_fd() };
        PollFd { fd, events: reads | writes, revents: 0 }
    }

    /// Writes what the process takes; how much that was.
    fn deliver(&mut self) -> io::Result<u32> {
        let mut count = 0;
        while !self.incoming.is_empty() {
            match self.socket.write(self.incoming.as_slices().0) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.incoming.drain(..written);
                    count += written;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.is_ended && self.incoming.is_empty() {
            // Fails when the process has gone, which reading tells.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        u32::try_from(count).map_err(io::Error::other)
    }

    /// Reads what the process has sent, as much as hypr takes and one frame holds.
    fn collect(&mut self) -> io::Result<Option<Flow>> {
        if self.is_read || self.allowance == 0 {
            return Ok(None);
        }
        let mut buffer = vec![0; self.allowance.min(MAX_DATA)];
        match self.socket.read(&mut buffer) {
            Ok(0) => {
                self.is_read = true;
                Ok(Some(Flow::End))
            }
            Ok(count) => {
                self.allowance -= count;
                buffer.truncate(count);
                Ok(Some(Flow::Data(buffer)))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_over(&self) -> bool {
        self.is_read && self.is_ended && self.incoming.is_empty()
    }
}
