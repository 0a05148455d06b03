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
    time::Duration,
};

use rustix::fs::{MemfdFlags, SealFlags};

use crate::{Error, wire};

/// The program as the build script made it, or why it could not.
const PROGRAM: Result<&[u8], &str> = include!(concat!(env!("OUT_DIR"), "/program.rs"));

/// How long the monitor may take for what it does itself: far more than a loaded machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

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
        control.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
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

    /// Waits for the next report, for this long or for ever.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the time is over.
    pub(crate) fn receive(&self, patience: Option<Duration>) -> io::Result<Option<wire::Report>> {
        self.control.set_read_timeout(patience)?;
        Ok(wire::receive(&self.control, 0)?.map(|(report, _)| report))
    }

    pub(crate) fn send(&self, request: &wire::Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        wire::send(&self.control, request, descriptors)
    }

    /// Ends the process, if it has not ended, and tells how it did.
    pub(crate) fn end(&mut self) -> String {
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
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // Either may fail because it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program in a file without a name that nobody can change, made once.
fn program() -> Result<&'static OwnedFd, Error> {
    static SEALED: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(sealed) = SEALED.get() {
        return Ok(sealed);
    }
    let program = PROGRAM.map_err(Error::NotBuilt)?;
    let sealed = seal(program).map_err(|source| Error::Monitor { action: "put the monitor into memory", source })?;
    Ok(SEALED.get_or_init(|| sealed))
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
