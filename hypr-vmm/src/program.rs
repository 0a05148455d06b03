//! The monitor's program and its process.

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use rustix::fs::{MemfdFlags, SealFlags};

use crate::{
    Error,
    error::one_line,
    wire::{self, Report, Request},
};

/// The program as the build script made it, or why it could not.
const PROGRAM: Result<&[u8], &str> = include!(concat!(env!("OUT_DIR"), "/program.rs"));

/// How long the monitor may take for what it does itself: far more than a loaded machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to end the machine, which is killed then.
pub(crate) const PATIENCE_AT_THE_END: Duration = Duration::from_secs(10);

/// The monitor's process, which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Monitor {
    process: Child,
    control: UnixStream,
}

impl Monitor {
    /// Starts the program, from memory.
    ///
    /// # Errors
    /// Fails when the library was built without it, or no process can be started.
    pub(crate) fn start() -> Result<Self, Error> {
        let failed = |source| Error::Monitor { action: "start the monitor", source };
        let program = program()?;
        let (control, theirs) = UnixStream::pair().map_err(failed)?;
        // The path is the child's own: it has the same descriptors until the program replaces it.
        let process = Command::new(format!("/proc/self/fd/{}", program.as_fd().as_raw_fd()))
            .arg0("hypr-monitor")
            .env_clear()
            .current_dir("/")
            // What a terminal sends to its processes is for the library's program to act on.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Self { process, control })
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the next report, until the deadline or for ever. Without one the process is ended.
    ///
    /// # Errors
    /// Says why there is none.
    pub(crate) fn receive(&mut self, deadline: Option<Instant>) -> Result<Report, Unheard> {
        match wire::receive(&self.control, 0, deadline) {
            Ok(Some((report, _))) => Ok(report),
            Ok(None) => Err(Unheard::Gone { status: self.end() }),
            Err(error) => match error.kind() {
                io::ErrorKind::TimedOut => {
                    self.kill();
                    Err(Unheard::Silent)
                }
                io::ErrorKind::InvalidData => Err(self.unruly(&error.to_string())),
                _ => Err(Unheard::Gone { status: self.end() }),
            },
        }
    }

    /// Ends a process that said what it may not say.
    pub(crate) fn unruly(&mut self, what: &str) -> Unheard {
        self.kill();
        Unheard::Unruly(one_line(what))
    }

    /// Tells it something, until the deadline.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when it was told nothing since it is too much.
    pub(crate) fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>], deadline: Instant) -> io::Result<()> {
        wire::send(&self.control, request, descriptors, Some(deadline))
    }

    /// Ends the process, if it has not ended, and tells how it did.
    fn end(&mut self) -> String {
        if let Ok(Some(status)) = self.process.try_wait() {
            return status.to_string();
        }
        // One that closed its socket is about to end by itself, unless a guest has taken it over.
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        for _ in 0..100 {
            if let Ok(Some(status)) = self.process.try_wait() {
                return status.to_string();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        self.process.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
    }

    fn kill(&mut self) {
        // Either may fail because it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Why there is no report.
#[derive(Debug)]
pub(crate) enum Unheard {
    /// The time was over.
    Silent,
    /// The monitor said what it may not say.
    Unruly(String),
    /// Its process has ended.
    Gone {
        /// How.
        status: String,
    },
}

impl Unheard {
    /// The error, with the newest of what the kernel printed.
    pub(crate) fn into_error(self, console: String) -> Error {
        match self {
            Self::Silent => Error::Silent { console },
            Self::Unruly(what) => Error::Unruly { what, console },
            Self::Gone { status } => Error::Lost { status, console },
        }
    }
}

/// The program in a file without a name that nobody can change, made once.
fn program() -> Result<&'static OwnedFd, Error> {
    static SEALED: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(sealed) = SEALED.get() {
        return Ok(sealed);
    }
    let program = PROGRAM.map_err(Error::NotBuilt)?;
    let sealed = seal(program).map_err(not_in_memory)?;
    Ok(SEALED.get_or_init(|| sealed))
}

fn not_in_memory(source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::PermissionDenied => Error::FromMemory(source),
        _ => Error::Monitor { action: "put the monitor into memory", source },
    }
}

fn seal(program: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match rustix::fs::memfd_create("hypr-monitor", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 every memory file may be executed, and the flag is unknown.
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create("hypr-monitor", flags)?,
        other => other?,
    };
    let mut file = File::from(file);
    file.write_all(program)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Monitor {
        /// A process that does nothing, and the socket that it is heard by.
        pub(crate) fn puppet() -> (Self, UnixStream) {
            let (control, theirs) = UnixStream::pair().unwrap();
            let process = Command::new("sleep").arg("3600").stdin(Stdio::null()).spawn().unwrap();
            (Self { process, control }, theirs)
        }

        /// Whether it has been ended.
        pub(crate) fn has_ended(&mut self) -> bool {
            self.process.try_wait().unwrap().is_some()
        }
    }

    #[test]
    fn what_a_monitor_that_was_taken_over_may_do_is_told_apart_and_ends_it() {
        let (mut monitor, _theirs) = Monitor::puppet();
        let soon = Instant::now() + Duration::from_millis(50);
        assert!(matches!(monitor.receive(Some(soon)), Err(Unheard::Silent)) && monitor.has_ended());
        let (mut monitor, mut theirs) = Monitor::puppet();
        theirs.write_all(&[0xff; 8]).unwrap();
        assert!(matches!(monitor.receive(None), Err(Unheard::Unruly(_))) && monitor.has_ended());
        let (mut monitor, mut theirs) = Monitor::puppet();
        theirs.write_all(b"\x02\0\0\0\0\0\0\0{}").unwrap();
        assert!(matches!(monitor.receive(None), Err(Unheard::Unruly(_))) && monitor.has_ended());
        let (mut monitor, mut theirs) = Monitor::puppet();
        theirs.write_all(b"\x02\0\0\0\0\0\0\0{").unwrap();
        drop(theirs);
        assert!(matches!(monitor.receive(None), Err(Unheard::Gone { .. })), "it ended amid a word");
        let (mut monitor, theirs) = Monitor::puppet();
        monitor.process.kill().unwrap();
        monitor.process.wait().unwrap();
        drop(theirs);
        match monitor.receive(None) {
            Err(Unheard::Gone { status }) => assert!(status.contains("signal: 9"), "{status}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_may_not_start_programs_from_memory_is_told_of_the_setting() {
        let error = not_in_memory(rustix::io::Errno::ACCESS.into());
        assert!(error.to_string().contains("vm.memfd_noexec"), "{error}");
        assert!(matches!(not_in_memory(rustix::io::Errno::NOMEM.into()), Error::Monitor { .. }));
    }
}
