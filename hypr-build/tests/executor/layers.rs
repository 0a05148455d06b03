//! Layers made for the tests.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use hypr_build::{Layer, LayerId, Snapshot};
use hypr_squash::{Metadata, Options, Special, Writer, Xattrs};
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

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.path().join("scratch")
    }

    /// A layer of what `fill` adds to an empty one.
    pub(crate) fn layer(&self, fill: impl FnOnce(&mut LayerWriter)) -> Layer {
        let file = tempfile::NamedTempFile::new_in(self.path()).unwrap();
        let (file, path) = file.keep().unwrap();
        let mut layer = LayerWriter(Writer::create(file, Options::default()).unwrap());
        fill(&mut layer);
        let summary = layer.0.finish().unwrap();
        let id =
            LayerId { file: summary.file_digest.into(), content: summary.content_digest.into(), size: summary.bytes };
        Layer { id, path }
    }

    /// A snapshot with a shell and the usual small programs.
    pub(crate) fn busybox(&self) -> Snapshot {
        Snapshot::new(vec![self.layer(LayerWriter::busybox)])
    }

    /// The same with another layer on top.
    pub(crate) fn busybox_and(&self, fill: impl FnOnce(&mut LayerWriter)) -> Snapshot {
        self.busybox().with(self.layer(fill))
    }
}

/// Adds entries to a layer.
#[derive(Debug)]
pub(crate) struct LayerWriter(Writer);

impl LayerWriter {
    pub(crate) fn directory(&mut self, path: &str, mode: u16) -> &mut Self {
        self.0.add_directory(path.as_bytes(), &metadata(mode)).unwrap();
        self
    }

    pub(crate) fn opaque_directory(&mut self, path: &str) -> &mut Self {
        let xattrs = Xattrs::from([(b"trusted.overlay.opaque".to_vec(), b"y".to_vec())]);
        self.0.add_directory(path.as_bytes(), &Metadata { xattrs, ..metadata(0o755) }).unwrap();
        self
    }

    pub(crate) fn file(&mut self, path: &str, mode: u16, content: &[u8]) -> &mut Self {
        self.0.add_file(path.as_bytes(), &metadata(mode), &mut &content[..]).unwrap();
        self
    }

    pub(crate) fn owned_directory(&mut self, path: &str, owner: u32, mode: u16) -> &mut Self {
        self.0.add_directory(path.as_bytes(), &Metadata { uid: owner, gid: owner, ..metadata(mode) }).unwrap();
        self
    }

    pub(crate) fn owned_file(&mut self, path: &str, uid: u32, gid: u32, content: &[u8]) -> &mut Self {
        let metadata = Metadata { uid, gid, ..metadata(0o640) };
        self.0.add_file(path.as_bytes(), &metadata, &mut &content[..]).unwrap();
        self
    }

    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.0.add_symlink(path.as_bytes(), &metadata(0o777), target.as_bytes()).unwrap();
        self
    }

    pub(crate) fn whiteout(&mut self, path: &str) -> &mut Self {
        let nothing = Special::CharDevice { major: 0, minor: 0 };
        self.0.add_special(path.as_bytes(), &metadata(0), nothing).unwrap();
        self
    }

    /// Busybox with a name for each of its programs, and the directories of a small system.
    pub(crate) fn busybox(&mut self) {
        for path in ["bin", "etc", "root", "usr", "usr/bin"] {
            self.directory(path, 0o755);
        }
        self.directory("tmp", 0o1777);
        let mut program = File::open("/bin/busybox").unwrap();
        self.0.add_file(b"bin/busybox", &metadata(0o755), &mut program).unwrap();
        let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
        for name in String::from_utf8(list.stdout).unwrap().lines().filter(|name| *name != "busybox") {
            self.0.add_hard_link(format!("bin/{name}").as_bytes(), b"bin/busybox").unwrap();
        }
        self.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    }
}

fn metadata(mode: u16) -> Metadata {
    Metadata { mode, mtime: 1_000_000_000, ..Metadata::default() }
}
