//! Why something on the network could not be had.

use crate::store::{StoreError, is_full};

/// Why a URL or a git repository could not be fetched. Passwords are left out of the URLs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// There is no answer.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the connection came to.
        reason: String,
    },
    /// The answer is a refusal.
    #[error("{url} answers {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// Code and reason: `404 Not Found`.
        status: String,
    },
    /// The transfer ended early.
    #[error("the transfer of {url} broke off after {received} bytes: {reason}")]
    CutOff {
        /// What was asked for.
        url: String,
        /// How much came.
        received: u64,
        /// What the connection came to.
        reason: String,
    },
    /// There is more than may be taken.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The bound.
        limit: u64,
    },
    /// There is no room for it.
    #[error("no space left for {url}{}", .size.map(|size| format!(" of {size} bytes")).unwrap_or_default())]
    Full {
        /// What was asked for.
        url: String,
        /// Its size, where the server tells it.
        size: Option<u64>,
    },
    /// The content is not what the Dockerfile says.
    #[error("{url} is {found}, but --checksum asks for {expected}")]
    Checksum {
        /// What was asked for.
        url: String,
        /// As written.
        expected: String,
        /// Of what came.
        found: String,
    },
    /// A file for a directory, and nothing tells its name.
    #[error("nothing tells what the file from {url} is called; give a destination without a slash at its end")]
    NoName {
        /// What was asked for.
        url: String,
    },
    /// A git repository could not be read.
    #[error("cannot get the git repository {url}: {reason}")]
    Git {
        /// The repository.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("the git repository {url} has no branch, tag or commit `{reference}`")]
    NoReference {
        /// The repository.
        url: String,
        /// As asked for.
        reference: String,
    },
    /// The commit has no such directory.
    #[error("commit {commit} of the git repository {url} has no directory `{directory}`")]
    NoDirectory {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
        /// As asked for.
        directory: String,
    },
    /// Git support was left out of the program.
    #[error("cannot get the git repository {url}: this hypr was compiled without the feature `git`")]
    WithoutGit {
        /// The repository.
        url: String,
    },
    /// What came could not be kept.
    #[error("cannot keep what came from {url}")]
    Keep {
        /// What was asked for.
        url: String,
        /// Why not.
        source: hypr_squash::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the store could not be opened.
    #[error("cannot open a file of the store")]
    Io(#[from] std::io::Error),
    /// The build was given up in the meantime.
    #[error("the build was cancelled")]
    Cancelled,
}

impl RemoteError {
    /// What came from `url` could not be written.
    pub(super) fn keep(url: &str, source: hypr_squash::Error) -> Self {
        match is_full(&source) {
            true => Self::Full { url: url.to_owned(), size: None },
            false => Self::Keep { url: url.to_owned(), source },
        }
    }
}
