//! Pruning, with an executor at hand for what only a user namespace can remove.

use std::path::Path;

use super::blocking;
use crate::{
    error::Error,
    executor::NamespaceExecutor,
    store::{self, PruneOptions, Pruned, Store},
};

/// Removes what nobody needs from the store at `root`, as [`store::prune`] does, layers that were unpacked for an
/// ordinary user included.
///
/// Needs a tokio runtime with I/O and time enabled.
///
/// # Errors
/// Fails when a build uses the store, and when something cannot be removed.
pub async fn prune(root: &Path, options: PruneOptions) -> Result<Pruned, Error> {
    let path = root.to_owned();
    let mut pruned = blocking(move || Ok(store::prune(&path, &options)?)).await?;
    if pruned.left.is_empty() {
        return Ok(pruned);
    }
    let path = root.to_owned();
    let (store, work) = blocking(move || {
        let store = Store::open(&path)?;
        let work = store.work_dir()?;
        Ok((store, work))
    })
    .await?;
    let executor = NamespaceExecutor::new(work.path());
    let mut left = Vec::new();
    for path in std::mem::take(&mut pruned.left) {
        if let Err(error) = executor.remove(&path).await {
            tracing::warn!(path = %path.display(), %error, "cannot remove an unpacked layer; the next build tries again");
            left.push(path);
        }
    }
    drop(store);
    Ok(Pruned { left, ..pruned })
}
