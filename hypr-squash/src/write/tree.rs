//! The tree of an image that is being put together.

use super::children::Children;
use crate::format::NAME_MAX;
use crate::{Error, Special};

/// Index of an inode in the tree.
pub(super) type InodeIndex = u32;

/// Directories and their entries. Inodes are never freed: one that no entry leads to is not written.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) inodes: Vec<Inode>,
    /// The directory that an entry was made in last, where the next one is likely to be made.
    recent: Option<(Box<[u8]>, InodeIndex)>,
}

/// An inode as it will be stored.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) attributes: Attributes,
    pub(super) body: Body,
}

/// What all inodes have.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Attributes {
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: u32,
    /// Index into the writer's sets of extended attributes; the first one is empty.
    pub(super) xattrs: u32,
}

/// What an inode is.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Directory(Box<Children>),
    /// Index into the writer's contents.
    File(u32),
    /// Boxed twice, so that other inodes need not have room for it.
    Symlink(Box<Box<[u8]>>),
    Special(Special),
}

impl Tree {
    pub(super) const ROOT: InodeIndex = 0;

    pub(super) fn new() -> Self {
        Self { inodes: vec![Inode::implied()], recent: None }
    }

    /// The inode at `path`.
    pub(super) fn find(&self, path: &[u8]) -> Option<InodeIndex> {
        let mut at = Self::ROOT;
        for name in components(path) {
            let Body::Directory(children) = &self.inodes[at as usize].body else { return None };
            at = children.get(name)?;
        }
        Some(at)
    }

    /// Checks that an entry can be made at `path`.
    pub(super) fn check(&self, path: &[u8]) -> Result<(), Error> {
        if let Some((parent, name)) = split(path)
            && self.recent.as_ref().is_some_and(|(recent, _)| **recent == *parent)
        {
            return flaw(name).map_or(Ok(()), |reason| Err(Error::path(path, reason)));
        }
        let mut at = Some(Self::ROOT);
        for name in components(path) {
            if let Some(reason) = flaw(name) {
                return Err(Error::path(path, reason));
            }
            at = match at.map(|at| &self.inodes[at as usize].body) {
                Some(Body::Directory(children)) => children.get(name),
                Some(_) => return Err(Error::path(path, "a parent is not a directory")),
                None => None,
            };
        }
        Ok(())
    }

    /// Puts an inode at `path`, which was [checked](Self::check), in place of what is there.
    pub(super) fn insert(&mut self, path: &[u8], inode: Inode) -> Result<(), Error> {
        if let Body::Directory(_) = inode.body
            && let Some(at) = self.find(path)
            && let Inode { attributes, body: Body::Directory(_) } = &mut self.inodes[at as usize]
        {
            *attributes = inode.attributes;
            return Ok(());
        }
        let new = self.push(inode)?;
        self.link(path, new)
    }

    /// Makes `path`, which was [checked](Self::check), a name of an inode, in place of what is there.
    pub(super) fn link(&mut self, path: &[u8], inode: InodeIndex) -> Result<(), Error> {
        let (parent, name) = split(path).ok_or_else(|| Error::path(path, "the root is a directory"))?;
        let parent = self.directory(parent)?;
        match &mut self.inodes[parent as usize].body {
            Body::Directory(children) => {
                if children.insert(name, inode).is_some() {
                    // It may have been a directory on the way to the recent one.
                    self.recent = None;
                }
            }
            _ => return Err(Error::path(path, "a parent is not a directory")),
        }
        Ok(())
    }

    /// Makes the last component of `path` a name of an inode in `parent`, which the caller knows to be its directory.
    pub(super) fn enter(&mut self, parent: InodeIndex, path: &[u8], inode: InodeIndex) -> Result<(), Error> {
        let (_, name) = split(path).ok_or_else(|| Error::path(path, "the root is a directory"))?;
        if let Some(reason) = flaw(name) {
            return Err(Error::path(path, reason));
        }
        match &mut self.inodes[parent as usize].body {
            Body::Directory(children) => _ = children.insert(name, inode),
            _ => return Err(Error::path(path, "a parent is not a directory")),
        }
        Ok(())
    }

