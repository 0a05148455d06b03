//! An arrangement becomes a layer: each file is opened, read once, and must be what its digest says.

use std::{
    collections::BTreeMap,
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hypr_squash::{Options, Reader, Writer};

use super::{
    super::{
        Made, Solver,
        arrangement::{Arrangement, Content, FileSource},
        error::StepError,
        ground::shown,
    },
    place::Trees,
};
use crate::{
    snapshot::Layer,
    store::{Key, StepRecord, Store, Timestamp},
};

impl Solver {
    /// Makes the step's layer; an arrangement that holds nothing needs none. `lender` names the step's latest layer.
    pub(in super::super) async fn make(
        &self,
        arrangement: Arrangement,
        trees: Trees,
        lender: Option<Key>,
    ) -> Result<Made, StepError> {
        let layer = match arrangement.is_empty() {
            true => None,
            false => Some(self.pack(arrangement, trees, lender).await?),
        };
        Ok(Made { layer, data: BTreeMap::new() })
    }

    /// Packs the arrangement, with files of `trees`, into a layer of the store.
    ///
    /// Contents that the step's latest layer has, or the layers that it copies from, are taken from there as they are
    /// compressed: a changed file costs its own size.
    async fn pack(&self, arrangement: Arrangement, trees: Trees, lender: Option<Key>) -> Result<Layer, StepError> {
        let store = self.store.clone();
        let wanted = Wanted::default();
        let still_wanted = wanted.0.clone();
        self.work(move || {
            let pending = store.new_layer()?;
            let mut writer = Writer::create(pending.file().try_clone()?, Options::default())?;
            for layer in trees.iter().flat_map(|tree| tree.layers()) {
                writer.lend(layer);
            }
            if let Some(latest) = lender.as_ref().and_then(|lender| latest(&store, lender)) {
                writer.lend(&latest);
            }
            for (path, entry) in arrangement.entries() {
                let metadata = &entry.metadata;
                match &entry.content {
                    Content::Directory => writer.add_directory(path, metadata)?,
                    Content::Symlink(target) => writer.add_symlink(path, metadata, target)?,
                    Content::Special(special) => writer.add_special(path, metadata, *special)?,
                    // The first name may sort behind this one; its data has to come first.
                    Content::HardLink(_) => {}
                    Content::File { digest, size, source } => {
                        if writer.add_known_file(path, metadata, *size, (*digest.as_bytes()).into())? {
                            continue;
                        }
                        let mut content: Box<dyn Read> = match source {
                            FileSource::Inline(bytes) => Box::new(&bytes[..]),
                            FileSource::Tree(tree, path) => {
                                let entry = trees[*tree].lookup(path)?;
                                let entry = entry.ok_or_else(|| StepError::Changed(shown(path)))?;
                                Box::new(trees[*tree].open(&entry)?)
                            }
                        };
                        let mut content = Cancellable { content: &mut content, wanted: &still_wanted };
                        let written = writer.add_file(path, metadata, &mut content)?;
                        if written.size != *size || *digest != written.digest.into() {
                            return Err(StepError::Changed(shown(path)));
                        }
                    }
                }
            }
            for (path, entry) in arrangement.entries() {
                if let Content::HardLink(target) = &entry.content {
                    writer.add_hard_link(path, target)?;
                }
            }
            let summary = writer.finish()?;
            let layer = pending.publish(&summary)?;
            if let Some(key) = lender {
                let (layer, created, duration) = (Some(layer.id), Timestamp::now(), Duration::ZERO);
                let data = BTreeMap::new();
                store.publish_step(&StepRecord { key, layer, created, duration, executor: None, data })?;
            }
            Ok(layer)
        })
        .await
    }
}

/// The latest layer of a step. That it is lost or damaged is no reason to fail: it only spares work.
fn latest(store: &Store, lender: &Key) -> Option<Arc<Reader>> {
    let layer = store.layer(&store.step(lender).ok()??.layer?)?;
    store.open_layer(&layer).ok().map(Arc::new)
}

/// Tells a packing thread, when dropped with its future, that nobody waits for it any more.
#[derive(Default)]
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A reader that fails once the build was given up.
struct Cancellable<'a> {
    content: &'a mut dyn Read,
    wanted: &'a AtomicBool,
}

impl Read for Cancellable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.wanted.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("the build was cancelled"));
        }
        self.content.read(buffer)
    }
}
