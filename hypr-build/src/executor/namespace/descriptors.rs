//! Sending descriptors along with the bytes of the channel.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::{io::Interest, net::UnixStream};

use crate::executor::{
    ExecutorError,
    protocol::{MAX_DESCRIPTORS, Request},
};

/// Sends `descriptors` over `stream`, in order.
///
/// # Errors
/// Fails when the agent is gone.
pub(crate) async fn send(stream: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> Result<(), ExecutorError> {
    for part in descriptors.chunks(MAX_DESCRIPTORS) {
        let count = u32::try_from(part.len()).unwrap_or(u32::MAX);
        let frame = Request::Descriptors(count).encode();
        send_frame(stream, &frame, part)
            .await
            .map_err(|error| ExecutorError::Lost(format!("its agent does not listen: {error}")))?;
    }
    Ok(())
}

/// Sends `frame`, the descriptors with its first byte.
async fn send_frame(stream: &UnixStream, frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut sent = 0;
    while sent < frame.len() {
        let rest = frame.get(sent..).unwrap_or_default();
        let descriptors = if sent == 0 { descriptors } else { &[] };
        let attempt = || send_some(stream.as_fd(), rest, descriptors, SendFlags::DONTWAIT);
        sent += stream.async_io(Interest::WRITABLE, attempt).await?;
    }
    Ok(())
}

/// Sends `frame` over a stream that blocks, the descriptors with its first byte.
pub(crate) fn send_blocking(
    stream: &std::os::unix::net::UnixStream,
    frame: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let sent = send_some(stream.as_fd(), frame, descriptors, SendFlags::empty())?;
    io::Write::write_all(&mut &*stream, frame.get(sent..).unwrap_or_default())
}

fn send_some(
    stream: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    Ok(rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, flags | SendFlags::NOSIGNAL)?)
}
