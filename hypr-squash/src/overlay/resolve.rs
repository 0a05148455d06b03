//! Follows symbolic links as a process would whose root directory is the image.

use super::{Node, Overlay};
use crate::{Error, Kind};

/// Links followed for one path, as in the kernel.
const LINK_LIMIT: usize = 40;
/// Bytes of a path, as in the kernel.
const PATH_LIMIT: usize = 4096;

/// Where a path leads inside of an image.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The path without links, `.` and `..`, relative to the image's root. What does not exist is taken literally.
    pub path: Vec<u8>,
    /// What is there, if anything.
    pub node: Option<Node>,
    /// Paths and targets of the links that were followed, in order.
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Overlay {
    /// Follows all links in `path`, the one that it ends in included.
    ///
    /// A path that does not start with a slash is relative to the directory `base`; absolute paths and link targets
    /// start at the image's root, and `..` stays there.
    ///
    /// # Errors
    /// Fails with [`Error::Path`] where the path leads through something that is not a directory, or through more
    /// than 40 links, and when a directory is corrupt.
    pub fn resolve(&self, path: &[u8], base: &[u8]) -> Result<Resolved, Error> {
        self.follow(path, base, true)
    }

    /// Follows the links on the way to the last component of `path`, but not that one.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn resolve_parent(&self, path: &[u8], base: &[u8]) -> Result<Resolved, Error> {
        self.follow(path, base, false)
    }

    fn follow(&self, path: &[u8], base: &[u8], last: bool) -> Result<Resolved, Error> {
        let root = self.root()?;
        // A slash at the end asks for a directory, which a link may well lead to.
        let last = last || path.ends_with(b"/");
        let mut todo: Vec<Vec<u8>> = Vec::new();
        push(&mut todo, path);
        if !path.starts_with(b"/") {
            push(&mut todo, base);
        }
        // The directories on the way; a level that does not exist has no node.
        let mut levels: Vec<(Vec<u8>, Option<Node>)> = Vec::new();
        let mut links = Vec::new();
        while let Some(name) = todo.pop() {
            if name == b".." {
                levels.pop();
                continue;
            }
            let parent = levels.last().map_or(Some(&root), |(_, node)| node.as_ref());
            if parent.is_some_and(|node| !node.is_directory()) {
                return Err(Error::path(&current(&levels), "it is not a directory"));
            }
            let child = match parent {
                Some(directory) => directory.child(&name).map_err(|error| error.at(path))?,
                None => None,
            };
            if let Some(node) = &child
                && (last || !todo.is_empty())
                && let Kind::Symlink { target } = node.kind()?
            {
                if links.len() == LINK_LIMIT {
                    return Err(Error::path(path, "it leads through too many symbolic links"));
                }
                levels.push((name, None));
                links.push((current(&levels), target.clone()));
                levels.pop();
                if target.starts_with(b"/") {
                    levels.clear();
                }
                push(&mut todo, &target);
                continue;
            }
            levels.push((name, child));
            if levels.iter().map(|(name, _)| name.len() + 1).sum::<usize>() > PATH_LIMIT {
                return Err(Error::path(path, "it leads to a path of more than 4096 bytes"));
            }
        }
        let path = current(&levels);
        let node = levels.pop().map_or(Some(root), |(_, node)| node);
        Ok(Resolved { path, node, links })
    }
}

/// Puts the components of `path` in front of what is to be done, which is last in first out.
fn push(todo: &mut Vec<Vec<u8>>, path: &[u8]) {
    let components = path.rsplit(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    todo.extend(components.map(<[u8]>::to_vec));
}

fn current(levels: &[(Vec<u8>, Option<Node>)]) -> Vec<u8> {
    levels.iter().map(|(name, _)| &name[..]).collect::<Vec<_>>().join(&b'/')
}
