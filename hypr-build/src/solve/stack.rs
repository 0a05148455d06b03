//! Deep stacks made shallow, for mounting and for looking into them.
//!
//! A mount costs time and guest memory for every layer, overlayfs takes only so many, and a path has to be looked for in
//! all of them. So groups of layers are merged as they come about: eight layers to one, eight of those to one, and so
//! on. The groups of a longer stack are those of a shorter one and more, and each layer's bytes are written once per
//! level, O(n log n) in all. Keys, images and records never see the merged layers.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use hypr_squash::{MergeOptions, Options, Overlay, merge};

use super::{Solver, error::StepError, key};
use crate::{
    digest::Digest,
    snapshot::{Layer, Snapshot},
    store::{StepRecord, Timestamp},
};

/// Layers that one group takes up.
const GROUP: usize = 8;

/// A stack of up to this many layers is taken as it is.
const DEEPEST: usize = 2 * GROUP;

/// Bytes of a group that is merged only so that paths are found quickly: to copy more would take longer.
const LARGEST_LOOKED_INTO: u64 = 8 << 20;

/// The level of a group that stays as it is.
const APART: u32 = u32::MAX;

/// What a stack is made shallow for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Purpose {
    /// A process has it as its root: all groups are merged.
    Mount,
    /// Paths are looked for: small groups are merged.
    Look,
}

/// The layers that take the place of a stack, lowest first, each with its level: of eight of one level the next is made.
type Pile = Vec<(u32, Layer)>;

/// The piles of the stacks whose height is a multiple of [`GROUP`].
#[derive(Debug, Default)]
pub(crate) struct Piles(Mutex<HashMap<(Purpose, Digest), Pile>>);

impl Piles {
    fn get(&self, purpose: Purpose, stack: &Snapshot) -> Option<Pile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(purpose, stack.identity())).cloned()
    }

    fn insert(&self, purpose: Purpose, stack: &Snapshot, pile: &Pile) {
        let pile = pile.clone();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((purpose, stack.identity()), pile);
    }
}

impl Solver {
    /// The same tree in few layers, to be mounted: at most seven of each level.
    pub(super) async fn shallow(&self, snapshot: &Snapshot) -> Result<Snapshot, StepError> {
        self.shallow_for(Purpose::Mount, snapshot).await
    }

    /// What a process would see as `/`, to look for paths in: a look-up does not take longer the more small layers
    /// there are.
    pub(super) async fn overlay(&self, snapshot: &Snapshot) -> Result<Overlay, StepError> {
        let shallow = self.shallow_for(Purpose::Look, snapshot).await?;
        let readers = self.readers.clone();
        self.work(move || readers.overlay(&shallow)).await
    }

    async fn shallow_for(&self, purpose: Purpose, snapshot: &Snapshot) -> Result<Snapshot, StepError> {
        if snapshot.height() <= DEEPEST {
            return Ok(snapshot.clone());
        }
        // Down to what is known, and up again.
        let mut above = Vec::new();
        let mut stack = snapshot;
        let mut pile = loop {
            let Some((layer, below)) = stack.top() else { break Pile::new() };
            if stack.height().is_multiple_of(GROUP)
                && let Some(pile) = self.piles.get(purpose, stack)
            {
                break pile;
            }
            above.push((stack, layer));
            stack = below;
        };
        for (stack, layer) in above.into_iter().rev() {
            pile.push((0, layer.clone()));
            self.settle(purpose, &mut pile).await?;
            if stack.height().is_multiple_of(GROUP) {
                self.piles.insert(purpose, stack, &pile);
            }
        }
        Ok(pile.into_iter().map(|(_, layer)| layer).collect())
    }

    /// Merges the highest layers of the pile as long as there are enough of one level.
    async fn settle(&self, purpose: Purpose, pile: &mut Pile) -> Result<(), StepError> {
        while let Some((start, level)) = full_group(pile) {
            let group = &mut pile[start..];
            let size: u64 = group.iter().map(|(_, layer)| layer.id.size).sum();
            if purpose == Purpose::Look && size > LARGEST_LOOKED_INTO {
                group.iter_mut().for_each(|(level, _)| *level = APART);
                return Ok(());
            }
            let merged = self.merged(group.iter().map(|(_, layer)| layer.clone()).collect()).await?;
            pile.truncate(start);
            pile.push((level + 1, merged));
        }
        Ok(())
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

/// Where the highest [`GROUP`] layers start if they are of one level, and that level.
fn full_group(pile: &[(u32, Layer)]) -> Option<(usize, u32)> {
    let start = pile.len().checked_sub(GROUP)?;
    let level = pile[start].0;
    (level != APART && pile[start..].iter().all(|(other, _)| *other == level)).then_some((start, level))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(number: usize) -> Layer {
        let digest = Digest::of(&number.to_le_bytes());
        crate::Layer { id: crate::LayerId { file: digest, content: digest, size: 1 }, path: number.to_string().into() }
    }

    #[test]
    fn a_stack_of_thousands_of_layers_becomes_a_few_by_few_merges() {
        let (mut pile, mut merges) = (Pile::new(), 0);
        for number in 0..10_000 {
            pile.push((0, layer(number)));
            while let Some((start, level)) = full_group(&pile) {
                pile.truncate(start);
                pile.push((level + 1, layer(number)));
                merges += 1;
            }
            assert!(pile.len() <= 35, "{number}: {}", pile.len());
        }
        assert!(merges < 10_000 / 7, "{merges}");
    }

    #[test]
    fn a_group_that_stays_apart_is_no_part_of_another() {
        let mut pile: Pile = (0..8).map(|number| (APART, layer(number))).collect();
        assert_eq!(full_group(&pile), None);
        pile.extend((8..15).map(|number| (0, layer(number))));
        assert_eq!(full_group(&pile), None);
        pile.push((0, layer(15)));
        assert_eq!(full_group(&pile), Some((8, 0)));
    }
}
