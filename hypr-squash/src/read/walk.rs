//! Goes through all entries of an image.

use super::Node;
use crate::Error;

/// All entries of an image: a directory before what is in it, siblings in bytewise order of their names.
///
/// Made by [`Reader::walk`](crate::Reader::walk). It ends after the first error.
#[derive(Debug)]
pub struct Walk {
    /// Entries to come, the next one last.
    stack: Vec<(Vec<u8>, Node)>,
}

impl Walk {
    pub(super) fn new(root: Node) -> Self {
        Self { stack: vec![(Vec::new(), root)] }
    }
}

impl Iterator for Walk {
    type Item = Result<(Vec<u8>, Node), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (path, node) = self.stack.pop()?;
        if node.is_directory() {
            match node.read_dir() {
                Ok(entries) => self.stack.extend(entries.into_iter().rev().map(|(name, child)| {
                    let path = if path.is_empty() { name } else { [&path[..], &name[..]].join(&b'/') };
                    (path, child)
                })),
                Err(error) => {
                    self.stack.clear();
                    return Some(Err(error));
                }
            }
        }
        Some(Ok((path, node)))
    }
}
