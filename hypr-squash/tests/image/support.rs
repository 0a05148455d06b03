//! Writes images into temporary files, and reads whole trees from images and from disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use hypr_squash::{Kind, Metadata, Options, Reader, Special, Summary, Writer, Xattrs};

/// A tree by its paths.
pub(crate) type Tree = BTreeMap<Vec<u8>, Entry>;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) metadata: Metadata,
    pub(crate) kind: Kind,
    pub(crate) content: Vec<u8>,
    /// The first path of the inode.
    pub(crate) first: Vec<u8>,
}

/// Options with a number of threads.
pub(crate) fn options(threads: usize) -> Options {
    Options { threads: NonZeroUsize::new(threads).unwrap(), ..Options::default() }
}

/// Writes an image with what `fill` adds.
pub(crate) fn write(options: Options, fill: impl FnOnce(&mut Writer)) -> (File, Summary) {
    let file = tempfile::tempfile().unwrap();
    let summary = write_to(&file, options, fill);
    (file, summary)
}

/// Writes an image to a file.
pub(crate) fn write_to(file: &File, options: Options, fill: impl FnOnce(&mut Writer)) -> Summary {
    let mut writer = Writer::create(file.try_clone().unwrap(), options).unwrap();
    fill(&mut writer);
    writer.finish().unwrap()
}

/// Opens an image written before.
pub(crate) fn open(file: &File) -> Reader {
    Reader::open(file.try_clone().unwrap()).unwrap()
}

/// All bytes of a file.
pub(crate) fn file_bytes(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Everything in an image.
pub(crate) fn tree(reader: &Reader) -> Tree {
    let mut tree = Tree::new();
    let mut firsts = BTreeMap::new();
    for entry in reader.walk() {
        let (path, node) = entry.unwrap();
        let mut content = Vec::new();
        node.open().unwrap().read_to_end(&mut content).unwrap();
        let first = firsts.entry(node.inode_number()).or_insert_with(|| path.clone()).clone();
        let (metadata, kind) = (node.metadata().unwrap(), node.kind().unwrap());
        tree.insert(path, Entry { metadata, kind, content, first });
    }
    tree
}

/// Everything below a directory on disk.
pub(crate) fn disk_tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut firsts = BTreeMap::new();
    visit(root, Vec::new(), &mut tree, &mut firsts);
    tree
}

fn visit(root: &Path, path: Vec<u8>, tree: &mut Tree, firsts: &mut BTreeMap<u64, Vec<u8>>) {
    let full = root.join(std::ffi::OsStr::from_bytes(&path));
    let stat = full.symlink_metadata().unwrap();
    let device = || (rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev()));
    let mut content = Vec::new();
    let mut children = Vec::new();
    let kind = match stat.mode() & 0o170_000 {
        0o040_000 => {
            children = std::fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name().into_vec()).collect();
            Kind::Directory
        }
        0o100_000 => {
            content = std::fs::read(&full).unwrap();
            Kind::File { size: stat.len() }
        }
        0o120_000 => Kind::Symlink { target: std::fs::read_link(&full).unwrap().into_os_string().into_vec() },
        0o020_000 => Kind::Special(Special::CharDevice { major: device().0, minor: device().1 }),
        0o060_000 => Kind::Special(Special::BlockDevice { major: device().0, minor: device().1 }),
        0o010_000 => Kind::Special(Special::Fifo),
        _ => Kind::Special(Special::Socket),
    };
    let metadata = Metadata {
        mode: (stat.mode() & 0o7777) as u16,
        uid: stat.uid(),
        gid: stat.gid(),
        mtime: stat.mtime(),
        xattrs: disk_xattrs(&full),
    };
    let first = firsts.entry(stat.ino()).or_insert_with(|| path.clone()).clone();
    tree.insert(path.clone(), Entry { metadata, kind, content, first });
    children.sort();
    for name in children {
        let below = if path.is_empty() { name } else { [&path[..], &name[..]].join(&b'/') };
        visit(root, below, tree, firsts);
    }
}

fn disk_xattrs(path: &Path) -> Xattrs {
    let mut names = vec![0_u8; 65_536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0_u8; 65_536];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(length);
        value
    };
    names.filter(|name| !name.starts_with(b"system.")).map(|name| (name.to_vec(), value(name))).collect()
}

/// Metadata of an ordinary file.
pub(crate) fn metadata(mode: u16) -> Metadata {
    Metadata { mode, uid: 1000, gid: 100, mtime: 1_700_000_000, ..Metadata::default() }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_derive_key(seed).finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes that compress by about half, the same for the same seed.
pub(crate) fn text(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = noise(seed, length);
    bytes.iter_mut().step_by(2).for_each(|byte| *byte = b' ');
    bytes
}

/// Tells that a test could not run, and why. As root everything is possible, so there it fails.
#[expect(clippy::print_stderr, reason = "a test that did not run says so")]
pub(crate) fn skipped(reason: &str) {
    assert!(!rustix::process::geteuid().is_root(), "this test must not be skipped as root: {reason}");
    eprintln!("skipped: {reason}");
}
