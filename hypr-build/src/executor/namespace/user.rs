//! Work that needs a user namespace: what an unprivileged user's sandboxes stand on.
//!
//! Files of a layer belong to many users. An unprivileged user makes and removes such files in a user namespace, where
//! an agent does it for them and ends.

use std::{
    fs,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::Path,
    process::Child,
    time::Duration,
};

use rustix::fs::{Mode, OFlags};

use super::{
    NAME, descriptors,
    idmap::{self, IdMapError, IdMaps},
};
use crate::executor::{
    ExecutorError,
    agent::Agent,
    capabilities::{Capabilities, Capability},
    protocol::{self, HEADER, MAX_REPORT, Report, Request},
    session,
};

/// How long the agent may take to answer when it has nothing to do but that, or to remove a large tree.
const PATIENCE: Duration = Duration::from_secs(600);

/// Whether this process may mount what it wants, which takes more than to be called root: a container's root has fewer
/// capabilities, or has them over a part of the host's ids alone.
pub(crate) fn is_root_of_the_host() -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    has_host_rights(&read("/proc/self/status"), &read("/proc/self/uid_map"))
}

fn has_host_rights(status: &str, uid_map: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    let admin = bits & Capabilities::of(&[Capability::SysAdmin]).bits() != 0;
    admin && uid_map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// What makes user namespaces for this user.
#[derive(Debug)]
pub(crate) struct UserNamespaces {
    maps: IdMaps,
}

impl UserNamespaces {
    /// Finds out whether this user can have any, and which ids they have.
    ///
    /// # Errors
    /// [`ExecutorError::Unavailable`] says what is missing and the way out.
    pub(crate) fn discover() -> Result<Self, ExecutorError> {
        match idmap::forbidden() {
            Some(reason) => Err(ExecutorError::Unavailable { executor: NAME, reason }),
            None => Ok(Self { maps: IdMaps::of_this_user() }),
        }
    }

    /// Gives the user namespace of an agent its ids.
    ///
    /// # Errors
    /// Fails when they cannot be mapped.
    pub(crate) fn map_ids(&self, agent: u32) -> Result<(), ExecutorError> {
        self.maps.write(agent).map_err(|error| {
            let failed =
                |source: io::Error| ExecutorError::Setup { action: "map user and group ids".to_owned(), source };
            match error {
                IdMapError::Start { .. } | IdMapError::Refused { .. } => failed(io::Error::other(error.to_string())),
                IdMapError::Write { source, .. } => failed(source),
            }
        })
    }

    /// Why a step cannot run as this user with these groups, if so.
    pub(crate) fn lacks(&self, uid: u32, gid: u32, groups: &[u32]) -> Option<String> {
        let missing = self.maps.first_missing(uid, gid, groups)?;
        Some(format!("the step runs as {missing}, which is not among the ids of this user: {}", IdMaps::MORE))
    }

    /// Says more about an error that comes of a setting of the machine's.
    pub(crate) fn explain(&self, error: ExecutorError) -> ExecutorError {
        match (&error, idmap::restricted()) {
            (ExecutorError::Setup { source, .. }, Some(reason)) if source.kind() == io::ErrorKind::PermissionDenied => {
                ExecutorError::Unavailable { executor: NAME, reason: format!("{reason} ({error}: {source})") }
            }
            _ => error,
        }
    }

    /// Unpacks the archive that `write` produces into the empty directory `target`. `what` it is appears in errors.
    ///
    /// # Errors
    /// Fails when `write` does, or an entry cannot be made.
    pub(crate) fn unpack(
        &self,
        agent: &Agent,
        target: &Path,
        what: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), ExecutorError> {
        let failed = |source| ExecutorError::Setup { action: format!("unpack {what}"), source };
        let directory = open_directory(target).map_err(failed)?;
        // Not a pipe: writing to one whose reader has gone raises a signal.
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut helper = Helper::start(agent)?;
        helper.ask(&Request::Unpack, vec![directory, theirs.into()], self)?;
        let mut archive = Archive { stream: ours, is_refused: false };
        let written = write(&mut archive);
        let is_refused = archive.is_refused;
        // The end of the archive, be it whole or not.
        drop(archive);
        match (helper.finish(), written) {
            // An archive that was cut off here makes the agent complain of that alone.
            (_, Err(error)) if !is_refused => Err(failed(error)),
            (Ok(()), Err(error)) => Err(failed(error)),
            (said, _) => said,
        }
    }

    /// Removes whatever is at `path`.
    ///
    /// # Errors
    /// Fails when something is in the way of that.
    pub(crate) fn remove(&self, agent: &Agent, path: &Path) -> Result<(), ExecutorError> {
        let failed = |source| ExecutorError::Setup { action: format!("remove {}", path.display()), source };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(failed(io::ErrorKind::InvalidInput.into()));
        };
        let parent = open_directory(parent).map_err(failed)?;
        let mut helper = Helper::start(agent)?;
        helper.ask(&Request::Remove(name.as_bytes().to_vec()), vec![parent], self)?;
        helper.finish()
    }
}

