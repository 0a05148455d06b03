//! A Dockerfile and its build context.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// A folder with a Dockerfile, and flags that every build of it takes.
#[derive(Debug)]
pub struct Project {
    path: PathBuf,
}

impl Project {
    pub(super) fn new(path: PathBuf, dockerfile: &str) -> Self {
        fs::create_dir_all(&path).expect("a new folder");
        Self { path }.file("Dockerfile", dockerfile)
    }

    /// Writes a file, and the folders above it. Its mode is 0644.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.mode(name, 0o644, content)
    }

    /// Writes a file with a mode.
    pub fn mode(self, name: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().expect("is below the project")).expect("a folder in the project");
        fs::write(&path, content).expect("a file in the project");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the file's mode");
        self
    }

    /// Makes a symbolic link.
    pub fn link(self, name: &str, target: &str) -> Self {
        symlink(target, self.path.join(name)).expect("a link in the project");
        self
    }

    /// Replaces the Dockerfile.
    pub fn dockerfile(self, text: &str) -> Self {
        self.file("Dockerfile", text)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder as a tar stream, times left out.
    pub fn tar(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        tar.mode(tar::HeaderMode::Deterministic);
        tar.follow_symlinks(false);
        tar.append_dir_all(".", &self.path).expect("a tar of the project");
        tar.into_inner().expect("a tar in memory")
    }
}
