//! Sources on the network: files over HTTP, and git repositories.
//!
//! What is fetched goes into the store as a layer, without ever being unpacked on the host, and is then copied from
//! like any other tree. A record beside it tells whether the server still has the same: a URL is asked for with the
//! validators of its last answer, a git reference is resolved to its commit. A server that cannot be asked fails the
//! build, whatever the store has, unless the Dockerfile pins the content.

mod body;
mod client;
mod error;
#[cfg(feature = "git")]
mod git;
mod http;
mod location;

use hypr_squash::Overlay;

pub use self::error::RemoteError;
pub(crate) use self::{
    client::Client,
    location::{Location, check_commit, hide_password},
};
use crate::{context::Layers, snapshot::Layer, store::Store};

/// What a fetch is to be checked against, and what it is to bring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// `--checksum`: of a URL `sha256:` and the digest in hexadecimal, of a repository the commit.
    pub(crate) checksum: Option<String>,
    /// `--keep-git-dir`.
    pub(crate) keep_git_dir: bool,
}

/// What a location holds.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// A repository's files; of a URL one file alone.
    pub(crate) tree: Layers,
    /// Where the file of a URL is in the tree; empty for a repository.
    pub(crate) path: Vec<u8>,
    /// What a URL's file is called, where that can be told.
    pub(crate) name: Option<String>,
}

/// A layer that holds what was fetched.
#[derive(Debug)]
struct Kept {
    layer: Layer,
    path: Vec<u8>,
    name: Option<String>,
}

/// Fetches what `location` holds into the store, or finds that the store has it.
pub(crate) async fn fetch(
    client: &Client,
    store: &Store,
    location: &Location,
    wanted: &Wanted,
) -> Result<Fetched, RemoteError> {
    let Kept { layer, path, name } = match location {
        Location::Http(url) => http::fetch(client, store, url, wanted.checksum.as_deref()).await?,
        #[cfg(feature = "git")]
        Location::Git(location) => git::fetch(client, store, location, wanted).await?,
        #[cfg(not(feature = "git"))]
        Location::Git(location) => {
            return Err(RemoteError::WithoutGit { url: location.shown() });
        }
    };
    let store = store.clone();
    let tree = blocking(move || Ok(Layers::new(Overlay::new(vec![store.open_layer(&layer)?.into()])))).await?;
    Ok(Fetched { tree, path, name })
}

/// Runs what blocks off the async workers.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RemoteError> + Send + 'static,
) -> Result<T, RemoteError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(RemoteError::Cancelled),
    }
}
