//! The files of a stack of layers as a tree to copy from: another stage, an image, an archive that was unpacked.

use std::{io::Read, sync::Arc};

use hypr_squash::{Metadata, Overlay, Reader, Xattrs, overlay::Node};
use rayon::prelude::*;

use super::{
    ContextError, Entries, Entry, Tree,
    error::text,
    tree::{Identity, join},
    walk::Filter,
    walks::{self, Walks},
};
use crate::Digest;

/// A stack of layers, without what a [`Filter`] leaves out.
#[derive(Debug)]
pub(crate) struct Layers {
    overlay: Overlay,
    filter: Option<Arc<dyn Filter>>,
    walks: Walks,
}

impl Layers {
    /// The tree that an overlay shows.
    pub(crate) fn new(overlay: Overlay) -> Self {
        Self { overlay, filter: None, walks: Walks::default() }
    }

    /// These layers without what `filter` leaves out.
    #[must_use]
    pub(crate) fn filtered(mut self, filter: Arc<dyn Filter>) -> Self {
        self.filter = Some(filter);
        self.walks = Walks::default();
        self
    }

    fn node(&self, path: &[u8]) -> Result<Option<Node>, ContextError> {
        self.overlay.lookup(path).map_err(|source| error(path, source))
    }

    /// The node of an entry of this tree.
    fn node_of(&self, entry: &Entry) -> Result<Node, ContextError> {
        self.node(&entry.path)?.ok_or_else(|| ContextError::NotFound { path: text(&entry.path) })
    }
}

impl Tree for Layers {
    fn layers(&self) -> &[Arc<Reader>] {
        self.overlay.layers()
    }

    fn lookup(&self, path: &[u8]) -> Result<Option<Entry>, ContextError> {
        if let Some(entries) = self.walks.covering(path) {
            return Ok(entries.get(path).cloned());
        }
        match &self.filter {
            // Whether a directory that is left out is there depends on what is in it.
            Some(filter) if !path.is_empty() && filter.excludes(path) => Ok(self.walk(path)?.get(path).cloned()),
            _ => self.node(path)?.map(|node| entry(path, &node)).transpose(),
        }
    }

    fn walk(&self, path: &[u8]) -> Result<Entries, ContextError> {
        self.walks.get(path, || {
            let Some(node) = self.node(path)? else { return Ok(Vec::new()) };
            let steps = Steps { next: vec![(path.to_vec(), node)] };
            match &self.filter {
                Some(filter) => walks::filter(steps, b"", &**filter),
                None => steps.collect(),
            }
        })
    }

    fn open(&self, entry: &Entry) -> Result<Box<dyn Read + Send>, ContextError> {
        let reader = self.node_of(entry)?.open().map_err(|source| error(&entry.path, source))?;
        Ok(Box::new(reader))
    }

    fn xattrs(&self, entry: &Entry) -> Result<Xattrs, ContextError> {
        Ok(self.node_of(entry)?.metadata().map_err(|source| error(&entry.path, source))?.xattrs)
    }

    fn digests(&self, files: &[&Entry]) -> Result<Vec<Digest>, ContextError> {
        let digest = |file: &&Entry| {
            let digest = self.node_of(file)?.content_digest().map_err(|source| error(&file.path, source))?;
            Ok(Digest::from(digest))
        };
        files.par_iter().map(digest).collect()
    }

    fn is_ignored(&self, path: &[u8]) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.excludes(path)) && matches!(self.node(path), Ok(Some(_)))
    }
}

/// Visits a node and all beneath it.
struct Steps {
    /// What is still to visit, the next one last.
    next: Vec<(Vec<u8>, Node)>,
}

impl Iterator for Steps {
    type Item = Result<Entry, ContextError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (path, node) = self.next.pop()?;
        match node.read_dir() {
            Ok(children) => {
                let children = children.into_iter().rev();
                self.next.extend(children.map(|(name, child)| (join(&path, &name), child)));
            }
            Err(source) => return Some(Err(error(&path, source))),
        }
        Some(entry(&path, &node))
    }
}

fn entry(path: &[u8], node: &Node) -> Result<Entry, ContextError> {
    let metadata = node.metadata().map_err(|source| error(path, source))?;
    let kind = node.kind().map_err(|source| error(path, source))?;
    let identity = Identity {
        device: node.layer().unwrap_or_default() as u64,
        inode: node.inode().map_or(0, |inode| inode.inode_number().into()),
        links: node.inode().map_or(1, hypr_squash::Node::nlink),
        size: node.size(),
        mtime: (metadata.mtime, 0),
        ctime: (0, 0),
    };
    let Metadata { mode, uid, gid, mtime, .. } = metadata;
    Ok(Entry { path: path.into(), kind, mode, uid, gid, mtime, identity, known: None })
}

fn error(path: &[u8], source: hypr_squash::Error) -> ContextError {
    ContextError::Layer { path: text(path), source }
}
