//! The agent's program and starting it.

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, Stdio},
};

use rustix::fs::{MemfdFlags, SealFlags};

use super::ExecutorError;

/// The program as the build script made it, or why it could not.
const PROGRAM: Result<&[u8], &str> = include!(concat!(env!("OUT_DIR"), "/agent.rs"));

/// The agent's program.
///
/// # Errors
/// Says why hypr was built without it.
pub(super) fn program() -> Result<&'static [u8], String> {
    PROGRAM.map_err(|reason| format!("hypr was built without its agent: {reason}"))
}

/// The agent's program in a file without a name that nobody can change.
#[derive(Debug)]
pub(crate) struct Agent {
    program: OwnedFd,
}

impl Agent {
    /// Puts the program into memory, for the executor of this name.
    ///
    /// # Errors
    /// Fails when hypr was built without an agent, or the system does not let programs be run from memory.
    pub(crate) fn load(executor: &'static str) -> Result<Self, ExecutorError> {
        let unavailable = |reason| ExecutorError::Unavailable { executor, reason };
        let sealed = seal(program().map_err(unavailable)?).map_err(|error| {
            unavailable(format!("the agent cannot be put into a memory file ({error}); see the sysctl vm.memfd_noexec"))
        })?;
        Ok(Self { program: sealed })
    }

    /// Starts an agent; returns it with hypr's end of the channel to it.
    ///
    /// # Errors
    /// Fails when no process can be started.
    pub(crate) fn start(&self) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        // The path is the child's own: it has the same descriptors until the program replaces it.
        let child = Command::new(format!("/proc/self/fd/{}", self.program.as_fd().as_raw_fd()))
            .arg0("hypr-agent")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok((child, ours))
    }
}

fn seal(program: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match rustix::fs::memfd_create("hypr-agent", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 every memory file may be executed, and the flag is unknown.
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create("hypr-agent", flags)?,
        other => other?,
    };
    let mut file = File::from(file);
    file.write_all(program)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}
