//! The kernel's overlayfs and `unsquashfs` as independent witnesses.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::{MergeOptions, merged, one, stacks};
use crate::tar::{ReadOptions, Whiteouts, unpack_into};
use crate::testing::{image, listing};
use crate::{Overlay, Reader};

/// Mounts the layers `l0.img` (lowest) and up, and an overlay of them, in a mount namespace of its own, whose mounts
/// end with it; prints the tree as a tar archive.
const MOUNT_AND_ARCHIVE: &str = r#"
set -e
mount --make-rprivate /
mkdir empty
dirs=$PWD/empty
n=0
while [ -e l$n.img ]; do
  mkdir l$n
  mount -t squashfs -o loop,ro l$n.img l$n
  dirs=$PWD/l$n:$dirs
  n=$((n + 1))
done
mkdir tree
mount -t overlay -o ro,lowerdir=$dirs overlay tree
# Where a whiteout hides nothing, the kernel lists its name and then knows no such file: status 1.
tar --format=posix --xattrs --xattrs-include='*' --numeric-owner -C tree -cf - . || [ $? -eq 1 ]
"#;

const UNPACK_AND_ARCHIVE: &str = r#"
set -e
unsquashfs -quiet -no-progress -d tree merged.img >/dev/null
tar --format=posix --xattrs --xattrs-include='*' --numeric-owner -C tree -cf - .
"#;

/// Runs a script in a directory with mounts of its own; `None`, with a note, where this machine does not let us.
fn archive_of(directory: &Path, script: &str) -> Option<Vec<u8>> {
    let output = Command::new("unshare").args(["-m", "sh", "-c", script]).current_dir(directory).output();
    match output {
        Ok(output) if output.status.success() => Some(output.stdout),
        Ok(output) => skipped(&String::from_utf8_lossy(&output.stderr)),
        Err(error) => skipped(&error.to_string()),
    }
}

fn skipped(reason: &str) -> Option<Vec<u8>> {
    assert!(!rustix::process::geteuid().is_root(), "this test must not be skipped as root: {reason}");
    std::io::stderr().write_all(format!("skipped, not possible here: {reason}\n").as_bytes()).unwrap();
    None
}

/// A tar archive as a listing.
fn listed(tar: &[u8]) -> Vec<String> {
    let reader = image(|writer| {
        let options = ReadOptions { whiteouts: Whiteouts::None, ..ReadOptions::default() };
        unpack_into(writer, tar, &options).map(drop)
    });
    listing(&one(&reader))
}

/// Writes the image of a reader to a file.
fn save(reader: &Reader, path: &Path) {
    let mut bytes = vec![0; usize::try_from(reader.file().metadata().unwrap().len()).unwrap()];
    std::os::unix::fs::FileExt::read_exact_at(reader.file(), &mut bytes, 0).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn save_layers(layers: &[Arc<Reader>], directory: &Path) {
    for (number, layer) in layers.iter().enumerate() {
        save(layer, &directory.join(format!("l{number}.img")));
    }
}

#[test]
fn the_kernel_sees_the_same_tree_in_the_layers_and_in_the_merge() {
    for seed in 100..116 {
        let layers = stacks::Random::new(seed).stack();
        let expected = listing(&Overlay::new(layers.clone()));
        let directory = tempfile::tempdir().unwrap();
        save_layers(&layers, directory.path());
        let Some(tar) = archive_of(directory.path(), MOUNT_AND_ARCHIVE) else { return };
        assert_eq!(listed(&tar), expected, "overlay mount, seed {seed}");

        let (reader, _, _) = merged(&layers, &MergeOptions::default());
        let directory = tempfile::tempdir().unwrap();
        save_layers(&[reader], directory.path());
        let Some(tar) = archive_of(directory.path(), MOUNT_AND_ARCHIVE) else { return };
        assert_eq!(listed(&tar), expected, "loop mount of the merge, seed {seed}");
    }
}

#[test]
fn unsquashfs_reads_the_merge() {
    if !rustix::process::geteuid().is_root() {
        drop(skipped("owners need root"));
        return;
    }
    for seed in 200..206 {
        let layers = stacks::Random::new(seed).stack();
        let (reader, _, _) = merged(&layers, &MergeOptions::default());
        let directory = tempfile::tempdir().unwrap();
        save(&reader, &directory.path().join("merged.img"));
        let Some(tar) = archive_of(directory.path(), UNPACK_AND_ARCHIVE) else { return };
        assert_eq!(listed(&tar), listing(&Overlay::new(layers)), "seed {seed}");
    }
}
