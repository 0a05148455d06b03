//! Sources of `ADD` that are on the network.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::try_join_all;

use super::{
    super::{Solver, error::StepError},
    place::Unpacked,
};
use crate::{
    context::{self, ContextError, Tree},
    plan::Copy,
    remote::{self, Fetched, Location},
};

/// A source that was fetched.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) tree: Arc<dyn Tree>,
    /// What is copied of the tree. A file without a name has none here either.
    pub(super) source: context::Source,
    /// For messages.
    pub(super) shown: String,
    /// What the archive that it is holds.
    pub(super) unpacked: Option<Unpacked>,
}

impl Solver {
    /// Fetches the remote sources of an `ADD`, side by side.
    pub(super) async fn remotes(&self, copy: &Copy) -> Result<BTreeMap<String, Remote>, StepError> {
        let fetching = copy.remotes.iter().map(|(source, location)| async move {
            let fetched = remote::fetch(&self.client, &self.store, location, &copy.wanted).await?;
            let Fetched { tree, path, name, .. } = fetched;
            let tree: Arc<dyn Tree> = Arc::new(tree);
            let shown = location.shown();
            let unpacked = match location {
                Location::Http(_) if copy.unpack.remote => self.unpacked_file(&tree, &path).await?,
                _ => None,
            };
            let looked = tree.clone();
            let entry = self.work(move || Ok(looked.lookup(&path)?)).await?;
            let entry = entry.ok_or_else(|| ContextError::NotFound { path: shown.clone() })?;
            let matched = name.map(String::into_bytes).unwrap_or_default();
            let remote = Remote { tree, source: context::Source { matched, entry }, shown, unpacked };
            Ok::<_, StepError>((source.clone(), remote))
        });
        Ok(try_join_all(fetching).await?.into_iter().collect())
    }
}
