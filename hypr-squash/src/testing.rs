//! What the tests of several modules share: small images and listings of trees.

use std::fmt::Write as _;
use std::io::Read;
use std::sync::Arc;

use crate::tar::{Builder, EntryKind};
use crate::{Error, Kind, Metadata, Options, Overlay, Reader, Special, Summary, Writer};

/// Metadata that is recognised in a listing.
pub(crate) fn metadata(mode: u16) -> Metadata {
    Metadata { mode, uid: 1, gid: 2, mtime: 3, ..Metadata::default() }
}

/// As [`metadata`], for an opaque directory.
pub(crate) fn opaque(mode: u16) -> Metadata {
    let mut metadata = metadata(mode);
    metadata.xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    metadata
}

pub(crate) const WHITEOUT: Special = Special::CharDevice { major: 0, minor: 0 };

/// The image that `fill` makes.
pub(crate) fn image(fill: impl FnOnce(&mut Writer) -> Result<(), Error>) -> Arc<Reader> {
    image_with(Options::default(), fill).0
}

/// The image that `fill` makes, opened with its index.
pub(crate) fn image_with(
    options: Options,
    fill: impl FnOnce(&mut Writer) -> Result<(), Error>,
) -> (Arc<Reader>, Summary) {
    let file = tempfile::tempfile().unwrap();
    let mut writer = Writer::create(file.try_clone().unwrap(), options).unwrap();
    fill(&mut writer).unwrap();
    let summary = writer.finish().unwrap();
    (Arc::new(Reader::open_with_index(file, summary.index.clone()).unwrap()), summary)
}

/// A line an entry: path, type and mode, owner, time, attributes, content; hard links name the first path.
pub(crate) fn listing(overlay: &Overlay) -> Vec<String> {
    let mut first_names = std::collections::HashMap::new();
    let mut lines = Vec::new();
    for visit in overlay.walk() {
        let (path, node) = visit.unwrap();
        let metadata = node.metadata().unwrap();
        let (letter, what) = match node.kind().unwrap() {
            Kind::Directory => ('d', String::new()),
            Kind::File { size } => {
                let mut content = Vec::new();
                node.open().unwrap().read_to_end(&mut content).unwrap();
                assert_eq!(content.len() as u64, size);
                let text = match content.len() {
                    ..=40 => content.escape_ascii().to_string(),
                    _ => blake3::hash(&content).to_hex()[..16].to_owned(),
                };
                ('f', text)
            }
            Kind::Symlink { target } => ('l', target.escape_ascii().to_string()),
            Kind::Special(special) => ('s', format!("{special:?}")),
        };
        let mut line = format!(
            "{} {letter}{:o} {}:{} {}",
            path.escape_ascii(),
            metadata.mode,
            metadata.uid,
            metadata.gid,
            metadata.mtime
        );
        for (name, value) in &metadata.xattrs {
            write!(line, " {}={}", name.escape_ascii(), value.escape_ascii()).unwrap();
        }
        write!(line, " {what}").unwrap();
        if let Some(identity) = node.identity().filter(|_| !node.is_directory()) {
            let first: &Vec<u8> = first_names.entry(identity).or_insert_with(|| path.clone());
            if *first != path {
                write!(line, " = {}", first.escape_ascii()).unwrap();
            }
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// The paths of a tree without the root.
pub(crate) fn paths(overlay: &Overlay) -> Vec<String> {
    overlay.walk().skip(1).map(|visit| visit.unwrap().0.escape_ascii().to_string()).collect()
}

/// A tar archive of entries with the metadata of [`metadata`].
pub(crate) fn archive(entries: &[(&str, EntryKind, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, content) in entries {
        builder.append(path.as_bytes(), &metadata(0o644), kind, &mut &**content).unwrap();
    }
    builder.finish().unwrap()
}

/// The kind of a file with this content.
pub(crate) fn file(content: &[u8]) -> EntryKind {
    EntryKind::File { size: content.len() as u64 }
}
