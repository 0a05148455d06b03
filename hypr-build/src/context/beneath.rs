//! Opens files of a folder by path so that no link on the way is followed and nothing outside is reached.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// The longest path that the kernel takes at once, with room for the byte that ends it.
const PATH_MAX: usize = 4095;

/// Whether the kernel, or a filter that containers are under, lacks `openat2`.
static WITHOUT_OPENAT2: AtomicBool = AtomicBool::new(false);

/// Opens `path` of `root`; `b""` is the folder itself. A link anywhere in the path is an error: [`Errno::LOOP`], or
/// [`Errno::NOTDIR`] where a folder is wanted.
pub(super) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let path = if path.is_empty() { b"." } else { path };
    if path.len() < PATH_MAX && !WITHOUT_OPENAT2.load(Ordering::Relaxed) {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(root, OsStr::from_bytes(path), flags, Mode::empty(), resolve) {
            // A filter answers EPERM, which an `open` for reading has no other reason to.
            Err(Errno::NOSYS | Errno::PERM) => WITHOUT_OPENAT2.store(true, Ordering::Relaxed),
            result => return result,
        }
    }
    open_stepwise(root, path, flags)
}

/// Goes part by part; for paths that are too long for the kernel, and for old kernels.
fn open_stepwise(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut parts = path.split(|byte| *byte == b'/').peekable();
    let mut folder: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        if part == b".." {
            return Err(Errno::XDEV);
        }
        let parent = folder.as_ref().map_or(root, AsFd::as_fd);
        let flags = match parts.peek() {
            Some(_) => OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            None => flags,
        };
        folder = Some(rustix::fs::openat(parent, OsStr::from_bytes(part), flags, Mode::empty())?);
    }
    folder.ok_or(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn neither_links_nor_parents_are_followed_with_and_without_openat2() -> Result<(), Box<dyn std::error::Error>> {
        let temporary = tempfile::tempdir()?;
        fs::write(temporary.path().join("secret"), "")?;
        let folder = temporary.path().join("folder");
        fs::create_dir_all(folder.join("a/b"))?;
        fs::write(folder.join("a/b/file"), "")?;
        symlink("../secret", folder.join("out"))?;
        symlink("a", folder.join("in"))?;
        symlink("/", folder.join("root"))?;
        let root = fs::File::open(&folder)?;
        type Open = fn(BorrowedFd<'_>, &[u8], OFlags) -> Result<OwnedFd, Errno>;
        let openers: [Open; 2] = [open, |root, path, flags| open_stepwise(root, path, flags | OFlags::NOFOLLOW)];
        for open in openers {
            for path in ["a", "a/b", "a/b/file"] {
                assert!(open(root.as_fd(), path.as_bytes(), OFlags::RDONLY).is_ok(), "{path}");
            }
            for path in ["out", "in", "in/b", "root/etc", "..", "a/../../secret", "../secret", "none", "a/b/file/x"] {
                assert!(open(root.as_fd(), path.as_bytes(), OFlags::RDONLY).is_err(), "{path}");
            }
        }
        assert!(open(root.as_fd(), b"", OFlags::RDONLY | OFlags::DIRECTORY).is_ok());
        Ok(())
    }

    #[test]
    fn path_longer_than_the_kernel_takes_is_opened() -> Result<(), Box<dyn std::error::Error>> {
        let temporary = tempfile::tempdir()?;
        let name = "n".repeat(200);
        let root = fs::File::open(temporary.path())?;
        let mut folder = root.try_clone()?.into();
        for _ in 0..30 {
            rustix::fs::mkdirat(&folder, &*name, Mode::RWXU)?;
            folder = rustix::fs::openat(&folder, &*name, OFlags::DIRECTORY, Mode::empty())?;
        }
        let path = vec![name; 30].join("/");
        assert!(open(root.as_fd(), path.as_bytes(), OFlags::DIRECTORY).is_ok());
        Ok(())
    }
}
