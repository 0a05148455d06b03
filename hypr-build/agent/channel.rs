//! The agent's end of the channel to hypr.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use crate::{
    failure::{Context, Failed},
    protocol::{self, FailureKind, HEADER, MAX_REPORT, MAX_REQUEST, Report, Request},
    sys::rights,
};

/// A stream of frames. Writing blocks while hypr does not read, which is how its pace reaches the process.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: File,
    /// Whether it is a socket, which descriptors come over, or a port of a machine's console.
    is_socket: bool,
    /// Descriptors that arrived and were not yet taken, in order.
    descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// A channel over a connected Unix socket.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket: File::from(socket), is_socket: true, descriptors: Vec::new() }
    }

    /// A channel over a port of a machine's console.
    pub(crate) fn over_port(port: File) -> Self {
        Self { socket: port, is_socket: false, descriptors: Vec::new() }
    }

    /// Takes `descriptors` for such as have arrived.
    pub(crate) fn supply(&mut self, descriptors: impl IntoIterator<Item = OwnedFd>) {
        self.descriptors.extend(descriptors);
    }

    /// Reads the next request; `None` at the end of the stream.
    pub(crate) fn receive(&mut self) -> Result<Option<Request>, Failed> {
        let mut header = [0; HEADER];
        let first = self.read(&mut header)?;
        if first == 0 {
            return Ok(None);
        }
        self.read_exact(&mut header[first..])?;
        let (kind, length) = protocol::parse_header(header, MAX_REQUEST).map_err(malformed)?;
        let mut body = vec![0; length];
        self.read_exact(&mut body)?;
        Request::decode(kind, &body).map(Some).map_err(malformed)
    }

    /// Takes the first `count` of the descriptors that have arrived.
    pub(crate) fn take_descriptors(&mut self, count: usize) -> Result<Vec<OwnedFd>, Failed> {
        if count > self.descriptors.len() {
            return Err(malformed(protocol::Malformed("fewer descriptors than announced")));
        }
        Ok(self.descriptors.drain(..count).collect())
    }

    /// Sends `report`.
    pub(crate) fn send(&mut self, report: &Report) -> Result<(), Failed> {
        self.socket.write_all(&report.encode()).context("send a report")
    }

    /// Sends frames of `kind` that carry `bytes`, without a copy.
    pub(crate) fn send_bytes(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(MAX_REPORT) {
            self.socket.write_all(&protocol::header(kind, part.len()))?;
            self.socket.write_all(part)?;
        }
        Ok(())
    }

    /// Waits until hypr closes its end, whatever it still sends.
    pub(crate) fn wait_for_end(&mut self) {
        let mut ignored = [0; 4096];
        while !matches!(self.socket.read(&mut ignored), Ok(0) | Err(_)) {}
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Failed> {
        loop {
            let received = match self.is_socket {
                true => rights::receive(self.socket.as_fd(), bytes, &mut self.descriptors),
                false => self.socket.read(bytes),
            };
            match received {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.context("read a request"),
            }
        }
    }

    fn read_exact(&mut self, mut bytes: &mut [u8]) -> Result<(), Failed> {
        while !bytes.is_empty() {
            match self.read(bytes)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).context("read a request"),
                count => bytes = &mut bytes[count..],
            }
        }
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What is written becomes [`Report::Changes`] frames.
#[derive(Debug)]
pub(crate) struct Changes<'a>(pub(crate) &'a mut Channel);

impl Write for Changes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_bytes(protocol::kind::CHANGES, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn malformed(source: protocol::Malformed) -> Failed {
    Failed::new(FailureKind::Protocol, "understand a request", source.to_string())
}
