//! What one source of a `COPY` brings.

use super::{ContextError, Entry, Source, Tree, walk::Filter, walks};

/// One file, directory or link that is copied.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Where it goes, seen from the source: `b""` for the source itself.
    pub(crate) relative: Vec<u8>,
    /// What it is.
    pub(crate) entry: Entry,
}

/// The source and, of a directory, all that is in it, in order.
///
/// `exclude` sees paths as they are in the source, or its name if it is no directory; a directory given as source is
/// not left out itself.
pub(crate) fn contents(
    tree: &dyn Tree,
    source: &Source,
    exclude: Option<&dyn Filter>,
) -> Result<Vec<Item>, ContextError> {
    let base = &source.entry.path;
    if !source.entry.is_directory() {
        let is_excluded = exclude.is_some_and(|filter| filter.excludes(source.name()));
        let item = Item { relative: Vec::new(), entry: source.entry.clone() };
        return Ok(if is_excluded { Vec::new() } else { vec![item] });
    }
    let entries = tree.walk(base)?;
    let kept = match exclude {
        Some(exclude) => walks::filter(entries.iter().cloned().map(Ok), base, exclude)?,
        None => entries.to_vec(),
    };
    let item = |entry: Entry| {
        let relative = entry.path.strip_prefix(base.as_slice()).unwrap_or(&entry.path);
        let relative = relative.strip_prefix(b"/").unwrap_or(relative).to_vec();
        Item { relative, entry }
    };
    Ok(kept.into_iter().map(item).collect())
}
