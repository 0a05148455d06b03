//! `--parents`: what a source matches keeps its path in the destination.
//!
//! A `/./` in the source is where that path begins. What follows it is a pattern as in a `.dockerignore`, in which `**`
//! stands for any number of directories, and links are taken as they are; a directory that matches comes whole, and
//! the directories above what matches come with the permissions that they have in the source.

use std::sync::Arc;

use super::{
    super::error::StepError,
    place::{Meeting, Placing},
};
use crate::context::{self, BadPattern, Contents, ContextError, Entries, Entry, Filter, Ignore, Tree};

impl Placing<'_> {
    pub(super) fn with_parents(&mut self, tree: &Arc<dyn Tree>, source: &str, target: &[u8]) -> Result<(), StepError> {
        let (base, pattern) = source.split_once("/./").unwrap_or(("/", source));
        let pattern = context::clean(pattern.as_bytes());
        let pattern = std::str::from_utf8(&pattern).expect("parts of a text are text").to_owned();
        let is_pattern = source.contains(['*', '?', '[', '\\']);
        let include = match &*pattern {
            "" => None,
            pattern => Some(
                Ignore::new([pattern])
                    .map_err(|BadPattern { .. }| ContextError::Pattern { pattern: source.to_owned() })?,
            ),
        };
        let mut has_matched = false;
        for base in context::select(&**tree, &[base])? {
            if !base.entry.is_directory() {
                // A wildcard may well match files beside the directories that are meant.
                if is_pattern {
                    continue;
                }
                return Err(ContextError::NotFound { path: source.to_owned() }.into());
            }
            self.directory(target)?;
            self.forget_links();
            let entries = tree.walk(&base.entry.path)?;
            let exclude = self.placement.exclude();
            let items = selected(&entries, &base.entry.path, include.as_ref(), exclude);
            has_matched |= items.len() > 1;
            let contents = Contents::new(Entries::new(items), &base.entry.path);
            self.entries(tree, Meeting::Source, &contents, target)?;
        }
        match (has_matched, is_pattern || pattern.is_empty()) {
            (true, _) => {}
            (false, true) => self.unmatched.push(source.to_owned()),
            (false, false) if self.placement.exclude().is_some_and(|exclude| exclude.excludes(pattern.as_bytes())) => {}
            (false, false) => return Err(ContextError::NotFound { path: source.to_owned() }.into()),
        }
        Ok(())
    }
}

/// What is below `base` and matches, with the directories above it, `base` first.
fn selected(entries: &[Entry], base: &[u8], include: Option<&Ignore>, exclude: Option<&dyn Filter>) -> Vec<Entry> {
    let mut items = Vec::new();
    // The directories on the way to the present entry, and how many of them are selected already.
    let mut open: Vec<&Entry> = Vec::new();
    let mut selected = 0;
    for entry in entries {
        while open.last().is_some_and(|above| !is_in(&entry.path, &above.path)) {
            open.pop();
        }
        selected = selected.min(open.len());
        let relative = entry.path.strip_prefix(base).unwrap_or(&entry.path);
        let relative = relative.strip_prefix(b"/").unwrap_or(relative);
        let is_wanted = relative.is_empty()
            || include.is_none_or(|include| include.excludes(relative))
                && !exclude.is_some_and(|exclude| exclude.excludes(relative));
        if is_wanted {
            items.extend(open[selected..].iter().map(|&above| above.clone()));
            selected = open.len();
            items.push(entry.clone());
        }
        if entry.is_directory() {
            selected += usize::from(is_wanted);
            open.push(entry);
        }
    }
    items
}

/// Whether `path` is in `directory`, at any depth.
fn is_in(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}
