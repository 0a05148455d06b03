//! What one source of a `COPY` brings, and the digest of it that a cache key has.

use std::collections::HashMap;

use hypr_squash::{Kind, Special};

use super::{ContextError, Entry, Source, Tree, error::text, walk::Filter, walks};
use crate::Digest;

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

/// Makes sure that the bytes that were stored of a file, with the digest `stored`, are those that were hashed for the
/// key.
pub(crate) fn verify(file: &Entry, hashed: Digest, stored: Digest) -> Result<(), ContextError> {
    if hashed == stored { Ok(()) } else { Err(ContextError::Changed { path: text(&file.path) }) }
}

/// A digest of everything about `items` that a copy of them shows, except for times: a file that was only touched
/// makes no difference. Files are read if their digests are not known.
pub(crate) fn digest(tree: &dyn Tree, items: &[Item]) -> Result<Digest, ContextError> {
    let files: Vec<&Entry> = items.iter().map(|item| &item.entry).filter(|entry| entry.file_size().is_some()).collect();
    let mut digests = tree.digests(&files)?.into_iter();
    let mut names: HashMap<(u64, u64), usize> = HashMap::new();
    let mut hasher = blake3::Hasher::new_derive_key("hypr copied files v1");
    let mut field = Vec::new();
    let mut put = |field: &[u8]| {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    };
    for (place, Item { relative, entry }) in items.iter().enumerate() {
        put(relative);
        field.clear();
        field.extend_from_slice(&entry.mode.to_le_bytes());
        field.extend_from_slice(&entry.uid.to_le_bytes());
        field.extend_from_slice(&entry.gid.to_le_bytes());
        match &entry.kind {
            Kind::Directory => field.push(b'd'),
            Kind::File { size } => {
                field.push(b'f');
                field.extend_from_slice(&size.to_le_bytes());
                field.extend_from_slice(digests.next().expect("one digest for each file").as_bytes());
            }
            Kind::Symlink { target } => {
                field.push(b'l');
                field.extend_from_slice(target);
            }
            Kind::Special(special) => {
                let (kind, major, minor) = match *special {
                    Special::CharDevice { major, minor } => (b'c', major, minor),
                    Special::BlockDevice { major, minor } => (b'b', major, minor),
                    Special::Fifo => (b'p', 0, 0),
                    Special::Socket => (b's', 0, 0),
                };
                field.push(kind);
                field.extend_from_slice(&major.to_le_bytes());
                field.extend_from_slice(&minor.to_le_bytes());
            }
        }
        put(&field);
        // Which of the names before it this is a hard link to.
        let first = entry.link_group().map_or(place, |group| *names.entry(group).or_insert(place));
        put(&(first as u64).to_le_bytes());
        let xattrs = tree.xattrs(entry)?;
        put(&(xattrs.len() as u64).to_le_bytes());
        for (name, value) in &xattrs {
            put(name);
            put(value);
        }
    }
    Ok(hasher.finalize().into())
}
