//! What stood in the upper directory before the process began: mount points, and directories copied up for them.

use std::{
    collections::HashMap,
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use crate::{
    sys::fs::{self, Kind, Stat},
    walk::{Found, Walk, WalkError},
};

/// The state of every entry of an upper directory at one moment.
///
/// An entry whose state is still the same, change time included, was not touched by the process and is no change of
/// its. Mounting something on an entry leaves its state as it is.
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    states: HashMap<Vec<u8>, Stat>,
}

impl Baseline {
    /// Records the tree in `upper`. It is taken once the mount points are made and before the process starts.
    pub(crate) fn record(upper: BorrowedFd<'_>) -> Result<Self, WalkError> {
        let at_root = |source| WalkError { path: Vec::new(), source };
        let mut walk = Walk::new(upper).map_err(at_root)?;
        let mut states = HashMap::new();
        while let Some(found) = walk.next(&mut |_, _| Ok(false))? {
            states.insert(found.path, found.stat);
        }
        Ok(Self { states })
    }

    /// Whether `found`, which is in `directory`, is as it was, with all that is below it.
    pub(crate) fn holds(&self, found: &Found, directory: BorrowedFd<'_>) -> io::Result<bool> {
        if self.states.get(&found.path) != Some(&found.stat) {
            return Ok(false);
        }
        if found.stat.kind != Kind::Directory {
            return Ok(true);
        }
        let opened = fs::open_dir(directory, &found.name)?;
        for name in fs::names(opened.as_fd())? {
            let path = [&found.path[..], b"/", &name].concat();
            let name = CString::new(name).map_err(io::Error::other)?;
            let stat = fs::stat_at(opened.as_fd(), &name)?;
            // As deep as the mount points are, since what is not recorded ends it.
            if !self.holds(&Found { path, name, stat }, opened.as_fd())? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
