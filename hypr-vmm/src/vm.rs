//! A running machine.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::FileExt, net::UnixStream},
    },
    time::{Duration, Instant},
};

use rustix::fs::{MemfdFlags, SealFlags};

use crate::{
    End, Ended, Error, Extent, Jail, VmBuilder,
    error::one_line,
    probe,
    program::{Monitor, PATIENCE, PATIENCE_AT_THE_END},
    wire::{CONSOLE, CONSOLE_KEPT as KEPT, MAX_DESCRIPTORS, Report, Request},
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
        let shared = console.try_clone().map_err(failed("make a console"))?;
        let monitor = Monitor::start()?;
        descriptors.insert(config.channel_position(), theirs.as_fd());
        let descriptors = [vec![kvm.as_fd(), shared.as_fd()], descriptors].concat();
        let mut vm = Self { monitor, channel: ours, console, jail: Jail::default() };
        let answer = vm.ask(&request, &descriptors);
        // The channel ends when the monitor does, which has the only other end from here on.
        drop(theirs);
        match answer? {
            Report::Running(jail) => vm.jail = jail,
            _ => return Err(vm.out_of_order()),
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
    /// [`Error::Extents`] when there is no such disk, it shows something already, or the extents overlap, are empty, not
    /// on the disk or more than 4096; the machine goes on as before. Anything else when the machine has ended or the
    /// monitor was lost.
    pub fn bind(&mut self, disk: usize, extents: &[Extent]) -> Result<(), Error> {
        let refused = |reason: &str| Error::Extents { disk, reason: one_line(reason) };
        if extents.len() > MAX_DESCRIPTORS {
            return Err(refused("a disk shows at most 4096 extents"));
        }
        let mut files = Vec::new();
        let extents = Extent::number(extents, &mut files);
        match self.ask(&Request::Bind { disk, extents }, &files)? {
            Report::Bound => Ok(()),
            Report::Refused(reason) => Err(refused(&reason)),
            _ => Err(self.out_of_order()),
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

    /// Ends the machine and tells what it did. Of one that does not end within a few seconds the monitor is killed.
    ///
    /// # Errors
    /// Fails when the monitor was lost.
    pub fn stop(&mut self) -> Result<Ended, Error> {
        self.stop_within(PATIENCE_AT_THE_END)
    }

    fn stop_within(&mut self, patience: Duration) -> Result<Ended, Error> {
        let deadline = Instant::now() + patience;
        // If it has ended by itself it does not listen, but has told.
        let _ = self.monitor.send(&Request::Stop, &[], deadline);
        self.ended(Some(deadline))
    }

    /// Waits until the machine ends by itself, and tells what it did.
    ///
    /// # Errors
    /// Fails when the monitor was lost.
    pub fn wait(&mut self) -> Result<Ended, Error> {
        self.ended(None)
    }

    fn ended(&mut self, deadline: Option<Instant>) -> Result<Ended, Error> {
        match self.hear(deadline)? {
            Word::Ended(ended) => Ok(ended),
            Word::Answer(_) => Err(self.out_of_order()),
        }
    }

    /// The answer to `request`.
    fn ask(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<Report, Error> {
        let deadline = Instant::now() + PATIENCE;
        match self.monitor.send(request, descriptors, deadline) {
            Err(source) if source.kind() == io::ErrorKind::InvalidInput => {
                return Err(Error::Monitor { action: "tell the monitor what to do", source });
            }
            // What it said before it went away tells more than that it is gone.
            _ => {}
        }
        match self.hear(Some(deadline))? {
            Word::Answer(report) => Ok(report),
            Word::Ended(ended) => Err(Error::Ended { ended: Box::new(ended), console: self.console() }),
        }
    }

    /// The monitor's next word. What it says may be a guest's.
    fn hear(&mut self, deadline: Option<Instant>) -> Result<Word, Error> {
        match self.monitor.receive(deadline) {
            Ok(Report::Failed { action, reason }) => {
                Err(Error::Setup { action: one_line(&action), reason: one_line(&reason) })
            }
            Ok(Report::Ended(mut ended)) => {
                if let End::Refused(reason) = &mut ended.end {
                    *reason = one_line(reason);
                }
                Ok(Word::Ended(ended))
            }
            Ok(report) => Ok(Word::Answer(report)),
            Err(unheard) => Err(unheard.into_error(self.console())),
        }
    }

    fn out_of_order(&mut self) -> Error {
        self.monitor.unruly("it spoke out of order").into_error(self.console())
    }
}

/// What the monitor says of itself.
#[derive(Debug)]
enum Word {
    /// The answer to what it was asked.
    Answer(Report),
    /// The last, whenever that is.
    Ended(Ended),
}

/// A file of a size that nobody can change.
fn make_console() -> io::Result<File> {
    let console = rustix::fs::memfd_create("hypr-console", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let console = File::from(console);
    console.set_len(CONSOLE)?;
    rustix::fs::fcntl_add_seals(&console, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW)?;
    Ok(console)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    /// A machine whose monitor says what the test says.
    fn puppet() -> (Vm, UnixStream) {
        let (monitor, theirs) = Monitor::puppet();
        let (channel, _) = UnixStream::pair().unwrap();
        (Vm { monitor, channel, console: make_console().unwrap(), jail: Jail::default() }, theirs)
    }

    #[test]
    fn a_monitor_that_does_not_stop_is_killed() {
        let (mut vm, _theirs) = puppet();
        let error = vm.stop_within(Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, Error::Silent { .. }) && vm.monitor.has_ended(), "{error}");
    }

    #[test]
    fn a_monitor_that_speaks_out_of_order_is_killed() {
        let (mut vm, theirs) = puppet();
        wire::send(&theirs, &Report::Unfit(String::new()), &[], None).unwrap();
        let error = vm.bind(0, &[]).unwrap_err();
        assert!(matches!(error, Error::Unruly { .. }) && vm.monitor.has_ended(), "{error}");
    }

    #[test]
    fn what_cannot_be_said_is_not_waited_for() {
        let (mut vm, _theirs) = puppet();
        let line = "x".repeat(8 << 20);
        let start = wire::Start { vcpus: 1, memory: 0, command_line: line, has_initramfs: false, disks: Vec::new() };
        assert!(matches!(vm.ask(&Request::Start(start), &[]), Err(Error::Monitor { .. })));
        let extent = Extent { start: 0, length: 1, file: std::sync::Arc::new(make_console().unwrap()), offset: 0 };
        assert!(matches!(vm.bind(0, &vec![extent; MAX_DESCRIPTORS + 1]), Err(Error::Extents { .. })));
        assert!(!vm.monitor.has_ended());
    }
}
