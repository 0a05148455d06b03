//! Random trees come back as they went in.

use hypr_squash::{BlockSize, Codec, Kind, Metadata, Options, Special, Writer, Xattrs, content_digest};
use proptest::prelude::*;

use crate::support::{Entry, Tree, file_bytes, open, options, text, tree, write};

/// One entry to add, before it is known whether its path is free.
#[derive(Debug, Clone)]
struct Addition {
    path: Vec<Vec<u8>>,
    metadata: Metadata,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Directory,
    /// Pieces of content: a number that stands for its bytes, zero for a hole, and a length.
    File(Vec<(u8, usize)>),
    Symlink(Vec<u8>),
    Special(Special),
    /// A name for an entry added before.
    HardLink(prop::sample::Index),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec![b"a".to_vec(), b"b".to_vec(), b"ab".to_vec(), b"a-".to_vec(), b"\xff".to_vec()]),
        1 => prop::collection::vec(1_u8..255, 1..40).prop_map(|mut name| {
            name.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = b'_');
            if name.iter().all(|&byte| byte == b'.') { name.push(b'x') }
            name
        }),
    ]
}

fn xattrs() -> impl Strategy<Value = Xattrs> {
    let name = prop::sample::select(vec!["user.a", "user.bb", "trusted.c", "security.capability"]);
    let value = prop_oneof![
        prop::sample::select(vec![vec![], vec![1; 8], vec![2; 9], vec![3; 9000]]),
        prop::collection::vec(any::<u8>(), 0..20)
    ];
    prop_oneof![
        3 => Just(Xattrs::new()),
        1 => prop::collection::btree_map(name.prop_map(|name| name.as_bytes().to_vec()), value, 1..4).prop_map(Xattrs::from_iter),
    ]
}

fn what() -> impl Strategy<Value = What> {
    let length = prop_oneof![prop::sample::select(vec![1, 4095, 4096, 4097, 8192, 12_288]), 0_usize..20_000];
    prop_oneof![
        2 => Just(What::Directory),
        6 => prop::collection::vec((0_u8..4, length), 0..5).prop_map(What::File),
        1 => prop::collection::vec(1_u8..=255, 1..300).prop_map(What::Symlink),
        1 => prop::sample::select(vec![
            Special::Fifo,
            Special::Socket,
            Special::CharDevice { major: 0, minor: 0 },
            Special::BlockDevice { major: 4095, minor: 0xf_ffff },
        ]).prop_map(What::Special),
        1 => any::<prop::sample::Index>().prop_map(What::HardLink),
    ]
}

fn addition() -> impl Strategy<Value = Addition> {
    let id = prop_oneof![0_u32..4, any::<u32>()];
    let metadata = (0_u16..=0o7777, id.clone(), id, 0_i64..=i64::from(u32::MAX), xattrs())
        .prop_map(|(mode, uid, gid, mtime, xattrs)| Metadata { mode, uid, gid, mtime, xattrs });
    (prop::collection::vec(name(), 1..5), metadata, what()).prop_map(|(path, metadata, what)| Addition {
        path,
        metadata,
        what,
    })
}

/// Adds to the writer and to what is expected of it.
fn add(writer: &mut Writer, expected: &mut Tree, addition: &Addition) {
    let path = addition.path.join(&b'/');
    let is_directory = |entry: Option<&Entry>| entry.is_none_or(|entry| entry.kind == Kind::Directory);
    let parents = (1..addition.path.len()).map(|length| addition.path[..length].join(&b'/'));
    if expected.contains_key(&path) || !parents.clone().all(|parent| is_directory(expected.get(&parent))) {
        return;
    }
    let metadata = &addition.metadata;
    let mut content = Vec::new();
    let kind = match &addition.what {
        What::Directory => {
            writer.add_directory(&path, metadata).unwrap();
            Kind::Directory
        }
        What::File(pieces) => {
            for &(seed, length) in pieces {
                content.extend(if seed == 0 { vec![0; length] } else { text(&seed.to_string(), length) });
            }
            writer.add_file(&path, metadata, &mut &content[..]).unwrap();
            Kind::File { size: content.len() as u64 }
        }
        What::Symlink(target) => {
            writer.add_symlink(&path, metadata, target).unwrap();
            Kind::Symlink { target: target.clone() }
        }
        What::Special(special) => {
            writer.add_special(&path, metadata, *special).unwrap();
            Kind::Special(*special)
        }
        What::HardLink(index) => {
            let targets: Vec<_> = expected.iter().filter(|(_, entry)| entry.kind != Kind::Directory).collect();
            if targets.is_empty() {
                return;
            }
            let (target, entry) = targets[index.index(targets.len())];
            let (target, entry) = (target.clone(), entry.clone());
            writer.add_hard_link(&path, &target).unwrap();
            insert(expected, parents, path, entry);
            return;
        }
    };
    let entry = Entry { metadata: metadata.clone(), kind, content, first: path.clone() };
    insert(expected, parents, path, entry);
}

fn insert(expected: &mut Tree, parents: impl Iterator<Item = Vec<u8>>, path: Vec<u8>, entry: Entry) {
    for parent in std::iter::once(Vec::new()).chain(parents) {
        expected.entry(parent.clone()).or_insert_with(|| Entry {
            metadata: Metadata { mode: 0o755, ..Metadata::default() },
            kind: Kind::Directory,
            content: Vec::new(),
            first: parent,
        });
    }
    expected.insert(path, entry);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_come_back(
        additions in prop::collection::vec(addition(), 0..60),
        codec in prop::sample::select(vec![Codec::Zstd { level: 1 }, Codec::Lz4, Codec::Gzip { level: 1 }]),
        threads in 1_usize..4,
    ) {
        let options = Options { codec, block_size: BlockSize::MIN, ..options(threads) };
        let mut expected = Tree::new();
        insert(&mut expected, std::iter::empty(), b"x".to_vec(), Entry {
            metadata: Metadata::default(), kind: Kind::File { size: 0 }, content: Vec::new(), first: b"x".to_vec(),
        });
        let (file, summary) = write(options, |writer| {
            writer.add_file(b"x", &Metadata::default(), &mut std::io::empty()).unwrap();
            for addition in &additions {
                add(writer, &mut expected, addition);
            }
        });
        // The first name of an inode is the first in walk order, whichever was added first.
        let reader = open(&file);
        let found = tree(&reader);
        let links = |tree: &Tree| -> Vec<Vec<Vec<u8>>> {
            let mut groups = std::collections::BTreeMap::<_, Vec<_>>::new();
            tree.iter().for_each(|(path, entry)| groups.entry(entry.first.clone()).or_default().push(path.clone()));
            let mut groups: Vec<_> = groups.into_values().collect();
            groups.sort();
            groups
        };
        prop_assert_eq!(links(&found), links(&expected));
        let plain = |tree: &Tree| -> Tree {
            tree.iter().map(|(path, entry)| (path.clone(), Entry { first: Vec::new(), ..entry.clone() })).collect()
        };
        prop_assert!(plain(&found) == plain(&expected));
        prop_assert_eq!(content_digest(&reader, None).unwrap(), summary.content_digest);
        prop_assert_eq!(blake3::hash(&file_bytes(&file)), summary.file_digest);
        prop_assert_eq!(summary.dead_bytes, 0);
    }
}
