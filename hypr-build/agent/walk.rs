//! A walk through a directory tree in bytewise order of the full paths.
//!
//! That order is not the one of sorted names: `a-b` comes between `a` and `a/c`, because `-` is before `/`. So a
//! directory takes two places among its siblings, one as `a` for itself and one as `a/` for what is in it.
//!
//! The walk holds one open directory, whatever the depth. It goes up through `..`, which is safe once nobody else can
//! move directories about, and still makes sure that it came out where it went in.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    vec,
};

use crate::sys::fs::{self, Kind, Stat};

/// An entry that the walk came to.
#[derive(Debug)]
pub(crate) struct Found {
    /// Relative to where the walk began, without a slash at either end; empty for the root itself.
    pub(crate) path: Vec<u8>,
    /// The name in [`Walk::directory`]; `.` for the root.
    pub(crate) name: CString,
    /// What `statx` tells of it.
    pub(crate) stat: Stat,
}

/// Decides, given the directory, the path and the state of an entry, whether the walk leaves it and all below it out.
pub(crate) type Excludes<'a> = dyn FnMut(&Found, BorrowedFd<'_>) -> io::Result<bool> + 'a;

/// An error at a path of the tree.
#[derive(Debug)]
pub(crate) struct WalkError {
    /// Where.
    pub(crate) path: Vec<u8>,
    /// What the system said.
    pub(crate) source: io::Error,
}

/// A walk that is under way.
#[derive(Debug)]
pub(crate) struct Walk {
    directory: OwnedFd,
    /// Path of `directory`.
    path: Vec<u8>,
    levels: Vec<Level>,
    started: bool,
}

/// A directory on the way from the root to where the walk is.
#[derive(Debug)]
struct Level {
    /// Names still to come, a second time with a slash for the contents of directories.
    places: vec::IntoIter<Vec<u8>>,
    /// Length of the directory's path.
    path: usize,
    id: (u32, u32, u64),
}

impl Walk {
    /// Starts at `root`, which may be any handle of a directory.
    pub(crate) fn new(root: BorrowedFd<'_>) -> io::Result<Self> {
        let directory = fs::open_dir(root, c".")?;
        Ok(Self { directory, path: Vec::new(), levels: Vec::new(), started: false })
    }

    /// The directory that holds the entry which [`next`](Self::next) returned last.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The next entry that `excludes` does not leave out, the root first; `None` at the end.
    pub(crate) fn next(&mut self, excludes: &mut Excludes<'_>) -> Result<Option<Found>, WalkError> {
        if !self.started {
            self.started = true;
            let stat = self.at_here(fs::stat(self.directory.as_fd()))?;
            let found = Found { path: Vec::new(), name: c".".to_owned(), stat };
            let level = self.level(&found.stat, excludes)?;
            self.levels.push(level);
            return Ok(Some(found));
        }
        while let Some(level) = self.levels.last_mut() {
            let Some(mut place) = level.places.next() else {
                self.leave()?;
                continue;
            };
            if place.last() == Some(&b'/') {
                place.pop();
                self.enter(&place, excludes)?;
            } else {
                return self.find(&place).map(Some);
            }
        }
        Ok(None)
    }

    /// Goes down into `name`.
    fn enter(&mut self, name: &[u8], excludes: &mut Excludes<'_>) -> Result<(), WalkError> {
        let path = self.join(name);
        let at = |source| WalkError { path: path.clone(), source };
        let opened = fs::open_dir(self.directory.as_fd(), &terminated(name).map_err(at)?).map_err(at)?;
        let stat = fs::stat(opened.as_fd()).map_err(at)?;
        self.directory = opened;
        self.path = path;
        let level = self.level(&stat, excludes)?;
        self.levels.push(level);
        Ok(())
    }

    /// Goes back up to the directory above, if there is one.
    fn leave(&mut self) -> Result<(), WalkError> {
        self.levels.pop();
        let Some(above) = self.levels.last() else { return Ok(()) };
        let (id, length) = (above.id, above.path);
        let opened = self.at_here(fs::open_dir(self.directory.as_fd(), c".."))?;
        if self.at_here(fs::stat(opened.as_fd()))?.id != id {
            return self.at_here(Err(io::Error::other("the directory was moved")));
        }
        self.directory = opened;
        self.path.truncate(length);
        Ok(())
    }

    /// Reads and orders the directory that the walk is in.
    fn level(&self, stat: &Stat, excludes: &mut Excludes<'_>) -> Result<Level, WalkError> {
        let names = self.at_here(fs::names(self.directory.as_fd()))?;
        let mut places = Vec::with_capacity(names.len());
        for name in names {
            let found = self.find(&name)?;
            let excluded = excludes(&found, self.directory.as_fd())
                .map_err(|source| WalkError { path: found.path.clone(), source })?;
            if excluded {
                continue;
            }
            if found.stat.kind == Kind::Directory {
                places.push([&name[..], b"/"].concat());
            }
            places.push(name);
        }
        places.sort_unstable();
        Ok(Level { places: places.into_iter(), path: self.path.len(), id: stat.id })
    }

    fn find(&self, name: &[u8]) -> Result<Found, WalkError> {
        let path = self.join(name);
        let look = || {
            let name = terminated(name)?;
            let stat = fs::stat_at(self.directory.as_fd(), &name)?;
            Ok((name, stat))
        };
        match look() {
            Ok((name, stat)) => Ok(Found { path, name, stat }),
            Err(source) => Err(WalkError { path, source }),
        }
    }

    fn join(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { name.to_vec() } else { [&self.path[..], b"/", name].concat() }
    }

    fn at_here<T>(&self, result: io::Result<T>) -> Result<T, WalkError> {
        result.map_err(|source| WalkError { path: self.path.clone(), source })
    }
}

fn terminated(name: &[u8]) -> io::Result<CString> {
    CString::new(name).map_err(io::Error::other)
}
