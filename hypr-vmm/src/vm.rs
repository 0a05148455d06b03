//! A running machine.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::FileExt, net::UnixStream},
    },
    time::Duration,
};

use rustix::fs::{MemfdFlags, SealFlags};

use crate::{
    End, Ended, Error, Extent, Jail, VmBuilder,
    error::one_line,
    probe,
    program::{Monitor, PATIENCE},
    wire::{CONSOLE, CONSOLE_KEPT as KEPT, Report, Request},
};

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
        let console = make_console().map_err(failed("make a console"))?;
        let monitor = Monitor::start()?;
        descriptors.insert(config.channel_position(), theirs.as_fd());
        let descriptors = [vec![kvm.as_fd(), console.as_fd()], descriptors].concat();
        let sent = monitor.send(&request, &descriptors);
        // The channel ends when the monitor does, which has the only other end from here on.
        drop(theirs);
        let mut vm = Self { monitor, channel: ours, console, jail: Jail::default() };
        if sent.is_err() {
            // What it said before it went away tells more than that it is gone.
            return Err(vm.answer(Some(PATIENCE)).err().unwrap_or_else(out_of_order));
        }
        match vm.answer(Some(PATIENCE))? {
            Report::Running(jail) => vm.jail = jail,
            _ => return Err(out_of_order()),
        }
        Ok(vm)
    }

    /// The host's end of the channel, `/dev/vport0p0` in the guest. Reading ends once the guest has closed its port and
    /// all that it wrote has been read, or the machine has ended.
    ///
    /// A port has no halves: the guest does not see that this end is shut down for writing, so what is said has to tell
    /// where it ends.
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
        match self.answer(Some(PATIENCE))? {
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
        self.ended(Some(PATIENCE))
    }

    /// Waits until the machine ends by itself, and tells what it did.
    ///
    /// # Errors
    /// Fails when the monitor was lost.
    pub fn wait(&mut self) -> Result<Ended, Error> {
        self.ended(None)
    }

    fn ended(&mut self, patience: Option<Duration>) -> Result<Ended, Error> {
        match self.answer(patience) {
            Err(Error::Ended { ended, .. }) => Ok(*ended),
            Ok(_) => Err(out_of_order()),
            Err(error) => Err(error),
        }
    }

    fn ask(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        match self.monitor.send(request, descriptors) {
            Ok(()) => Ok(()),
            // What it said before it went away tells more than that it is gone.
            Err(_) => Err(self.answer(Some(PATIENCE)).err().unwrap_or_else(out_of_order)),
        }
    }

    /// The monitor's next word. What it says may be a guest's.
    fn answer(&mut self, patience: Option<Duration>) -> Result<Report, Error> {
        match self.monitor.receive(patience) {
            Ok(Some(Report::Failed { action, reason })) => {
                Err(Error::Setup { action: one_line(&action), reason: one_line(&reason) })
            }
            Ok(Some(Report::Ended(mut ended))) => {
                if let End::Refused(reason) = &mut ended.end {
                    *reason = one_line(reason);
                }
                Err(Error::Ended { ended: Box::new(ended), console: self.console() })
            }
            Ok(Some(report)) => Ok(report),
            Ok(None) | Err(_) => {
                let status = self.monitor.end();
                Err(Error::Lost { status, console: self.console() })
            }
        }
    }
}

/// A file of a size that nobody can change.
fn make_console() -> io::Result<File> {
    let console = rustix::fs::memfd_create("hypr-console", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let console = File::from(console);
    console.set_len(CONSOLE)?;
    rustix::fs::fcntl_add_seals(&console, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW)?;
    Ok(console)
}

fn out_of_order() -> Error {
    Error::Monitor { action: "understand the monitor", source: io::Error::other("it spoke out of order") }
}
