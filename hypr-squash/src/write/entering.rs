//! Fills the tree of an image without going through paths, for a walk that knows the directory it is in.

use std::io::Read;

use super::tree::{Body, Inode, InodeIndex, Tree};
use super::{Writer, checked_special, checked_target};
use crate::{Error, Metadata, Special};

/// An inode of the image being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entered(InodeIndex);

/// The content of a file that has none yet.
const NO_CONTENT: u32 = u32::MAX;

impl Writer {
    /// Gives the root its metadata.
    pub(crate) fn enter_root(&mut self, metadata: &Metadata) -> Result<Entered, Error> {
        let attributes = self.attributes(b"", metadata)?;
        self.tree.inodes[Tree::ROOT as usize].attributes = attributes;
        Ok(Entered(Tree::ROOT))
    }

    pub(crate) fn enter_directory(
        &mut self,
        parent: Entered,
        path: &[u8],
        metadata: &Metadata,
    ) -> Result<Entered, Error> {
        self.enter(parent, path, metadata, Body::directory())
    }

    /// Enters a file, which must be [filled](Self::fill) before the image is finished.
    pub(crate) fn enter_file(&mut self, parent: Entered, path: &[u8], metadata: &Metadata) -> Result<Entered, Error> {
        self.enter(parent, path, metadata, Body::File(NO_CONTENT))
    }

    pub(crate) fn enter_symlink(
        &mut self,
        parent: Entered,
        path: &[u8],
        metadata: &Metadata,
        target: &[u8],
    ) -> Result<Entered, Error> {
        checked_target(path, target)?;
        self.enter(parent, path, metadata, Body::Symlink(Box::new(target.into())))
    }

    pub(crate) fn enter_special(
        &mut self,
        parent: Entered,
        path: &[u8],
        metadata: &Metadata,
        special: Special,
    ) -> Result<Entered, Error> {
        checked_special(path, special)?;
        self.enter(parent, path, metadata, Body::Special(special))
    }

    /// Makes `path` one more name of an inode.
    pub(crate) fn enter_link(&mut self, parent: Entered, path: &[u8], first: Entered) -> Result<(), Error> {
        self.tree.enter(parent.0, path, first.0)
    }

    /// Gives a file its content, by the place that [`add_stored`](Self::add_stored) or
    /// [`add_content`](Self::add_content) told.
    pub(crate) fn fill(&mut self, file: Entered, content: u32) {
        self.tree.inodes[file.0 as usize].body = Body::File(content);
    }

    /// Stores a content, unless an equal one is there; returns its place. `path` is named in errors.
    pub(crate) fn add_content(&mut self, path: &[u8], content: &mut dyn Read) -> Result<u32, Error> {
        self.contents.store(path, content, &mut self.pipeline)
    }

    fn enter(&mut self, parent: Entered, path: &[u8], metadata: &Metadata, body: Body) -> Result<Entered, Error> {
        let attributes = self.attributes(path, metadata)?;
        let inode = self.tree.push(Inode { attributes, body })?;
        self.tree.enter(parent.0, path, inode)?;
        Ok(Entered(inode))
    }
}
