//! Layers made for the tests.

use std::{fs, path::Path, process::Command};

use hypr_build::{Digest, Layer, LayerId, Snapshot};
use tempfile::TempDir;

/// A directory for layers and one for what steps write, both gone with this value.
#[derive(Debug)]
pub(crate) struct Workshop {
    directory: TempDir,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("scratch")).unwrap();
        Self { directory }
    }

    pub(crate) fn scratch(&self) -> std::path::PathBuf {
        self.directory.path().join("scratch")
    }

    /// A layer of what `fill` puts into an empty directory.
    pub(crate) fn layer(&self, fill: impl FnOnce(&Path)) -> Layer {
        let tree = tempfile::tempdir_in(self.directory.path()).unwrap();
        fs::set_permissions(tree.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fill(tree.path());
        let image = tempfile::NamedTempFile::new_in(self.directory.path()).unwrap();
        let status = Command::new("mksquashfs")
            .args([tree.path(), image.path()])
            .args(["-noappend", "-quiet", "-no-progress", "-all-time", "1000000000"])
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
        let (_, path) = image.keep().unwrap();
        let bytes = fs::read(&path).unwrap();
        let digest = Digest::of(&bytes);
        Layer { id: LayerId { file: digest, content: digest, size: bytes.len() as u64 }, path }
    }

    /// A snapshot with a shell and the usual small programs.
    pub(crate) fn busybox(&self) -> Snapshot {
        Snapshot::new(vec![self.layer(busybox)])
    }
}

/// Puts busybox with a name for each of its programs into `root`.
pub(crate) fn busybox(root: &Path) {
    let bin = root.join("bin");
    fs::create_dir(&bin).unwrap();
    fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
    let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for name in String::from_utf8(list.stdout).unwrap().lines().filter(|name| *name != "busybox") {
        fs::hard_link(bin.join("busybox"), bin.join(name)).unwrap();
    }
    for name in ["etc", "tmp", "root"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
}
