//! The files that a build reads: build contexts, and every other tree that a `COPY` takes its sources from.
//!
//! Files of the user are opened here and nowhere else, through a handle of the context's folder, so that no path and
//! no link leads out of it. A [`Tree`] is what a `COPY` sees; [`select`] finds its sources in one.

mod attributes;
mod beneath;
mod directory;
mod error;
mod glob;
mod index;
mod select;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub use self::error::ContextError;
pub(crate) use self::{
    directory::Directory,
    select::{Source, clean, resolve, select},
    tree::{Entries, Entry, Tree},
    walk::Filter,
};
