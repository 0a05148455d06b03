//! Finds what the sources of a `COPY` name: wildcards, links on the way, paths that would leave the tree.

use std::collections::VecDeque;

use hypr_squash::Kind;

use super::{
    ContextError, Entry, Tree,
    error::text,
    glob::{self, Glob},
    tree::join,
};

/// As many links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// One thing to copy.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The path that matched, before links in it were followed: its last part is the name in the destination.
    pub(crate) matched: Vec<u8>,
    /// What is there: a link that matches by itself was followed.
    pub(crate) entry: Entry,
}

impl Source {
    /// The name that it gets in a directory; empty for the root of the tree.
    pub(crate) fn name(&self) -> &[u8] {
        self.matched.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }
}

/// Finds the sources of a `COPY`, in the order of the patterns and, for each, in the order of a walk.
///
/// A pattern is a path from the root of the tree, whatever `/` or `..` it starts with, in which parts may have
/// wildcards as in Go's `filepath.Match`. Links in a path and at its end are followed and cannot lead out of the tree.
/// A pattern with wildcards may match nothing.
pub(crate) fn select(tree: &dyn Tree, patterns: &[&str]) -> Result<Vec<Source>, ContextError> {
    let mut sources = Vec::new();
    for pattern in patterns {
        for matched in matches(tree, pattern)? {
            let entry = resolve(tree, &matched)?.ok_or_else(|| missing(tree, pattern, &matched))?;
            sources.push(Source { matched, entry });
        }
    }
    Ok(sources)
}

/// The entry at `path` when all links are followed, those at the end too; `None` if there is none.
///
/// As in a changed root: `/` in a link is the root of the tree, and `..` does not lead out of it.
pub(crate) fn resolve(tree: &dyn Tree, path: &[u8]) -> Result<Option<Entry>, ContextError> {
    let mut rest: VecDeque<Vec<u8>> = parts(path).map(<[u8]>::to_vec).collect();
    let mut current = Vec::new();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == b".." {
            current.truncate(current.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
            continue;
        }
        let next = join(&current, &part);
        match tree.lookup(&next)? {
            None => return Ok(None),
            Some(Entry { kind: Kind::Symlink { target }, .. }) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(ContextError::Links { path: text(path) });
                }
                if target.starts_with(b"/") {
                    current.clear();
                }
                for part in parts(&target).rev() {
                    rest.push_front(part.to_vec());
                }
            }
            Some(_) => current = next,
        }
    }
    tree.lookup(&current)
}

/// `path` without empty parts, `.` and `..`; what would leave the root stays there.
pub(crate) fn clean(path: &[u8]) -> Vec<u8> {
    let mut clean: Vec<&[u8]> = Vec::new();
    for part in parts(path) {
        match part {
            b".." => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    clean.join(&b'/')
}

fn matches(tree: &dyn Tree, pattern: &str) -> Result<Vec<Vec<u8>>, ContextError> {
    let cleaned = clean(pattern.as_bytes());
    let parts: Vec<&[u8]> = parts(&cleaned).collect();
    let Some(first) = parts.iter().position(|part| glob::has_wildcards(part)) else { return Ok(vec![cleaned]) };
    let glob = Glob::new(&parts[first..].join(&b'/'));
    let glob = glob.map_err(|_| ContextError::Pattern { pattern: pattern.to_owned() })?;
    // Links are followed up to the first part with a wildcard, and not where wildcards are matched.
    let Some(base) = resolve(tree, &parts[..first].join(&b'/'))? else { return Ok(Vec::new()) };
    let depth = parts.len() - first;
    let mut found = Vec::new();
    for entry in tree.walk(&base.path)?.iter() {
        let relative = entry.path.strip_prefix(&*base.path).unwrap_or_default();
        let relative = relative.strip_prefix(b"/").unwrap_or(relative);
        // No wildcard matches a separator.
        let is_as_deep = relative.iter().filter(|byte| **byte == b'/').count() + 1 == depth;
        if is_as_deep && !relative.is_empty() && glob.matches(relative) {
            found.push(entry.path.to_vec());
        }
    }
    Ok(found)
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

fn missing(tree: &dyn Tree, pattern: &str, path: &[u8]) -> ContextError {
    let path_is_ignored = tree.is_ignored(path);
    let path = pattern.to_owned();
    if path_is_ignored { ContextError::Ignored { path } } else { ContextError::NotFound { path } }
}