/// An archive on its way to an agent.
struct Archive {
    stream: UnixStream,
    /// Whether the agent has stopped reading.
    is_refused: bool,
}

impl Write for Archive {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes).inspect_err(|_| self.is_refused = true)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An agent that does one thing and ends.
struct Helper {
    agent: Child,
    channel: Option<UnixStream>,
}

impl Helper {
    fn start(agent: &Agent) -> Result<Self, ExecutorError> {
        let failed = |source| ExecutorError::Setup { action: "start the agent".to_owned(), source };
        let (agent, channel) = agent.start().map_err(failed)?;
        let mut helper = Self { agent, channel: Some(channel) };
        helper.stream()?.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        match helper.receive()? {
            Report::Hello(protocol::VERSION) => Ok(helper),
            _ => Err(lost("its agent speaks another protocol")),
        }
    }

    /// Asks for something and sees to it that the agent can begin.
    fn ask(
        &mut self,
        request: &Request,
        descriptors: Vec<OwnedFd>,
        namespaces: &UserNamespaces,
    ) -> Result<(), ExecutorError> {
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let count = u32::try_from(borrowed.len()).unwrap_or(u32::MAX);
        let gone = |error: io::Error| lost(&format!("its agent does not listen: {error}"));
        let stream = self.stream()?;
        descriptors::send_blocking(stream, &Request::Descriptors(count).encode(), &borrowed).map_err(gone)?;
        stream.write_all(&request.encode()).map_err(gone)?;
        match self.receive()? {
            Report::MapIds => namespaces.map_ids(self.agent.id())?,
            _ => return Err(lost("its agent spoke out of order")),
        }
        self.stream()?.write_all(&Request::IdsMapped.encode()).map_err(gone)
    }

    fn finish(mut self) -> Result<(), ExecutorError> {
        match self.receive()? {
            Report::Done => Ok(()),
            _ => Err(lost("its agent spoke out of order")),
        }
    }

    fn receive(&mut self) -> Result<Report, ExecutorError> {
        let unreadable = |error: io::Error| lost(&format!("its agent cannot be heard: {error}"));
        let malformed = |error: protocol::Malformed| lost(&format!("its agent sent {error}"));
        let stream = self.stream()?;
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).map_err(unreadable)?;
        let (kind, length) = protocol::parse_header(header, MAX_REPORT).map_err(malformed)?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).map_err(unreadable)?;
        match Report::decode(kind, &body).map_err(malformed)? {
            Report::Failed(failure) => Err(session::failed(failure)),
            report => Ok(report),
        }
    }

    fn stream(&mut self) -> Result<&mut UnixStream, ExecutorError> {
        self.channel.as_mut().ok_or_else(|| lost("its agent has gone"))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // The end of the channel is what an agent ends at.
        drop(self.channel.take());
        if let Err(error) = self.agent.wait() {
            tracing::warn!("cannot wait for an agent: {error}");
        }
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?)
}

fn lost(what: &str) -> ExecutorError {
    ExecutorError::Lost(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_of_a_container_is_not_root_of_the_host() {
        let whole = "         0          0 4294967295\n";
        for (capabilities, uid_map, expected) in [
            ("000001ffffffffff", whole, true),
            ("00000000a80425fb", whole, false),
            ("0000000000000000", whole, false),
            ("000001ffffffffff", "         0     100000      65536\n", false),
        ] {
            let status = format!("Name:\thypr\nCapInh:\t0000000000000000\nCapEff:\t{capabilities}\n");
            assert_eq!(has_host_rights(&status, uid_map), expected, "{capabilities} {uid_map}");
        }
        assert!(!has_host_rights("", ""));
    }
}
