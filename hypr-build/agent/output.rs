//! The process's standard output and error on their way to hypr.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsRawFd, OwnedFd},
};

use crate::{
    channel::Channel,
    protocol::MAX_REPORT,
    sys::pipe::{POLLIN, PollFd, poll},
};

/// The reading end of a pipe that the process writes to.
#[derive(Debug)]
pub(crate) struct Output {
    /// `None` once the last writer has gone.
    pipe: Option<File>,
    kind: u8,
}

impl Output {
    /// What comes out of `pipe` is sent as frames of `kind`.
    pub(crate) fn new(pipe: OwnedFd, kind: u8) -> Self {
        Self { pipe: Some(File::from(pipe)), kind }
    }

    /// What to wait for.
    pub(crate) fn interest(&self) -> PollFd {
        PollFd { fd: self.pipe.as_ref().map_or(-1, |pipe| pipe.as_raw_fd()), events: POLLIN, revents: 0 }
    }

    /// Sends what can be read at once, up to one frame.
    pub(crate) fn forward(&mut self, buffer: &mut [u8], channel: &mut Channel) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        let limit = buffer.len().min(MAX_REPORT);
        match pipe.read(&mut buffer[..limit])? {
            0 => self.pipe = None,
            count => channel.send_bytes(self.kind, &buffer[..count])?,
        }
        Ok(())
    }

    /// Sends what is left once all processes of the sandbox have ended. With the host's network a descriptor may have
    /// been handed to a process elsewhere, so the end of the pipe is not waited for.
    pub(crate) fn drain(&mut self, buffer: &mut [u8], channel: &mut Channel) -> io::Result<()> {
        loop {
            let mut entries = [self.interest()];
            poll(&mut entries, 0)?;
            if self.pipe.is_none() || entries[0].revents == 0 {
                return Ok(());
            }
            self.forward(buffer, channel)?;
        }
    }
}
