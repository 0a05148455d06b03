//! Why a step could not be carried out.

use std::io;

use super::user::UserError;
use crate::{
    context::ContextError,
    executor::ExecutorError,
    remote::RemoteError,
    secret::Leaked,
    store::{StoreError, is_full},
};

/// Why a step of the build graph could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The process ended with a status other than zero.
    #[error("exited with status {0}")]
    Status(u8),
    /// The sandbox failed.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The plan has a `RUN` and the builder no way to run it.
    #[error("there is no executor to run commands with")]
    NoExecutor,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer could not be read or written.
    #[error("cannot read or write a layer")]
    Squash(#[source] hypr_squash::Error),
    /// The store's file system is full.
    #[error("no space left for the step's layer; free some, or name another store with --root")]
    Full(#[source] hypr_squash::Error),
    /// The process's changes are not a layer.
    #[error("cannot take the step's changes")]
    Changes(#[source] hypr_squash::Error),
    /// The build context failed.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// `USER` or `--chown` names somebody the image does not know.
    #[error(transparent)]
    User(#[from] UserError),
    /// `--exclude` is no pattern.
    #[error("`--exclude={0}` is not a pattern")]
    Exclude(String),
    /// A path of the image leads nowhere.
    #[error("cannot use `{path}` in the image: {reason}")]
    Path {
        /// As far as it could be followed.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Part of a path in the image is not a directory.
    #[error("cannot make `{0}` in the image: it exists and is not a directory")]
    NotDirectory(String),
    /// A file would take a directory's place.
    #[error("cannot put a file at `{0}`: it is a directory in the image")]
    IsDirectory(String),
    /// Several sources matched and the destination is not a directory.
    #[error(
        "`{pattern}` matches {count} files; several sources need a directory as destination: end `{destination}` with a slash"
    )]
    ManySources {
        /// As written.
        pattern: String,
        /// How many it matches.
        count: usize,
        /// As written.
        destination: String,
    },
    /// An archive that `ADD` unpacks is not well formed.
    #[error("cannot unpack `{path}`")]
    Unpack {
        /// The source.
        path: String,
        /// What is wrong with it.
        source: hypr_squash::Error,
    },
    /// A source on the network could not be had.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A file was written to while it was being copied.
    #[error("`{0}` changed while it was being copied; build again when it is at rest")]
    Changed(String),
    /// A secret that a step requires was not given.
    #[error(
        "the step requires the secret `{id}`; give it with `--secret id={id},src=FILE` or `--secret id={id},env=NAME`"
    )]
    NoSecret {
        /// As the mount names it.
        id: String,
    },
    /// A secret could not be read.
    #[error("cannot read the secret `{id}`")]
    Secret {
        /// As the mount names it.
        id: String,
        /// Why not; nothing of the content.
        source: io::Error,
    },
    /// The step's changes hold one of its secrets.
    #[error(
        "the step wrote one of its secrets into the image, where everybody who has the image can read it; keep it in /run/secrets or in a variable"
    )]
    Leaked,
    /// A step requires an SSH agent.
    #[error("the step requires the SSH agent `{id}`; give it with `--ssh {id}` or `--ssh {id}=SOCKET`")]
    NoSshAgent {
        /// As the mount names it.
        id: String,
    },
    /// What a mount shows is not there.
    #[error("`{path}`, the source of a mount, does not exist")]
    MountSource {
        /// As written.
        path: String,
    },
    /// A cache cannot start with what it is to start with.
    #[error("the cache `{id}` cannot start with a source that is no directory or whose name is not UTF-8")]
    CacheSource {
        /// The cache.
        id: String,
    },
    /// The process wrote to the change stream's other end what could not be read.
    #[error("cannot set up the step")]
    Io(#[from] io::Error),
    /// The build was given up while the step ran.
    #[error("the build was cancelled")]
    Cancelled,
}

impl From<hypr_squash::Error> for StepError {
    fn from(error: hypr_squash::Error) -> Self {
        if is_full(&error) { Self::Full(error) } else { Self::Squash(error) }
    }
}

impl StepError {
    /// A process's changes that could not be made a layer.
    pub(super) fn changes(error: hypr_squash::Error) -> Self {
        match () {
            () if is_full(&error) => Self::Full(error),
            () if is_leak(&error) => Self::Leaked,
            () => Self::Changes(error),
        }
    }
}

/// Whether a secret that came by is at the bottom of `error`.
fn is_leak(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(cause) = error {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<Leaked>()) {
            return true;
        }
        error = cause.source();
    }
    false
}
