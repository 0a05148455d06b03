//! Random stacks of layers, as steps of a build leave them behind: every change is to what the layers below show.

use std::io::Read;
use std::sync::Arc;

use hypr_squash::{BlockSize, FileType, Kind, Metadata, Options, Overlay, Reader, Special, Writer, Xattrs};

use crate::support::{metadata, noise, open, options, text, write};

/// A small generator of numbers, so that a seed names a stack.
#[derive(Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }
}

/// One to five layers of small blocks.
pub(crate) fn stack(seed: u64) -> Vec<Arc<Reader>> {
    let mut numbers = Numbers::new(seed);
    let mut layers = Vec::new();
    for _ in 0..=numbers.below(5) {
        let below: Vec<_> = Overlay::new(layers.clone()).walk().map(|visit| visit.unwrap()).skip(1).collect();
        let options = Options { block_size: BlockSize::MIN, ..options(2) };
        let (file, _) = write(options, |writer| {
            writer.add_directory(b"", &metadata(0o755)).unwrap();
            for _ in 0..4 + numbers.below(25) {
                match numbers.below(2) {
                    0 if !below.is_empty() => {
                        let (path, node) = &below[numbers.below(below.len())];
                        change(writer, &mut numbers, path, node);
                    }
                    _ => add(writer, &mut numbers),
                }
            }
        });
        layers.push(Arc::new(open(&file)));
    }
    layers
}

fn attributes(numbers: &mut Numbers) -> Metadata {
    let mut attributes = metadata(0o600 + u16::try_from(numbers.below(0o200)).unwrap());
    attributes.mtime = 1_600_000_000 + i64::try_from(numbers.below(1000)).unwrap();
    attributes.uid = u32::try_from(numbers.below(4)).unwrap() * 70_000;
    if numbers.below(4) == 0 {
        attributes.xattrs = Xattrs::from([(b"trusted.note".to_vec(), noise("note", 1 + 7 * numbers.below(40)))]);
    }
    attributes
}

fn opaque(mut attributes: Metadata) -> Metadata {
    attributes.xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    attributes
}

/// Adds something at a path that may or may not be there in layers below. What cannot be is left out.
fn add(writer: &mut Writer, numbers: &mut Numbers) {
    let names = ["a", "b", "c-", "c", "longer name"];
    let path: Vec<_> = (0..=numbers.below(3)).map(|_| names[numbers.below(names.len())]).collect();
    let path = path.join("/").into_bytes();
    let mut attributes = attributes(numbers);
    let _ = match numbers.below(12) {
        0..6 => {
            let size = [0, 1, 40, 4095, 4096, 4097, 8192, 20_000][numbers.below(8)];
            let mut content = text(&numbers.below(6).to_string(), size);
            match numbers.below(6) {
                0 => content.fill(0),
                1 => content.iter_mut().take(4096).for_each(|byte| *byte = 0),
                2 => content.iter_mut().skip(4096).for_each(|byte| *byte = 0),
                _ => {}
            }
            writer.add_file(&path, &attributes, &mut &content[..]).map(drop)
        }
        6..9 => writer.add_directory(&path, &attributes),
        9 => {
            // Programs that extract cannot give a link other permissions.
            attributes.mode = 0o777;
            writer.add_symlink(&path, &attributes, b"../a")
        }
        10 => writer.add_special(&path, &attributes, Special::Fifo),
        _ => {
            let target = [b"a".as_slice(), b"b", b"c"][numbers.below(3)];
            // A second name of a whiteout would be one too.
            writer.add_hard_link(&path, target)
        }
    };
}

/// Changes what the layers below show at a path, as overlayfs would write it down.
fn change(writer: &mut Writer, numbers: &mut Numbers, path: &[u8], node: &hypr_squash::overlay::Node) {
    if writer.contains(path) {
        return;
    }
    let attributes = attributes(numbers);
    let is_directory = node.file_type() == FileType::Directory;
    let _ = match numbers.below(6) {
        0 | 1 => {
            let whiteout = Special::CharDevice { major: 0, minor: 0 };
            writer.add_special(path, &Metadata { mode: 0, ..Metadata::default() }, whiteout)
        }
        2 if is_directory => writer.add_file(path, &attributes, &mut &b"was a directory"[..]).map(drop),
        2 => writer.add_directory(path, &opaque(attributes)),
        3 if is_directory => writer.add_directory(path, &opaque(attributes)),
        // As `chmod` does it: the same once more with other metadata; hard links are parted by that.
        _ => match node.kind().unwrap() {
            Kind::Directory => writer.add_directory(path, &attributes),
            Kind::File { .. } => {
                let mut content = Vec::new();
                node.open().unwrap().read_to_end(&mut content).unwrap();
                writer.add_file(path, &attributes, &mut &content[..]).map(drop)
            }
            Kind::Symlink { .. } => writer.add_symlink(path, &Metadata { mode: 0o777, ..attributes }, b"elsewhere"),
            Kind::Special(special) => writer.add_special(path, &attributes, special),
        },
    };
}
