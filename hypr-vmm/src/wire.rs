//! What the library and the monitor's process say to each other: JSON documents and descriptors on a socket pair.
//!
//! The socket is private to the two. The monitor's side is read as hostile nevertheless, since a guest may have taken
//! it over: lengths are bounded, and no descriptor is accepted from it.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The longest document.
const MAX_LENGTH: usize = 4 << 20;

/// Bytes of the newest console output that are kept.
pub(crate) const CONSOLE_KEPT: u64 = 64 << 10;
/// The size of the console's file: eight bytes that count all output, and a ring of the newest.
pub(crate) const CONSOLE: u64 = 8 + CONSOLE_KEPT;

/// Descriptors that travel with one part of a message; the kernel's own limit is 253.
const BATCH: usize = 128;
/// The most descriptors of one message: files of one disk; a machine has one that is made of many.
pub(crate) const MAX_DESCRIPTORS: usize = 4096;

/// What the library asks of the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Find out whether KVM runs kernels, and which parts of the jail this machine has. The descriptor is `/dev/kvm`.
    Probe,
    /// Run a machine. The descriptors are `/dev/kvm`, the console file, the kernel, then, where there is one, the
    /// initramfs, the channel, and the files that the disks' extents number from 0.
    Start(Start),
    /// Show `extents` on a disk that had none. The descriptors are the files that they number.
    Bind {
        /// The disk's number.
        disk: usize,
        /// What it shows.
        extents: Vec<Extent>,
    },
    /// End the machine and tell what it did.
    Stop,
}

/// A machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) vcpus: u8,
    /// Bytes, a multiple of 1 MiB.
    pub(crate) memory: u64,
    pub(crate) command_line: String,
    pub(crate) has_initramfs: bool,
    pub(crate) disks: Vec<Disk>,
}

/// A disk of a machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Disk {
    /// Bytes, a multiple of 512.
    pub(crate) capacity: u64,
    pub(crate) is_writable: bool,
    pub(crate) extents: Vec<Extent>,
}

/// A part of a disk that is a part of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Extent {
    /// Where on the disk it begins, in bytes.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) length: u64,
    /// The number of the file among the descriptors.
    pub(crate) file: usize,
    /// Where in the file it begins.
    pub(crate) offset: u64,
}

/// What the monitor answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// KVM runs kernels, on up to so many processors.
    Works { max_vcpus: usize, jail: crate::Jail },
    /// KVM does not run kernels, for this reason.
    Unfit(String),
    /// The machine runs.
    Running(crate::Jail),
    /// The extents are there.
    Bound,
    /// The extents cannot be there, for this reason; all is as before.
    Refused(String),
    /// Something could not be done; nothing follows.
    Failed {
        /// A verb and its object.
        action: String,
        /// Why.
        reason: String,
    },
    /// The machine has ended; nothing follows.
    Ended(crate::Ended),
}

/// Sends `document` and `descriptors`, all of it until the deadline.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when nothing was sent since it is too much, [`io::ErrorKind::TimedOut`] when the
/// time is over.
pub(crate) fn send(
    socket: &UnixStream,
    document: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
    deadline: Option<Instant>,
) -> io::Result<()> {
    let too_much = || io::Error::new(io::ErrorKind::InvalidInput, "it is too much for one message");
    let body = serde_json::to_vec(document)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_LENGTH).ok_or_else(too_much)?;
    let count = u32::try_from(descriptors.len()).map_err(|_| too_much())?;
    let mut line = Line { socket, deadline };
    line.write_all(&[length.to_le_bytes(), count.to_le_bytes()].concat())?;
    for batch in descriptors.chunks(BATCH) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(batch)) {
            return Err(io::Error::other("too many descriptors"));
        }
        let flags = line.send_flags();
        line.patiently(PollFlags::OUT, || rustix::net::sendmsg(socket, &[IoSlice::new(b"d")], &mut ancillary, flags))?;
    }
    line.write_all(&body)
}

/// Receives a document and at most `max_descriptors`, all of it until the deadline; `None` at the end of the stream.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] when the time is over, [`io::ErrorKind::InvalidData`] when the other side says what it
/// may not say, anything else when it is gone.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: &UnixStream,
    max_descriptors: usize,
    deadline: Option<Instant>,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut line = Line { socket, deadline };
    let mut header = [0; 8];
    match line.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(invalid)?;
    let count = usize::try_from(u32::from_le_bytes([c0, c1, c2, c3])).map_err(invalid)?;
    if length > MAX_LENGTH || count > max_descriptors {
        return Err(invalid("too long a message"));
    }
    let descriptors = receive_descriptors(&line, count)?;
    let mut body = vec![0; length];
    line.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body).map_err(invalid)?, descriptors)))
}

