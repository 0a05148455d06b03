//! Writes images into temporary files and reads whole trees back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;

use hypr_squash::{Kind, Metadata, Options, Reader, Summary, Writer};

/// A tree by its paths.
pub(crate) type Tree = BTreeMap<Vec<u8>, Entry>;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) metadata: Metadata,
    pub(crate) kind: Kind,
    pub(crate) content: Vec<u8>,
}

/// Options with a number of threads.
pub(crate) fn options(threads: usize) -> Options {
    Options { threads: NonZeroUsize::new(threads).unwrap(), ..Options::default() }
}

/// Writes an image with what `fill` adds.
pub(crate) fn write(options: Options, fill: impl FnOnce(&mut Writer)) -> (File, Summary) {
    let file = tempfile::tempfile().unwrap();
    let mut writer = Writer::create(file.try_clone().unwrap(), options).unwrap();
    fill(&mut writer);
    let summary = writer.finish().unwrap();
    (file, summary)
}

/// Opens an image written before.
pub(crate) fn open(file: &File) -> Reader {
    Reader::open(file.try_clone().unwrap()).unwrap()
}

/// Everything in an image.
pub(crate) fn tree(reader: &Reader) -> Tree {
    let mut tree = Tree::new();
    for entry in reader.walk() {
        let (path, node) = entry.unwrap();
        let mut content = Vec::new();
        node.open().unwrap().read_to_end(&mut content).unwrap();
        tree.insert(path, Entry { metadata: node.metadata().unwrap(), kind: node.kind().unwrap(), content });
    }
    tree
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
