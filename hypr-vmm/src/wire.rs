//! What the library and the monitor's process say to each other: JSON documents and descriptors on a socket pair.
//!
//! The socket is private to the two. The monitor's side is read as hostile nevertheless, since a guest may have taken
//! it over: lengths are bounded, and no descriptor is accepted from it.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The longest document.
const MAX_LENGTH: usize = 4 << 20;

/// Bytes of the newest console output that are kept.
pub(crate) const CONSOLE_KEPT: u64 = 64 << 10;
/// The size of the console's file: eight bytes that count all output, and a ring of the newest.
pub(crate) const CONSOLE: u64 = 8 + CONSOLE_KEPT;

/// Descriptors that travel with one message; the kernel's own limit is 253.
const BATCH: usize = 128;

/// What the library asks of the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Find out whether KVM runs kernels, and which parts of the jail this machine has. The descriptor is `/dev/kvm`.
    Probe,
    /// Run a machine. The descriptors are `/dev/kvm`, the console file, the kernel, then, where there is one, the
    /// initramfs and the channel, and the files that the disks' extents number from 0.
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
    pub(crate) has_channel: bool,
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

/// Sends `document` and `descriptors`.
pub(crate) fn send(
    mut socket: &UnixStream,
    document: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let body = serde_json::to_vec(document)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_LENGTH);
    let length = length.ok_or_else(|| io::Error::other("too long a message"))?;
    let count = u32::try_from(descriptors.len()).map_err(io::Error::other)?;
    socket.write_all(&[length.to_le_bytes(), count.to_le_bytes()].concat())?;
    for batch in descriptors.chunks(BATCH) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(batch)) {
            return Err(io::Error::other("too many descriptors"));
        }
        rustix::net::sendmsg(socket, &[IoSlice::new(b"d")], &mut ancillary, SendFlags::NOSIGNAL)?;
    }
    socket.write_all(&body)
}

/// Receives a document and at most `max_descriptors`; `None` at the end of the stream.
pub(crate) fn receive<T: DeserializeOwned>(
    mut socket: &UnixStream,
    max_descriptors: usize,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut header = [0; 8];
    match socket.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(io::Error::other)?;
    let count = usize::try_from(u32::from_le_bytes([c0, c1, c2, c3])).map_err(io::Error::other)?;
    if length > MAX_LENGTH || count > max_descriptors {
        return Err(io::Error::other("too long a message"));
    }
    let descriptors = receive_descriptors(socket.as_fd(), count)?;
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, descriptors)))
}

fn receive_descriptors(socket: BorrowedFd<'_>, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut descriptors = Vec::with_capacity(count);
    while descriptors.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)?;
        let before = descriptors.len();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes != 1 || descriptors.len() == before || descriptors.len() > count {
            return Err(io::Error::other("other descriptors than announced"));
        }
    }
    Ok(descriptors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_many_descriptors_arrive_in_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let files: Vec<_> = (0..300).map(|_| tempfile::tempfile().unwrap()).collect();
        for (number, file) in files.iter().enumerate() {
            file.set_len(number as u64).unwrap();
        }
        let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        send(&ours, &Request::Bind { disk: 7, extents: Vec::new() }, &borrowed).unwrap();
        drop(ours);
        let (request, received) = receive::<Request>(&theirs, 300).unwrap().unwrap();
        assert!(matches!(request, Request::Bind { disk: 7, .. }));
        let lengths: Vec<_> =
            received.into_iter().map(|fd| std::fs::File::from(fd).metadata().unwrap().len()).collect();
        assert_eq!(lengths, (0..300).collect::<Vec<_>>());
        assert!(receive::<Request>(&theirs, 0).unwrap().is_none());
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_read() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[0xff; 8]).unwrap();
        assert!(receive::<Report>(&theirs, 0).is_err());
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(&ours, &Request::Stop, &[file.as_fd()]).unwrap();
        assert!(receive::<Report>(&theirs, 0).is_err(), "the library takes no descriptors");
    }
}
