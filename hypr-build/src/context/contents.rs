//! What one source of a `COPY` brings.

use super::{ContextError, Entries, Entry, Source, Tree, walk::Filter, walks};

/// The files, directories and links that are copied, in the order of a walk, and where each goes.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    entries: Entries,
    /// Bytes at the beginning of each path that are not part of where it goes.
    skip: usize,
}

impl Contents {
    /// `entries` of what is at and beneath `base`, in order; what is beneath goes where it is seen from `base`.
    pub(crate) fn new(entries: Entries, base: &[u8]) -> Self {
        let separator = usize::from(!base.is_empty());
        Self { entries, skip: base.len() + separator }
    }

    /// One thing by itself.
    pub(crate) fn single(entry: Entry) -> Self {
        let skip = entry.path.len();
        Self { entries: Entries::new(vec![entry]), skip }
    }

    /// Each entry with where it goes, seen from the source: `b""` for the source itself.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries.iter().map(|entry| (entry.path.get(self.skip..).unwrap_or_default(), entry))
    }
}

/// The source and, of a directory, all that is in it, in order.
///
/// `exclude` sees paths as they are in the source, or its name if it is no directory; a directory given as source is
/// not left out itself.
pub(crate) fn contents(
    tree: &dyn Tree,
    source: &Source,
    exclude: Option<&dyn Filter>,
) -> Result<Contents, ContextError> {
    let base = &source.entry.path;
    if !source.entry.is_directory() {
        let is_excluded = exclude.is_some_and(|filter| filter.excludes(source.name()));
        return Ok(match is_excluded {
            true => Contents::new(Entries::new(Vec::new()), base),
            false => Contents::single(source.entry.clone()),
        });
    }
    let entries = tree.walk(base)?;
    let kept = match exclude {
        Some(exclude) => Entries::new(walks::filter(entries.iter().cloned().map(Ok), base, exclude)?),
        None => entries,
    };
    Ok(Contents::new(kept, base))
}
