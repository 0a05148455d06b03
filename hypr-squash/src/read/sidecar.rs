//! The index beside an image, read when it is first needed.

use std::fmt;
use std::sync::OnceLock;

use crate::index::Record;
use crate::{Digest, FileExtent, Index};

type Load = Box<dyn Fn() -> Option<Index> + Send + Sync>;

/// The index of one image, or what fetches it.
pub(super) struct Sidecar {
    load: Load,
    loaded: OnceLock<Option<Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    index: Index,
    /// Inode numbers in ascending order, with places in the index.
    by_inode: Vec<(u32, usize)>,
}

impl Sidecar {
    pub(super) fn new(load: Load) -> Self {
        Self { load, loaded: OnceLock::new() }
    }

    /// An index that is there already, or none.
    pub(super) fn of(index: Option<Index>) -> Self {
        Self { load: Box::new(|| None), loaded: OnceLock::from(index.map(Loaded::new)) }
    }

    pub(super) fn index(&self) -> Option<&Index> {
        self.loaded().map(|loaded| &loaded.index)
    }

    /// The digest of the content of inode `number`, if the index and the image agree on where it lies.
    pub(super) fn digest(&self, number: u32, extent: &FileExtent) -> Option<Digest> {
        let loaded = self.loaded()?;
        let at = loaded.by_inode.binary_search_by_key(&number, |(inode, _)| *inode).ok()?;
        let entry = loaded.index.record(loaded.by_inode[at].1)?;
        agrees(&entry, extent).then_some(entry.digest)
    }

    fn loaded(&self) -> Option<&Loaded> {
        self.loaded.get_or_init(|| (self.load)().map(Loaded::new)).as_ref()
    }
}

impl Loaded {
    fn new(index: Index) -> Self {
        let mut by_inode = Vec::with_capacity(index.len());
        by_inode.extend(index.records().map(|(place, record)| (record.inode, place)));
        by_inode.sort_unstable();
        Self { index, by_inode }
    }
}

impl fmt::Debug for Sidecar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sidecar").field("loaded", &self.loaded).finish_non_exhaustive()
    }
}

/// Whether an entry of an index describes the place of a content as the image does.
fn agrees(entry: &Record<'_>, extent: &FileExtent) -> bool {
    let stored = extent.stored();
    entry.size == extent.size
        && entry.stored == stored
        && (stored == 0 || entry.start == extent.start)
        && entry.fragment == extent.fragment.map(|fragment| (fragment.index, fragment.offset))
}
