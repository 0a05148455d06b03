//! Merges of random stacks as libsquashfs sees them, through the crate `squashfs-ng`.
//!
//! Only with the feature of that name, because building it takes libsquashfs and libclang.

#[path = "../hypr-squash/tests/image/stacks.rs"]
mod stacks;
#[path = "../hypr-squash/tests/image/support.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use hypr_squash::{BlockSize, Kind, MergeOptions, Options, Reader, Special, Xattrs, merge};
use squashfs_ng::read::{Archive, Data, Node, XattrType};
use support::{Entry, Tree, tree};

fn xattrs(node: &Node<'_>) -> Xattrs {
    let mut all = Xattrs::new();
    for (kind, prefix) in
        [(XattrType::User, "user."), (XattrType::Trusted, "trusted."), (XattrType::Security, "security.")]
    {
        let set = node.xattrs(kind).unwrap();
        all.extend(set.into_iter().map(|(name, value)| ([prefix.as_bytes(), &name].concat(), value)));
    }
    all
}

fn assert_reads(image: &Path, expected: &Tree) {
    let archive = Archive::open(image).unwrap();
    for (path, Entry { metadata, kind, content, .. }) in expected {
        let name = std::str::from_utf8(path).unwrap();
        let node = archive.get_exists(format!("/{name}")).unwrap();
        let owner = (node.uid().unwrap(), node.gid().unwrap());
        assert_eq!((node.mode() & 0o7777, owner), (metadata.mode, (metadata.uid, metadata.gid)), "{name}");
        assert_eq!((i64::from(node.mtime()), xattrs(&node)), (metadata.mtime, metadata.xattrs.clone()), "{name}");
        let found = match node.data().unwrap() {
            Data::File(mut file) => {
                let bytes = if file.size() == 0 { Vec::new() } else { file.to_bytes().unwrap() };
                assert!(bytes == *content, "{name}");
                Kind::File { size: bytes.len() as u64 }
            }
            Data::Dir(directory) => {
                let below = |other: &&Vec<u8>| {
                    let parent = other.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |slash| &other[..slash]);
                    !other.is_empty() && parent == path.as_slice()
                };
                assert_eq!(directory.count(), expected.keys().filter(below).count(), "{name}");
                Kind::Directory
            }
            Data::Symlink(target) => Kind::Symlink { target: target.into_os_string().into_encoded_bytes() },
            Data::BlockDev(major, minor) => Kind::Special(Special::BlockDevice { major, minor }),
            Data::CharDev(major, minor) => Kind::Special(Special::CharDevice { major, minor }),
            Data::Fifo => Kind::Special(Special::Fifo),
            Data::Socket => Kind::Special(Special::Socket),
        };
        assert_eq!(found, *kind, "{name}");
    }
}

#[test]
fn merges_of_random_stacks_are_read_alike() {
    let mut paths = 0;
    for seed in 300..340 {
        let layers = stacks::stack(seed);
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = Options { block_size: BlockSize::MIN, ..Options::default() };
        let options = MergeOptions { options, ..MergeOptions::default() };
        merge(&layers, file.reopen().unwrap(), &options).unwrap();
        let expected = tree(&Reader::open(file.reopen().unwrap()).unwrap());
        assert_reads(file.path(), &expected);
        // A layer too, with its whiteouts.
        let mut layer = tempfile::NamedTempFile::new().unwrap();
        layer.write_all(&support::file_bytes(layers.last().unwrap().file())).unwrap();
        assert_reads(layer.path(), &tree(&Reader::open(File::open(layer.path()).unwrap()).unwrap()));
        paths += expected.len();
    }
    assert!(paths > 200, "{paths}");
}
