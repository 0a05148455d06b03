//! `COPY` and `ADD`.
//!
//! First the layer is arranged from metadata alone ([`place`]); that is the cache key. On a miss it is packed, each file
//! read once on the way into the layer ([`pack`]).

mod archive;
mod pack;
mod parents;
mod place;
mod remote;

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::SetOnce;

use self::place::Placed;
pub(super) use self::place::{Placement, Trees};
use super::{Solved, Solver, error::StepError, ground::Ground, key};
use crate::{
    context::{BadPattern, Ignore, Layers, Tree},
    plan::{Copy, Files, Step, Unpack},
    progress::Event,
    snapshot::Snapshot,
};

impl Solver {
    pub(super) async fn copy(
        &self,
        step: &Step,
        copy: &Copy,
        parent: Snapshot,
        done: &[SetOnce<Solved>],
    ) -> Result<Solved, StepError> {
        let tree = self.tree(copy, done).await?;
        let unpacked = match &tree {
            Some(tree) if copy.unpack.local => {
                let local = copy.sources.iter().filter(|source| !copy.remotes.contains_key(*source));
                self.archives(tree.clone(), local.cloned().collect()).await?
            }
            _ => BTreeMap::new(),
        };
        let remotes = self.remotes(copy).await?;
        let exclude = match &copy.exclude[..] {
            [] => None,
            patterns => Some(
                Ignore::new(patterns.iter().map(String::as_str))
                    .map_err(|BadPattern { pattern, .. }| StepError::Exclude(pattern))?,
            ),
        };
        let placement = Placement {
            inline: copy.inline.clone(),
            chown: copy.chown.clone(),
            mode: copy.chmod.as_ref().map(|chmod| chmod.mode.clone()),
            exclude,
            link: copy.link,
            parents: copy.parents,
            remotes,
            unpacked,
            ..Placement::new(copy.sources.clone(), copy.destination.clone())
        };
        let source_name = tree.as_ref().and_then(|tree| tree.name());
        let (ground, source) = (Ground::new(self.overlay(&parent).await?), tree.clone());
        let Placed { arrangement, trees, unmatched } = self.work(move || placement.arrange(ground, source)).await?;
        let is_add = copy.unpack != Unpack::default() || !copy.remotes.is_empty();
        let key = key::arranged(self, if is_add { "add" } else { "copy" }, &arrangement);
        for pattern in unmatched {
            let message = format!("`{pattern}` matches no file");
            self.sink.event(Event::Warning { line: Some(step.info.line), message });
        }
        let lender = key::lender(&step.info.text, source_name);
        self.explain_files(step, &key, &arrangement, &lender).await?;
        self.cached(step, parent, key, None, || self.make(arrangement, trees, Some(lender))).await
    }

    /// The tree that the step copies from; `None` for a build without a context.
    async fn tree(&self, copy: &Copy, done: &[SetOnce<Solved>]) -> Result<Option<Arc<dyn Tree>>, StepError> {
        Ok(match &copy.from {
            Files::Context => self.context.clone(),
            Files::Named(name) => self.named.get(name).cloned(),
            Files::Tree(origin) => {
                let tree = Layers::new(self.overlay(&self.snapshot(origin, done)).await?);
                Some(Arc::new(tree) as Arc<dyn Tree>)
            }
        })
    }
}
