//! What the kernel mounts for a test.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{is_root, process::Run};

/// A file system mounted until this is dropped.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    /// The mount point's folder, where it is not the caller's.
    _folder: Option<TempDir>,
}

impl Mounted {
    /// Mounts a squashfs file read-only. `None`, with a word on why, where that takes rights that the tests do not have.
    pub fn squashfs(file: &Path) -> Option<Self> {
        if !is_root() {
            announce("not root: the image is not mounted");
            return None;
        }
        let folder = TempDir::with_prefix("mounted-").expect("a temporary folder");
        Run::new("mount").args(["-t", "squashfs", "-o", "loop,ro"]).args([file, folder.path()]).ok();
        Some(Self { at: folder.path().to_owned(), _folder: Some(folder) })
    }

    /// Mounts an empty file system of a size such as `3m` at a path, which is made. Takes root.
    pub fn tmpfs(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).expect("a mount point");
        Run::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).args([at]).ok();
        Self { at: at.to_owned(), _folder: None }
    }

    /// A path in the file system, as the host sees it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.at.join(path.trim_start_matches('/'))
    }

    /// Runs a program of the image with the image as its root.
    pub fn chroot<'a>(&self, user: &str, command: impl IntoIterator<Item = &'a str>) -> Run {
        Run::new("chroot").args(["--userspec", user]).args([&self.at]).args(command)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Run::new("umount").args([&self.at]).run();
        if !std::thread::panicking() {
            assert!(unmounted.status.success(), "{unmounted}");
        }
    }
}

/// Says on standard error what a test leaves out here.
#[expect(clippy::print_stderr, reason = "a test that skips something says so")]
pub fn announce(what: &str) {
    eprintln!("skipped: {what}");
}
