//! A running machine.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::FileExt, net::UnixStream},
    },
};

use crate::{
    Ended, Error, Extent, Jail, VmBuilder, probe,
    program::Monitor,
    wire::{self, Report, Request},
};

/// Bytes of the newest console output that are kept, after eight bytes that count all of it.
const KEPT: u64 = 64 << 10;

/// A running machine. It ends, at once and without a trace, when this is dropped.
#[derive(Debug)]
pub struct Vm {
    monitor: Monitor,
    channel: UnixStream,
    console: File,
    jail: Jail,
}

impl Vm {
    /// Describes a machine that boots `kernel`: an ELF file with a PVH entry (see [`kernel::open`](crate::kernel::open))
    /// or a bzImage.
    pub fn builder(kernel: File) -> VmBuilder {
        VmBuilder::new(kernel)
    }

    pub(crate) fn start(mut config: VmBuilder) -> Result<Self, Error> {
        let failed = |action| move |source| Error::Monitor { action, source };
        let kvm = probe::open()?;
        config.reopen().map_err(failed("open the kernel"))?;
        let (request, mut descriptors) = config.request()?;
        let (ours, theirs) = UnixStream::pair().map_err(failed("make a channel"))?;
        let console = rustix::fs::memfd_create("hypr-console", rustix::fs::MemfdFlags::CLOEXEC);
        let console = File::from(console.map_err(|errno| failed("make a console")(errno.into()))?);
        let monitor = Monitor::start()?;
        descriptors.insert(config.channel_position(), theirs.as_fd());
        let descriptors = [vec![kvm.as_fd(), console.as_fd()], descriptors].concat();
        let sent = monitor.send(&request, &descriptors);
        // The channel ends when the monitor does, which has the only other end from here on.
        drop(theirs);
        let mut vm = Self { monitor, channel: ours, console, jail: Jail::default() };
        if sent.is_err() {
            // What it said before it went away tells more than that it is gone.
            return Err(vm.answer().err().unwrap_or_else(out_of_order));
        }
        match vm.answer()? {
            Report::Running(jail) => vm.jail = jail,
            _ => return Err(out_of_order()),
        }
        Ok(vm)
    }

    /// The host's end of the channel, `/dev/vport0p0` in the guest. It ends when the machine does.
    pub fn channel(&mut self) -> &mut UnixStream {
        &mut self.channel
    }

    /// Shows `extents` on the disk of this number, which must have been [unbound](crate::Disk::unbound) and can be
    /// bound once.
    ///
    /// # Errors
    /// Fails when the extents overlap or are not on the disk, or the machine has ended.
    pub fn bind(&mut self, disk: usize, extents: &[Extent]) -> Result<(), Error> {
        let mut files = Vec::new();
        let extents = Extent::number(extents, &mut files);
        self.ask(&Request::Bind { disk, extents }, &files)?;
        match self.answer()? {
            Report::Bound => Ok(()),
            _ => Err(out_of_order()),
        }
    }

    /// Which parts of the monitor's jail are closed.
    pub fn jail(&self) -> Jail {
        self.jail
    }

    /// The process that runs the machine.
    pub fn process_id(&self) -> u32 {
        self.monitor.process_id()
    }

    /// The newest output of the kernel's console, at most 64 KiB; what is no text is replaced.
    pub fn console(&self) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut written = [0; 8];
            self.console.read_exact_at(&mut written, 0)?;
            let written = u64::from_le_bytes(written);
            let kept = written.min(KEPT);
            let mut ring = vec![0; usize::try_from(kept).map_err(io::Error::other)?];
            let _ = self.console.read_at(&mut ring, 8)?;
            if written > KEPT {
                let oldest = usize::try_from(written % KEPT).map_err(io::Error::other)?;
                ring.rotate_left(oldest);
            }
            Ok(ring)
        };
        // A console that nothing was written to yet is empty.
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }

    /// Ends the machine and tells what it did.
    ///
    /// # Errors
    /// Fails when the monitor was lost.
    pub fn stop(&mut self) -> Result<Ended, Error> {
        // If it has ended by itself it does not listen, but has told.
        let _ = self.monitor.send(&Request::Stop, &[]);
        self.ended()
    }

    /// Waits until the machine ends by itself, and tells what it did.
    ///
    /// # Errors
    /// Fails when the monitor was lost.
    pub fn wait(&mut self) -> Result<Ended, Error> {
        self.ended()
    }

    fn ended(&mut self) -> Result<Ended, Error> {
        match self.answer() {
            Err(Error::Ended { ended, .. }) => Ok(*ended),
            Ok(_) => Err(out_of_order()),
            Err(error) => Err(error),
        }
    }

    fn ask(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        match self.monitor.send(request, descriptors) {
            Ok(()) => Ok(()),
            // What it said before it went away tells more than that it is gone.
            Err(_) => Err(self.answer().err().unwrap_or_else(out_of_order)),
        }
    }

    fn answer(&mut self) -> Result<Report, Error> {
        match wire::receive(self.monitor.control(), 0) {
            Ok(Some((Report::Failed { action, reason }, _))) => Err(Error::Setup { action, reason }),
            Ok(Some((Report::Ended(ended), _))) => {
                Err(Error::Ended { ended: Box::new(ended), console: self.console() })
            }
            Ok(Some((report, _))) => Ok(report),
            Ok(None) | Err(_) => {
                let status = self.monitor.end();
                Err(Error::Lost { status, console: self.console() })
            }
        }
    }
}

fn out_of_order() -> Error {
    Error::Monitor { action: "understand the monitor", source: io::Error::other("it spoke out of order") }
}
