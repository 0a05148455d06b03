//! Removes trees that builds left behind: read-only folders, folders without permissions, trees of any depth.

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

/// Folders held open at once. What lies deeper is moved up first, so that no depth runs out of descriptors.
const DEPTH: usize = 32;

/// Removes whatever is at `path`; nothing there is fine. Links are removed, never followed, and a file system that is
/// mounted below `path` is left alone with an error.
///
/// # Errors
/// The first error that kept something from being removed; the rest is removed all the same.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return ignore_missing(fs::remove_file(path)),
        Err(error) => return ignore_missing(Err(error)),
    }
    let (parent, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    let parent = match parent.as_os_str().is_empty() {
        true => rustix::fs::open(".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?,
        false => rustix::fs::open(parent, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?,
    };
    let name = CString::new(name.as_encoded_bytes())?;
    let Some(top) = open(parent.as_fd(), &name)? else { return Ok(()) };
    let mut sweep = Sweep {
        device: rustix::fs::fstat(&top)?.st_dev,
        top: top.as_fd(),
        nonce: super::random(),
        moved: 0,
        first_error: None,
    };
    // Folders that were moved up are found on the next pass.
    loop {
        let moved = sweep.moved;
        sweep.clear(top.as_fd(), 0);
        if sweep.moved == moved {
            break;
        }
    }
    match sweep.first_error {
        Some(error) => Err(error),
        None => ignore_missing(rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR).map_err(io::Error::from)),
    }
}

struct Sweep<'a> {
    device: u64,
    top: BorrowedFd<'a>,
    /// Part of the names of what was moved up, which no build can have foreseen.
    nonce: u64,
    moved: u64,
    first_error: Option<io::Error>,
}

impl Sweep<'_> {
    /// Removes what is in `folder`, as far as it goes.
    fn clear(&mut self, folder: BorrowedFd<'_>, depth: usize) {
        let entries = match Dir::read_from(folder) {
            Ok(entries) => entries,
            Err(error) => return self.note(error),
        };
        for entry in entries {
            match entry {
                Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Ok(entry) => {
                    if let Err(error) = self.remove(folder, entry.file_name(), entry.file_type(), depth) {
                        self.note(error);
                    }
                }
                Err(error) => return self.note(error),
            }
        }
    }

    fn remove(&mut self, folder: BorrowedFd<'_>, name: &CStr, kind: FileType, depth: usize) -> Result<(), Errno> {
        if !matches!(kind, FileType::Directory | FileType::Unknown) {
            return present(rustix::fs::unlinkat(folder, name, AtFlags::empty()));
        }
        // An empty folder, the usual case in a tree of work folders, needs no look inside.
        match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTDIR) => return present(rustix::fs::unlinkat(folder, name, AtFlags::empty())),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            result => return present(result),
        }
        let Some(child) = open(folder, name)? else { return Ok(()) };
        if rustix::fs::fstat(&child)?.st_dev != self.device {
            return Err(Errno::BUSY);
        }
        if depth == DEPTH {
            self.moved += 1;
            return rustix::fs::renameat(folder, name, self.top, format!("{:x}-{}", self.nonce, self.moved));
        }
        self.clear(child.as_fd(), depth + 1);
        match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
            // The reason is noted already.
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.first_error.is_some() => Ok(()),
            result => present(result),
        }
    }

    fn note(&mut self, error: Errno) {
        self.first_error.get_or_insert_with(|| error.into());
    }
}

/// Opens the folder `name` for reading and makes it writable for its owner; `None` if it is gone.
fn open(parent: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            return Ok(Some(rustix::fs::openat(parent, name, flags, Mode::empty())?));
        }
        Err(error) => return Err(error),
    };
    if Mode::from_raw_mode(rustix::fs::fstat(&folder)?.st_mode).contains(Mode::RWXU) {
        return Ok(Some(folder));
    }
    // Where this is not allowed, removing what is inside says so.
    let _ = rustix::fs::fchmod(&folder, Mode::RWXU);
    Ok(Some(folder))
}

fn present(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn tree_with_read_only_folders_and_links_is_removed_and_links_are_not_followed() -> io::Result<()> {
        let temporary = tempfile::tempdir()?;
        let kept = temporary.path().join("kept");
        fs::create_dir(&kept)?;
        fs::write(kept.join("file"), "x")?;
        let tree = temporary.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c"))?;
        fs::write(tree.join("a/b/file"), "x")?;
        symlink(&kept, tree.join("a/link"))?;
        for (path, mode) in [("a/b/c", 0o000), ("a/b", 0o555), ("a", 0o000)] {
            fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode))?;
        }
        remove_tree(&tree)?;
        assert!(!tree.exists());
        assert!(kept.join("file").exists());
        remove_tree(&tree)
    }

    #[test]
    fn tree_deeper_than_descriptors_and_paths_reach_is_removed() -> io::Result<()> {
        let temporary = tempfile::tempdir()?;
        let tree = temporary.path().join("tree");
        fs::create_dir(&tree)?;
        let mut folder = rustix::fs::open(&tree, OFlags::DIRECTORY, Mode::empty())?;
        for _ in 0..3000 {
            rustix::fs::mkdirat(&folder, "d", Mode::RWXU)?;
            folder = rustix::fs::openat(&folder, "d", OFlags::DIRECTORY, Mode::empty())?;
        }
        drop(folder);
        remove_tree(&tree)?;
        assert!(!tree.exists());
        Ok(())
    }
}
