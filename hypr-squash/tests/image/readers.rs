//! Random trees and merges of random stacks, read by everybody who can.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hypr_squash::{BlockSize, Kind, MergeOptions, Options, Reader, merge};

use crate::oracles::{Mount, assert_same, is_root, run};
use crate::stacks;
use crate::support::{Tree, disk_tree, file_bytes, options, skipped, tree};

/// Without what only some readers show: which names are one inode.
fn without_links(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    tree.values_mut().for_each(|entry| entry.first.clear());
    tree
}

/// Without what programs that extract leave to chance.
fn plain(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for entry in tree.values_mut().filter(|entry| matches!(entry.kind, Kind::Special(_))) {
        entry.metadata.xattrs.clear();
        entry.metadata.mtime = 0;
    }
    tree
}

fn kernel(image: &Path, folder: &Path, expected: &Tree) -> Option<()> {
    let mount = Mount::new(image, folder.join("mounted"))?;
    assert_same(&disk_tree(&mount.0), expected, "kernel");
    Some(())
}

fn unsquashfs(image: &Path, folder: &Path, expected: &Tree) -> Option<()> {
    let target = folder.join("unsquashfs");
    run("unsquashfs", &["-no-progress".as_ref(), "-d".as_ref(), target.as_os_str(), image.as_os_str()])?;
    assert_same(&plain(&disk_tree(&target)), &plain(expected), "unsquashfs");
    Some(())
}

fn rdsquashfs(image: &Path, folder: &Path, expected: &Tree) -> Option<()> {
    let target = folder.join("rdsquashfs");
    fs::create_dir(&target).unwrap();
    let arguments = ["-u", "/", "-C", "-O", "-T", "-X", "-q", "-p"].map(OsStr::new);
    run("rdsquashfs", &[&arguments[..], &[target.as_os_str(), image.as_os_str()]].concat())?;
    // It makes no hard links, and leaves directories the times of their filling and the root as it was.
    let comparable = |tree: &Tree| {
        let mut tree = without_links(&plain(tree));
        tree.remove(b"".as_slice());
        for entry in tree.values_mut().filter(|entry| entry.kind == Kind::Directory) {
            entry.metadata.mtime = 0;
        }
        tree
    };
    assert_same(&comparable(&disk_tree(&target)), &comparable(expected), "rdsquashfs");
    Some(())
}

fn backhand(image: &Path, expected: &Tree) {
    let archive = backhand::FilesystemReader::from_reader(std::io::BufReader::new(File::open(image).unwrap())).unwrap();
    let mut paths = 0;
    for node in archive.files() {
        let path = node.fullpath.as_os_str().as_bytes();
        let entry = &expected[path.strip_prefix(b"/").unwrap()];
        let (metadata, header) = (&entry.metadata, &node.header);
        let found = (header.permissions, header.uid, header.gid, i64::from(header.mtime));
        assert_eq!(found, (metadata.mode, metadata.uid, metadata.gid, metadata.mtime), "{}", path.escape_ascii());
        match &node.inner {
            backhand::InnerNode::File(file) => {
                let mut content = Vec::new();
                std::io::Read::read_to_end(&mut archive.file(file).reader(), &mut content).unwrap();
                assert!(content == entry.content, "{}", path.escape_ascii());
            }
            backhand::InnerNode::Symlink(link) => {
                let target = link.link.as_os_str().as_bytes().to_vec();
                assert_eq!(entry.kind, Kind::Symlink { target }, "{}", path.escape_ascii());
            }
            backhand::InnerNode::Dir(_) => assert_eq!(entry.kind, Kind::Directory, "{}", path.escape_ascii()),
            _ => assert!(matches!(entry.kind, Kind::Special(_)), "{}", path.escape_ascii()),
        }
        paths += 1;
    }
    assert_eq!(paths, expected.len());
}

/// What a stack is merged to, in a folder.
fn merged(layers: &[Arc<Reader>], folder: &Path) -> (PathBuf, Tree) {
    let path = folder.join("merged");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let options =
        MergeOptions { options: Options { block_size: BlockSize::MIN, ..options(2) }, ..MergeOptions::default() };
    merge(layers, file.try_clone().unwrap(), &options).unwrap();
    let reader = Reader::open(file).unwrap();
    hypr_squash::verify(&reader).unwrap();
    (path, tree(&reader))
}

/// The kernel's overlay of the layers, as a tree.
fn overlay(layers: &[Arc<Reader>], folder: &Path) -> Option<Tree> {
    let (mut mounts, mut lower) = (Vec::new(), Vec::new());
    for (number, layer) in layers.iter().enumerate() {
        let image = folder.join(format!("layer{number}"));
        fs::write(&image, file_bytes(layer.file())).unwrap();
        let mount = Mount::new(&image, folder.join(format!("mounted{number}")))?;
        lower.insert(0, mount.0.to_str().unwrap().to_owned());
        mounts.push(mount);
    }
    // Of one directory alone there is no overlay.
    let empty = folder.join("empty");
    fs::create_dir(&empty).unwrap();
    lower.push(empty.to_str().unwrap().to_owned());
    let options = format!("ro,lowerdir={}", lower.join(":"));
    let target = folder.join("overlay");
    fs::create_dir(&target).unwrap();
    let arguments = ["-t", "overlay", "-o", &options, "overlay"].map(OsStr::new);
    run("mount", &[&arguments[..], &[target.as_os_str()]].concat())?;
    let mount = Mount(target);
    let tree = disk_tree(&mount.0);
    drop(mount);
    Some(tree)
}

#[test]
fn merges_of_random_stacks_are_read_alike_by_everybody() {
    if !is_root() {
        skipped("mounts, owners and devices need root");
        return;
    }
    for seed in 0..14 {
        let layers = stacks::stack(seed);
        let folder = tempfile::tempdir().unwrap();
        let (image, expected) = merged(&layers, folder.path());
        let Some(seen) = overlay(&layers, folder.path()) else { return };
        assert_same(&without_links(&seen), &without_links(&expected), &format!("overlay, seed {seed}"));
        backhand(&image, &expected);
        let read = [kernel, unsquashfs, rdsquashfs].map(|read| read(&image, folder.path(), &expected));
        assert!(read.iter().all(Option::is_some), "everybody could read");
    }
}

#[test]
fn random_trees_are_read_alike_by_everybody() {
    if !is_root() {
        skipped("mounts, owners and devices need root");
        return;
    }
    for seed in 100..110 {
        // The lowest layer of a stack is a tree without notes of overlayfs.
        let layer = Arc::clone(&stacks::stack(seed)[0]);
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        fs::write(&image, file_bytes(layer.file())).unwrap();
        let expected = tree(&layer);
        backhand(&image, &expected);
        let read = [kernel, unsquashfs, rdsquashfs].map(|read| read(&image, folder.path(), &expected));
        assert!(read.iter().all(Option::is_some), "everybody could read");
    }
}
