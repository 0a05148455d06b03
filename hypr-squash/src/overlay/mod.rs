//! A stack of layers seen as one tree, as overlayfs would mount it, without a mount.
//!
//! Layers are listed lowest first. A character device 0:0 hides what lower layers have at its path. A directory on a
//! directory merges with it and has the upper one's metadata, unless it is marked `trusted.overlay.opaque=y` (or
//! `user.overlay.opaque=y`, as unprivileged mounts have it). Everything else replaces what is below it. Renamed
//! directories and files without data, two features that overlayfs must be told to use, are errors.

mod node;
mod resolve;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;

pub use node::{Identity, Node};
pub use resolve::Resolved;
pub use walk::Walk;

use crate::{Error, Reader};

/// The union of a stack of layers. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Overlay {
    layers: Arc<[Arc<Reader>]>,
    view: View,
}

/// Whether deletions show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// The stack is complete: deletions have had their effect.
    Whole,
    /// Other layers lie below: what deletes something in them is still there.
    Part,
}

impl Overlay {
    /// The tree that these layers, lowest first, make together; no layer at all is an empty directory.
    pub fn new(layers: Vec<Arc<Reader>>) -> Self {
        Self { layers: layers.into(), view: View::Whole }
    }

    /// The changes that these layers, lowest first, make together to whatever lies below them.
    ///
    /// Whiteouts appear as character devices 0:0, and directories that hide lower ones have
    /// `trusted.overlay.opaque=y`.
    pub fn part(layers: Vec<Arc<Reader>>) -> Self {
        Self { layers: layers.into(), view: View::Part }
    }

    /// The layers, lowest first.
    pub fn layers(&self) -> &[Arc<Reader>] {
        &self.layers
    }

    /// The root directory.
    ///
    /// # Errors
    /// Fails when that of a layer is corrupt.
    pub fn root(&self) -> Result<Node, Error> {
        Node::root(self.layers.iter().enumerate().rev().map(|(layer, reader)| (layer, reader.root())), self.view)
    }

    /// The node at `path`, which is relative and has no `.` or `..`; symbolic links are not followed.
    ///
    /// # Errors
    /// Fails when a directory on the way is corrupt. A path that does not exist is `None`.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Node>, Error> {
        let mut node = self.root()?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            match node.child(name).map_err(|error| error.at(path))? {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    /// All nodes with their paths, the root first, every directory before what is in it, and the entries of a
    /// directory in bytewise order of their names.
    pub fn walk(&self) -> Walk {
        Walk::new(b"", self.root())
    }
}