fn receive_descriptors(line: &Line<'_>, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut descriptors = Vec::with_capacity(count);
    while descriptors.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = line.receive_flags() | RecvFlags::CMSG_CLOEXEC;
        let received = line.patiently(PollFlags::IN, || {
            rustix::net::recvmsg(line.socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)
        })?;
        let before = descriptors.len();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes != 1 || descriptors.len() == before || descriptors.len() > count {
            return Err(invalid("other descriptors than announced"));
        }
    }
    Ok(descriptors)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A socket with a time by which a whole message has to have passed: one for each call would never be over for a side
/// that says a byte now and then. Without a deadline its calls are plain ones, which the jail has.
struct Line<'a> {
    socket: &'a UnixStream,
    deadline: Option<Instant>,
}

impl Line<'_> {
    fn send_flags(&self) -> SendFlags {
        SendFlags::NOSIGNAL | self.deadline.map_or(SendFlags::empty(), |_| SendFlags::DONTWAIT)
    }

    fn receive_flags(&self) -> RecvFlags {
        self.deadline.map_or(RecvFlags::empty(), |_| RecvFlags::DONTWAIT)
    }

    /// Makes `call` until it has not to wait any more.
    fn patiently<T>(&self, wanted: PollFlags, mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
        loop {
            let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match (call(), left) {
                (Err(Errno::INTR), _) => {}
                (Err(Errno::AGAIN), Some(left)) => {
                    let left = Timespec::try_from(left).map_err(io::Error::other)?;
                    match rustix::event::poll(&mut [PollFd::new(self.socket, wanted)], Some(&left)) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                (other, _) => return Ok(other?),
            }
        }
    }
}

impl Read for Line<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let flags = self.receive_flags();
        self.patiently(PollFlags::IN, || rustix::net::recv(self.socket, &mut *buffer, flags).map(|(count, _)| count))
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(PollFlags::OUT, || rustix::net::send(self.socket, bytes, self.send_flags()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{os::fd::AsFd, time::Duration};

    use super::*;

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(200))
    }

    #[test]
    fn documents_and_many_descriptors_arrive_in_order() {
        for deadline in [None, Some(Instant::now() + Duration::from_secs(3600))] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let files: Vec<_> = (0..300).map(|_| tempfile::tempfile().unwrap()).collect();
            for (number, file) in files.iter().enumerate() {
                file.set_len(number as u64).unwrap();
            }
            let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
            send(&ours, &Request::Bind { disk: 7, extents: Vec::new() }, &borrowed, deadline).unwrap();
            drop(ours);
            let (request, received) = receive::<Request>(&theirs, 300, deadline).unwrap().unwrap();
            assert!(matches!(request, Request::Bind { disk: 7, .. }));
            let lengths: Vec<_> =
                received.into_iter().map(|fd| std::fs::File::from(fd).metadata().unwrap().len()).collect();
            assert_eq!(lengths, (0..300).collect::<Vec<_>>());
            assert!(receive::<Request>(&theirs, 0, deadline).unwrap().is_none());
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_read_or_sent() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[0xff; 8]).unwrap();
        assert_eq!(receive::<Report>(&theirs, 0, None).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(&ours, &Request::Stop, &[file.as_fd()], None).unwrap();
        let error = receive::<Report>(&theirs, 0, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "the library takes no descriptors");
        let (ours, theirs) = UnixStream::pair().unwrap();
        let error = send(&ours, &Report::Unfit("x".repeat(MAX_LENGTH)), &[], None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        drop(ours);
        assert!(receive::<Report>(&theirs, 0, None).unwrap().is_none(), "nothing was sent");
    }

    #[test]
    fn a_message_that_comes_byte_by_byte_is_over_when_its_time_is() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let drip = std::thread::spawn(move || {
            let length = u32::try_from(MAX_LENGTH).unwrap().to_le_bytes();
            let _ = ours.write_all(&[length, [0; 4]].concat());
            while ours.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        assert_eq!(receive::<Report>(&theirs, 0, soon()).unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(theirs);
        drip.join().unwrap();
    }

    #[test]
    fn a_side_that_does_not_read_is_not_waited_for_longer() {
        let (mut ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        while ours.write(&[0; 4096]).is_ok() {}
        while ours.write(&[0]).is_ok() {}
        ours.set_nonblocking(false).unwrap();
        let file = tempfile::tempfile().unwrap();
        for files in [&[][..], &[file.as_fd()]] {
            let error = send(&ours, &Request::Stop, files, soon()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
    }
}
