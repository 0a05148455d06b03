//! SSH agents of the host that steps may ask.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

/// Where OpenSSH's programs find an agent.
pub(crate) const SSH_AUTH_SOCK: &str = "SSH_AUTH_SOCK";

/// The agent that a mount asks for which names none.
pub(crate) const DEFAULT_AGENT: &str = "default";

/// An SSH agent that `RUN --mount=type=ssh` shows to a step. The step can list its keys and have it sign; everything
/// else, such as adding, removing and locking keys, the agent is not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SshAgent {
    /// The one that `SSH_AUTH_SOCK` names.
    Environment,
    /// The one that listens on this Unix socket.
    Socket(PathBuf),
}

impl SshAgent {
    /// The agent's socket.
    ///
    /// # Errors
    /// Fails when there is none, or no socket.
    pub(crate) fn socket(&self) -> io::Result<PathBuf> {
        let path = match self {
            Self::Socket(path) => path.clone(),
            Self::Environment => match std::env::var_os(SSH_AUTH_SOCK).filter(|path| !path.is_empty()) {
                Some(path) => path.into(),
                None => {
                    return Err(io::Error::other(format!(
                        "{SSH_AUTH_SOCK} is not set; start an agent with `eval $(ssh-agent)` and `ssh-add`"
                    )));
                }
            },
        };
        check(&path)?;
        // A relative path means the same for as long as the build runs.
        std::path::absolute(path)
    }
}

fn check(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path).map_err(|error| {
        let kind = error.kind();
        io::Error::new(kind, format!("cannot find {}: {error}", path.display()))
    })?;
    match () {
        () if metadata.file_type().is_socket() => Ok(()),
        () if metadata.is_file() => Err(io::Error::other(format!(
            "{0} is a file and not the socket of an agent; hypr reads no private keys: add it to an agent with `ssh-add {0}`",
            path.display()
        ))),
        () => Err(io::Error::other(format!("{} is not the socket of an agent", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_is_an_agent() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, file, missing) =
            (folder.path().join("s"), folder.path().join("id_ed25519"), folder.path().join("m"));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        fs::write(&file, "").unwrap();
        assert_eq!(SshAgent::Socket(socket.clone()).socket().unwrap(), socket);
        for (path, part) in [(file, "ssh-add"), (missing, "cannot find"), (folder.path().into(), "is not the socket")] {
            let error = SshAgent::Socket(path).socket().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
