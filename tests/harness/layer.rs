//! A layer of a base image, written as a tar stream in memory.

use std::{path::Path, sync::OnceLock};

use tar::{EntryType, Header};

use super::process::Run;

/// 2024-01-02 03:04:05, the time of everything in a base image of the tests.
const TIME: u64 = 1_704_164_645;

/// One layer of a base image, entries in the order in which they were added.
#[derive(Debug, Default)]
pub struct Layer {
    tar: Vec<u8>,
}

impl Layer {
    /// A layer of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Busybox with all its commands, `root` and `nobody`, `/tmp`, and a few files that tests delete or replace.
    pub fn busybox() -> Self {
        static TAR: OnceLock<Vec<u8>> = OnceLock::new();
        let tar = TAR.get_or_init(|| {
            let program = std::fs::read("/bin/busybox").expect("/bin/busybox: run tests/run.sh, which installs it");
            let applets = Run::new("/bin/busybox").args(["--list-full"]).ok().out();
            let mut layer = Self::new();
            for folder in ["bin", "etc", "home", "opt", "root", "sbin", "usr", "usr/bin", "usr/sbin", "var", "var/old"]
            {
                layer = layer.folder(folder, 0o755);
            }
            layer = layer.entry("tmp", EntryType::Directory, 0o1777, (0, 0), b"");
            layer = layer.file("bin/busybox", 0o755, (0, 0), &program);
            for applet in applets.lines().filter(|applet| *applet != "bin/busybox") {
                layer = layer.link(applet, "/bin/busybox");
            }
            layer
                .file("etc/passwd", 0o644, (0, 0), b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
                .file("etc/group", 0o644, (0, 0), b"root:x:0:\nnogroup:x:65534:\n")
                .file("etc/base", 0o640, (7, 8), b"of the base\n")
                .file("var/old/one", 0o644, (0, 0), b"1")
                .file("var/old/two", 0o644, (0, 0), b"2")
                .tar
        });
        Self { tar: tar.clone() }
    }

    /// Adds a directory of root's.
    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.entry(path, EntryType::Directory, mode, (0, 0), b"")
    }

    /// Adds a file.
    pub fn file(self, path: &str, mode: u32, owner: (u64, u64), content: &[u8]) -> Self {
        self.entry(path, EntryType::Regular, mode, owner, content)
    }

    /// Adds a symbolic link of root's.
    pub fn link(mut self, path: &str, target: &str) -> Self {
        let mut header = header(EntryType::Symlink, 0o777, (0, 0), 0);
        self.append(|tar| tar.append_link(&mut header, path, target));
        self
    }

    /// Adds an entry as it stands, with a path that may be anything: `../x` and `/x` too.
    pub fn raw(mut self, path: &str, kind: EntryType, target: &str, content: &[u8]) -> Self {
        let mut header = header(kind, 0o644, (0, 0), content.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.append(|tar| tar.append(&header, content));
        self
    }

    /// The tar stream with its end.
    pub fn tar(&self) -> Vec<u8> {
        let mut bytes = self.tar.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    fn entry(mut self, path: &str, kind: EntryType, mode: u32, owner: (u64, u64), content: &[u8]) -> Self {
        let mut header = header(kind, mode, owner, content.len() as u64);
        self.append(|tar| tar.append_data(&mut header, Path::new(path), content));
        self
    }

    /// Appends without the end, so that more can follow.
    fn append(&mut self, entry: impl FnOnce(&mut tar::Builder<&mut Vec<u8>>) -> std::io::Result<()>) {
        let mut tar = tar::Builder::new(&mut self.tar);
        entry(&mut tar).expect("an entry of a tar in memory");
        // Dropping the builder would end the stream.
        std::mem::forget(tar);
    }
}

fn header(kind: EntryType, mode: u32, owner: (u64, u64), size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.0);
    header.set_gid(owner.1);
    header.set_mtime(TIME);
    header.set_size(size);
    header
}
