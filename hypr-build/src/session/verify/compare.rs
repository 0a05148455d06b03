//! In which paths two images differ, and how.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader, Read},
    sync::Arc,
};

use hypr_squash::{Error, Kind, Overlay, Reader, overlay::Node};

use crate::{
    image::{ImageConfig, Manifest},
    store::{StoreError, Timestamp},
};

/// Lines of a file that are held in memory to see whether only their order differs, in bytes.
const SORTED: u64 = 16 << 20;

/// A path that two images have differently.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathDifference {
    /// The path, absolute; `configuration` is that of the image, and no path.
    pub path: String,
    /// In what, one or more.
    pub changes: Vec<Change>,
}

/// What of a path differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Change {
    /// Only the first image has it.
    OnlyFirst,
    /// Only the second image has it.
    OnlySecond,
    /// A file in one is a directory in the other, or the like.
    Type,
    /// The content: from this byte on, 0 is the first.
    Content(u64),
    /// The lines of the content are the same, in another order.
    Order,
    /// Where a link leads to, or which device it is.
    Target,
    /// The permissions.
    Mode(u16, u16),
    /// User and group.
    Owner((u32, u32), (u32, u32)),
    /// The time of the last change.
    Time(i64, i64),
    /// Extended attributes.
    Attributes,
    /// The image is stored in another way, though all paths are the same.
    Layout,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlyFirst => write!(f, "only in the first build"),
            Self::OnlySecond => write!(f, "only in the second build"),
            Self::Type => write!(f, "type"),
            Self::Content(at) => write!(f, "content from byte {at} on"),
            Self::Order => write!(f, "order of its lines"),
            Self::Target => write!(f, "target"),
            Self::Mode(one, two) => write!(f, "mode {one:04o} and {two:04o}"),
            Self::Owner(one, two) => write!(f, "owner {}:{} and {}:{}", one.0, one.1, two.0, two.1),
            Self::Time(one, two) => write!(f, "time {} and {}", Timestamp(*one), Timestamp(*two)),
            Self::Attributes => write!(f, "extended attributes"),
            Self::Layout => write!(f, "order of the files in the image"),
        }
    }
}

/// Compares what two manifests name.
pub(super) fn images(one: &Manifest, two: &Manifest) -> Result<Vec<PathDifference>, StoreError> {
    let mut found = Vec::new();
    if one.squashfs.digest != two.squashfs.digest {
        let failed = |source| StoreError::Layer { path: two.squashfs.path.clone(), source };
        found = trees(&open(one)?, &open(two)?).map_err(failed)?;
        if found.is_empty() {
            found.push(PathDifference { path: "/".to_owned(), changes: vec![Change::Layout] });
        }
    } else if timeless(&one.config) != timeless(&two.config) {
        found.push(PathDifference { path: "configuration".to_owned(), changes: vec![Change::Content(0)] });
    }
    Ok(found)
}

fn open(manifest: &Manifest) -> Result<Overlay, StoreError> {
    let path = &manifest.squashfs.path;
    let file = File::open(path).map_err(|error| StoreError::io("open", path, error))?;
    let reader = Reader::open(file).map_err(|source| StoreError::Layer { path: path.clone(), source })?;
    Ok(Overlay::new(vec![Arc::new(reader)]))
}

/// The configuration without the times of the build, which differ unless they are fixed.
fn timeless(config: &ImageConfig) -> ImageConfig {
    let mut config = config.clone();
    config.created = None;
    config.history.iter_mut().for_each(|entry| entry.created = None);
    config
}

fn trees(one: &Overlay, two: &Overlay) -> Result<Vec<PathDifference>, Error> {
    let mut found = Vec::new();
    for visit in one.walk() {
        let (path, node) = visit?;
        let changes = match two.lookup(&path)? {
            None => vec![Change::OnlyFirst],
            Some(other) => changes(&node, &other)?,
        };
        if !changes.is_empty() {
            found.push((path, changes));
        }
    }
    for visit in two.walk() {
        let (path, _) = visit?;
        if one.lookup(&path)?.is_none() {
            found.push((path, vec![Change::OnlySecond]));
        }
    }
    found.sort();
    let shown = |path: &[u8]| format!("/{}", String::from_utf8_lossy(path));
    Ok(found.into_iter().map(|(path, changes)| PathDifference { path: shown(&path), changes }).collect())
}

fn changes(one: &Node, two: &Node) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    match (one.kind()?, two.kind()?) {
        (Kind::Directory, Kind::Directory) => {}
        (Kind::File { .. }, Kind::File { .. }) => {
            if one.content_digest()? != two.content_digest()? {
                changes.push(content(one, two)?);
            }
        }
        (Kind::Symlink { target: a }, Kind::Symlink { target: b }) if a == b => {}
        (Kind::Special(a), Kind::Special(b)) if a == b => {}
        (Kind::Symlink { .. }, Kind::Symlink { .. }) | (Kind::Special(_), Kind::Special(_)) => {
            changes.push(Change::Target);
        }
        _ => return Ok(vec![Change::Type]),
    }
    let (a, b) = (one.metadata()?, two.metadata()?);
    if a.mode != b.mode {
        changes.push(Change::Mode(a.mode, b.mode));
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        changes.push(Change::Owner((a.uid, a.gid), (b.uid, b.gid)));
    }
    if a.mtime != b.mtime {
        changes.push(Change::Time(a.mtime, b.mtime));
    }
    if a.xattrs != b.xattrs {
        changes.push(Change::Attributes);
    }
    Ok(changes)
}

/// How two different contents differ.
fn content(one: &Node, two: &Node) -> Result<Change, Error> {
    if one.size() == two.size() && one.size() <= SORTED && lines(one)? == lines(two)? {
        return Ok(Change::Order);
    }
    let read = |source| Error::Io { action: "read an image", source };
    let (mut one, mut two) = (BufReader::new(one.open()?), BufReader::new(two.open()?));
    let mut at = 0;
    loop {
        let (a, b) = (one.fill_buf().map_err(read)?, two.fill_buf().map_err(read)?);
        let length = a.len().min(b.len());
        match a.iter().zip(b).position(|(a, b)| a != b) {
            Some(first) => return Ok(Change::Content(at + first as u64)),
            None if length == 0 => return Ok(Change::Content(at)),
            None => {}
        }
        at += length as u64;
        one.consume(length);
        two.consume(length);
    }
}

/// The lines in order.
fn lines(node: &Node) -> Result<Vec<Vec<u8>>, Error> {
    let mut content = Vec::new();
    let read = node.open()?.read_to_end(&mut content);
    read.map_err(|source| Error::Io { action: "read an image", source })?;
    let mut lines: Vec<Vec<u8>> = content.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    lines.sort_unstable();
    Ok(lines)
}
