//! The files that a build reads: build contexts, and every other tree that a `COPY` takes its sources from.
//!
//! Files of the user are opened here and nowhere else, through a handle of the context's folder, so that no path and
//! no link leads out of it. A [`Tree`] is what a `COPY` sees; [`select`] finds its sources in one, [`contents`] says
//! what they bring.

mod attributes;
mod beneath;
mod contents;
mod directory;
mod error;
mod glob;
mod ignore;
mod index;
mod layers;
mod select;
mod stream;
#[cfg(test)]
mod tests;
mod tree;
mod walk;
mod walks;

use std::{io::Read, path::Path, sync::Arc};

use hypr_squash::Kind;

use self::directory::Directory;
pub(crate) use self::{
    contents::{Contents, contents},
    layers::Layers,
    select::{Source, clean, resolve, select},
    stream::{MAX_DOCKERFILE, Streamed, receive},
    tree::{Entries, Entry, Tree},
    walk::Filter,
};
pub use self::{
    error::ContextError,
    ignore::{BadPattern, Ignore},
};
use crate::store::Store;

/// A build context before it is known what its `.dockerignore` says.
#[derive(Debug)]
pub(crate) struct Context {
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    Directory(Box<Directory>),
    Layers(Layers),
}

impl Context {
    /// The folder at `path`. What is learnt of its files is kept in `store` by [`Tree::save`].
    pub(crate) fn directory(path: &Path, store: Option<&Store>) -> Result<Self, ContextError> {
        Ok(Self { origin: Origin::Directory(Box::new(Directory::open(path, store)?)) })
    }

    /// The files of a stack of layers.
    pub(crate) fn layers(layers: Layers) -> Self {
        Self { origin: Origin::Layers(layers) }
    }

    /// The content of a file: the Dockerfile, the `.dockerignore`. `None` if there is none; links are followed within
    /// the context.
    pub(crate) fn read_file(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ContextError> {
        let tree = self.tree();
        let Some(entry) = resolve(tree, &clean(path.as_bytes()))? else { return Ok(None) };
        match entry.file_size() {
            None => return Err(ContextError::NotAFile { path: path.to_owned() }),
            Some(size) if size > limit => return Err(ContextError::TooLarge { path: path.to_owned(), limit }),
            Some(_) => {}
        }
        let mut content = Vec::new();
        match tree.open(&entry)?.read_to_end(&mut content) {
            Ok(_) => Ok(Some(content)),
            Err(error) => Err(ContextError::io("read", &entry.path, error)),
        }
    }

    /// Whether a symbolic link is at `path`.
    pub(crate) fn has_link(&self, path: &str) -> Result<bool, ContextError> {
        let found = self.tree().lookup(&clean(path.as_bytes()))?;
        Ok(found.is_some_and(|entry| matches!(entry.kind, Kind::Symlink { .. })))
    }

    fn tree(&self) -> &dyn Tree {
        match &self.origin {
            Origin::Directory(directory) => &**directory,
            Origin::Layers(layers) => layers,
        }
    }

    /// The tree to copy from, without what `filter` leaves out.
    pub(crate) fn into_tree(self, filter: Option<Arc<dyn Filter>>) -> Arc<dyn Tree> {
        match (self.origin, filter) {
            (Origin::Directory(directory), Some(filter)) => Arc::new(directory.filtered(filter)),
            (Origin::Directory(directory), None) => Arc::new(*directory),
            (Origin::Layers(layers), Some(filter)) => Arc::new(layers.filtered(filter)),
            (Origin::Layers(layers), None) => Arc::new(layers),
        }
    }
}
