//! Remembers walks, so that many steps cost one.

use std::sync::{Mutex, PoisonError};

use super::{ContextError, Entries, Entry, tree::is_beneath, walk::Filter};

/// What was walked already, by the path it was walked from.
#[derive(Debug, Default)]
pub(super) struct Walks {
    done: Mutex<Vec<(Vec<u8>, Entries)>>,
}

impl Walks {
    /// A walk that holds everything at and beneath `path`, if there was one.
    pub(super) fn covering(&self, path: &[u8]) -> Option<Entries> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.iter().find(|(from, _)| is_beneath(path, from)).map(|(_, entries)| entries.clone())
    }

    /// What is at and beneath `path`: from an earlier walk, or by `walk`.
    pub(super) fn get(
        &self,
        path: &[u8],
        walk: impl FnOnce() -> Result<Vec<Entry>, ContextError>,
    ) -> Result<Entries, ContextError> {
        if let Some(entries) = self.covering(path) {
            return Ok(entries.beneath(path));
        }
        // Not under the lock: a thread that waits in here for others of its pool may be given another walk to do.
        let entries = Entries::new(walk()?);
        // All must see the same, so who comes second takes over the first one's.
        if let Some(entries) = self.covering(path) {
            return Ok(entries.beneath(path));
        }
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push((path.to_vec(), entries.clone()));
        Ok(entries)
    }
}

/// What `filter` leaves of `entries`, which are in order and whose paths it knows without `base`.
///
/// A directory that is left out stays if something in it does.
pub(super) fn filter(
    entries: impl Iterator<Item = Result<Entry, ContextError>>,
    base: &[u8],
    filter: &dyn Filter,
) -> Result<Vec<Entry>, ContextError> {
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let path = entry.path.strip_prefix(base).unwrap_or(&entry.path);
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let excluded = !path.is_empty() && filter.excludes(path);
        if !excluded || entry.is_directory() && filter.reaches_into(path) {
            found.push((entry, excluded));
        }
    }
    let mut kept: Vec<Entry> = Vec::with_capacity(found.len());
    // From the end, so that what is in a directory is known before the directory.
    for (entry, only_as_parent) in found.into_iter().rev() {
        if !only_as_parent || kept.last().is_some_and(|next| is_beneath(&next.path, &entry.path)) {
            kept.push(entry);
        }
    }
    kept.reverse();
    Ok(kept)
}
