//! Deep stacks made shallow for mounting.
//!
//! A mount costs time and guest memory for every layer, and overlayfs takes only so many. So whole groups of layers are
//! merged, from the bottom: the groups of a longer stack are those of a shorter one and more, and each layer's bytes
//! are written once per level, O(n log n) in all. Keys, images and records never see the merged layers.

use std::num::NonZeroUsize;

use hypr_squash::{MergeOptions, Options, merge};

use super::{Solver, error::StepError, key};
use crate::{
    snapshot::{Layer, Snapshot},
    store::{StepRecord, Timestamp},
};

/// Layers that one group takes up.
const GROUP: usize = 8;

/// A stack of up to this many layers is mounted as it is.
const DEEPEST: usize = 2 * GROUP;

impl Solver {
    /// The same tree in at most [`DEEPEST`] layers.
    pub(super) async fn shallow(&self, snapshot: &Snapshot) -> Result<Snapshot, StepError> {
        let mut layers: Vec<Layer> = snapshot.layers().into_iter().cloned().collect();
        // Each round leaves an eighth: three rounds are enough for thousands of layers.
        while layers.len() > DEEPEST {
            let (groups, rest) = layers.as_chunks::<GROUP>();
            let mut next = Vec::with_capacity(groups.len() + rest.len());
            for group in groups {
                next.push(self.merged(group.iter().cloned().collect()).await?);
            }
            next.extend_from_slice(rest);
            layers = next;
        }
        Ok(Snapshot::new(layers))
    }

    async fn merged(&self, group: Snapshot) -> Result<Layer, StepError> {
        let key = key::merged(self, &group);
        let known = |solver: &Self| -> Result<Option<Layer>, StepError> {
            let record = solver.store.step(&key)?;
            Ok(record.and_then(|record| record.layer).and_then(|id| solver.store.layer(&id)))
        };
        if let Some(layer) = known(self)? {
            return Ok(layer);
        }
        let _lock = self.store.lock_step(&key).await?;
        if let Some(layer) = known(self)? {
            return Ok(layer);
        }
        let (readers, store) = (self.readers.clone(), self.store.clone());
        let started = std::time::Instant::now();
        let layer = self
            .work(move || {
                let pending = store.new_layer()?;
                let options = Options { threads: NonZeroUsize::MIN, ..Options::default() };
                let options = MergeOptions { options, keep_whiteouts: true };
                let summary = merge(&readers.layers(&group)?, pending.file().try_clone()?, &options)?;
                Ok(pending.publish(&summary)?)
            })
            .await?;
        self.store.publish_step(&StepRecord {
            key: key.clone(),
            layer: Some(layer.id),
            created: Timestamp::now(),
            duration: started.elapsed(),
            executor: None,
            data: Default::default(),
        })?;
        Ok(layer)
    }
}