    /// Takes away the entry at `path`; whether there was one.
    pub(super) fn remove(&mut self, path: &[u8]) -> Result<bool, Error> {
        let (parent, name) = split(path).ok_or_else(|| Error::path(path, "the root cannot be removed"))?;
        let Some(parent) = self.find(parent) else { return Ok(false) };
        self.recent = None;
        match &mut self.inodes[parent as usize].body {
            Body::Directory(children) => Ok(children.remove(name).is_some()),
            _ => Ok(false),
        }
    }

    /// The directory at `path`, made with its parents when it is missing.
    fn directory(&mut self, path: &[u8]) -> Result<InodeIndex, Error> {
        if let Some((_, at)) = self.recent.as_ref().filter(|(recent, _)| **recent == *path) {
            return Ok(*at);
        }
        let mut at = Self::ROOT;
        for name in components(path) {
            let present = match &self.inodes[at as usize].body {
                Body::Directory(children) => children.get(name),
                _ => return Err(Error::path(path, "a parent is not a directory")),
            };
            at = match present {
                Some(child) => child,
                None => {
                    let child = self.push(Inode::implied())?;
                    if let Body::Directory(children) = &mut self.inodes[at as usize].body {
                        children.insert(name, child);
                    }
                    child
                }
            };
        }
        if matches!(self.inodes[at as usize].body, Body::Directory(_)) {
            self.recent = Some((path.into(), at));
        }
        Ok(at)
    }

    pub(super) fn push(&mut self, inode: Inode) -> Result<InodeIndex, Error> {
        // The largest number is kept free, as kernels refuse it.
        let limit = u32::MAX - 1;
        let index = u32::try_from(self.inodes.len()).ok().filter(|&index| index < limit);
        let index = index.ok_or(Error::Limit { what: "inodes", limit: u64::from(limit) })?;
        self.inodes.push(inode);
        Ok(index)
    }
}

impl Body {
    /// An empty directory.
    pub(super) fn directory() -> Self {
        Self::Directory(Box::new(Children::new()))
    }
}

impl Inode {
    /// A directory that nobody described.
    fn implied() -> Self {
        let attributes = Attributes { mode: 0o755, ..Attributes::default() };
        Self { attributes, body: Body::directory() }
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    // The root has no component rather than an empty one.
    path.split(|&byte| byte == b'/').filter(move |_| !path.is_empty())
}

fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None => Some((b"", path)),
    }
}

/// What is wrong with a name.
fn flaw(name: &[u8]) -> Option<&'static str> {
    match name {
        b"" => Some("it has an empty component"),
        b"." | b".." => Some("it has a component that is . or .."),
        _ if name.len() > NAME_MAX => Some("it has a component of more than 255 bytes"),
        _ if name.contains(&0) => Some("it contains a zero byte"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_no_file_system_can_hold_are_refused() {
        let tree = Tree::new();
        let long = [b'x'; 256];
        for path in [b"/a".as_slice(), b"a/", b"a//b", b".", b"a/..", b"a\0b", b"../a", &long] {
            assert!(tree.check(path).is_err(), "{}", path.escape_ascii());
        }
        for path in [b"".as_slice(), b"a", b"a/b", b"...", b"\xff/ ", &long[..255]] {
            assert!(tree.check(path).is_ok(), "{}", path.escape_ascii());
        }
    }

    #[test]
    fn a_file_is_no_parent() {
        let mut tree = Tree::new();
        let file = Inode { attributes: Attributes::default(), body: Body::File(0) };
        tree.insert(b"a/b", file.clone()).unwrap();
        assert!(tree.insert(b"a/b/c", file.clone()).is_err());
        assert!(tree.insert(b"", file).is_err());
    }

    #[test]
    fn a_directory_on_a_directory_keeps_the_children() {
        let mut tree = Tree::new();
        tree.insert(b"a/b", Inode { attributes: Attributes::default(), body: Body::File(0) }).unwrap();
        let directory = Inode { attributes: Attributes { mode: 0o700, ..Attributes::default() }, ..Inode::implied() };
        tree.insert(b"a", directory).unwrap();
        assert!(tree.find(b"a/b").is_some());
        assert_eq!(tree.inodes[tree.find(b"a").unwrap() as usize].attributes.mode, 0o700);
        assert!(tree.remove(b"a").unwrap());
        assert!(!tree.remove(b"a").unwrap());
        assert_eq!(tree.find(b"a/b"), None);
    }
}
