//! Walks a folder: one look at each entry, several folders at once, links never followed.
//!
//! The tree is taken level by level: all folders of one depth at once, and a large folder in pieces. That bounds the
//! stack and the open files whatever the shape of the tree, and the order of the result comes from the tree, not from
//! the threads.

use std::{
    ffi::{CStr, CString},
    fmt,
    os::fd::{AsFd, BorrowedFd},
};

use hypr_squash::{Kind, Special};
use rayon::prelude::*;
use rustix::{
    fs::{AtFlags, FileType, OFlags, RawDir, Stat},
    io::Errno,
};

use super::{ContextError, Entry, beneath, error::text, index::Index, tree::Identity};

/// What a walk leaves out.
pub(crate) trait Filter: Send + Sync + fmt::Debug {
    /// Whether the file or directory at `path`, or a directory above it, is left out.
    fn excludes(&self, path: &[u8]) -> bool;

    /// Whether something in the directory may be wanted although the directory itself is left out.
    fn reaches_into(&self, directory: &[u8]) -> bool;
}

/// Entries of one folder that are looked at in one go.
const PIECE: usize = 256;

/// Bytes of names that the kernel is asked for at once.
const READ_AT_ONCE: usize = 1 << 15;

/// What is walked, and what is asked on the way.
pub(super) struct Scope<'a> {
    pub(super) root: BorrowedFd<'a>,
    /// What is left out.
    pub(super) filter: Option<&'a dyn Filter>,
    /// What is known of files.
    pub(super) index: &'a Index,
}

/// One name in a folder.
struct Child {
    entry: Entry,
    /// Left out by itself: it is there only if something in it is.
    only_as_parent: bool,
    /// Where what is in it is listed.
    listing: Option<usize>,
}

/// Looks at `path` itself; `None` if nothing is there that a build may see. What `filter` says is not asked.
pub(super) fn look(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<Entry>, ContextError> {
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    let missing = |error| match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG => Ok(None),
        error => Err(ContextError::io("look at", path, error)),
    };
    let name = match name {
        b"" => c".".to_owned(),
        // Nothing has a name with a zero in it.
        name => match CString::new(name) {
            Ok(name) => name,
            Err(_) => return Ok(None),
        },
    };
    let opened;
    let folder = if parent.is_empty() {
        root
    } else {
        match beneath::open(root, parent, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(folder) => {
                opened = folder;
                opened.as_fd()
            }
            Err(error) => return missing(error),
        }
    };
    match rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => entry(folder, &name, path, &stat),
        Err(error) => missing(error),
    }
}

/// The entry at `path` and everything beneath it that is not left out, in order.
pub(super) fn walk(scope: &Scope<'_>, path: &[u8]) -> Result<Vec<Entry>, ContextError> {
    let Scope { root, filter, .. } = *scope;
    let Some(top) = look(root, path)? else { return Ok(Vec::new()) };
    let only_as_parent = !path.is_empty() && filter.is_some_and(|filter| filter.excludes(path));
    let is_directory = top.is_directory();
    if only_as_parent && !(is_directory && filter.is_some_and(|filter| filter.reaches_into(path))) {
        return Ok(Vec::new());
    }
    let mut listings: Vec<Vec<Child>> = vec![vec![Child { entry: top, only_as_parent, listing: None }]];
    // Where the folders of the present depth are: listing and place in it.
    let mut level: Vec<(usize, usize)> = if is_directory { vec![(0, 0)] } else { Vec::new() };
    while !level.is_empty() {
        let lists: Vec<Vec<Child>> = level
            .par_iter()
            .map(|(listing, place)| list(scope, &listings[*listing][*place].entry.path))
            .collect::<Result<_, _>>()?;
        let mut next = Vec::new();
        for ((listing, place), children) in level.into_iter().zip(lists) {
            let directories = children.iter().enumerate().filter(|(_, child)| child.entry.is_directory());
            next.extend(directories.map(|(place, _)| (listings.len(), place)));
            listings[listing][place].listing = Some(listings.len());
            listings.push(children);
        }
        level = next;
    }
    Ok(flatten(listings))
}

/// Puts each folder's list behind the folder, and drops folders that were only parents of nothing.
fn flatten(listings: Vec<Vec<Child>>) -> Vec<Entry> {
    let mut listings: Vec<_> = listings.into_iter().map(Vec::into_iter).collect();
    let mut entries: Vec<Entry> = Vec::with_capacity(listings.iter().map(ExactSizeIterator::len).sum());
    // Open folders: their list, and where in `entries` they are if they must not stay empty.
    let mut open: Vec<(usize, Option<usize>)> = vec![(0, None)];
    while let Some((listing, parent)) = open.last() {
        match listings[*listing].next() {
            Some(Child { entry, only_as_parent, listing }) => {
                entries.push(entry);
                if let Some(listing) = listing {
                    open.push((listing, only_as_parent.then_some(entries.len() - 1)));
                }
            }
            None => {
                if *parent == entries.len().checked_sub(1) && parent.is_some() {
                    entries.pop();
                }
                open.pop();
            }
        }
    }
    entries
}

/// The names in a folder, each with the zero that ends it, in one piece of memory.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    /// Where each begins, and what the folder says it is.
    starts: Vec<(usize, FileType)>,
}

impl Names {
    /// Reads them in order.
    fn read(folder: BorrowedFd<'_>) -> Result<Self, Errno> {
        let mut buffer = Vec::with_capacity(READ_AT_ONCE);
        let mut reader = RawDir::new(folder, buffer.spare_capacity_mut());
        let mut names = Self::default();
        while let Some(entry) = reader.next() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.starts.push((names.bytes.len(), entry.file_type()));
                names.bytes.extend_from_slice(entry.file_name().to_bytes_with_nul());
            }
        }
        let Self { bytes, starts } = &mut names;
        starts.sort_unstable_by(|(a, _), (b, _)| Self::at(bytes, *a).cmp(Self::at(bytes, *b)));
        Ok(names)
    }

    fn at(bytes: &[u8], start: usize) -> &CStr {
        CStr::from_bytes_until_nul(&bytes[start..]).unwrap_or_default()
    }
}

/// What is in one folder, by name.
fn list(scope: &Scope<'_>, path: &[u8]) -> Result<Vec<Child>, ContextError> {
    let folder = match beneath::open(scope.root, path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(folder) => folder,
        // Gone since its parent was read.
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(Errno::LOOP | Errno::NOTDIR) => return Err(ContextError::Changed { path: text(path) }),
        Err(error) => return Err(ContextError::io("read", path, error)),
    };
    let folder = folder.as_fd();
    let names = Names::read(folder).map_err(|error| ContextError::io("read", path, error))?;
    let place = || {
        let path = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        Place { path, near: 0 }
    };
    let look = |place: &mut Place, (start, kind): &(usize, FileType)| {
        child(scope, folder, place, Names::at(&names.bytes, *start), *kind).transpose()
    };
    if names.starts.len() <= PIECE {
        let mut place = place();
        let mut children = Vec::with_capacity(names.starts.len());
        for name in &names.starts {
            children.extend(look(&mut place, name).transpose()?);
        }
        Ok(children)
    } else {
        let children = names.starts.par_iter().with_min_len(PIECE).map_init(place, look);
        children.filter_map(|child| child).collect()
    }
}

/// Where a thread is in a folder.
struct Place {
    /// What all paths in the folder begin with.
    path: Vec<u8>,
    /// Where the index had the last file.
    near: usize,
}

/// Looks at `name`. The path of `place` is afterwards as it was before.
fn child(
    scope: &Scope<'_>,
    folder: BorrowedFd<'_>,
    place: &mut Place,
    name: &CStr,
    kind: FileType,
) -> Result<Option<Child>, ContextError> {
    let Place { path, near } = place;
    let length = path.len();
    path.extend_from_slice(name.to_bytes());
    let child = child_at(scope, folder, path, name, kind);
    path.truncate(length);
    let mut child = child?;
    if let Some(Child { entry, .. }) = &mut child {
        entry.known = scope.index.get_near(&entry.identity, near);
    }
    Ok(child)
}

fn child_at(
    scope: &Scope<'_>,
    folder: BorrowedFd<'_>,
    path: &[u8],
    name: &CStr,
    kind: FileType,
) -> Result<Option<Child>, ContextError> {
    let excluded = scope.filter.is_some_and(|filter| filter.excludes(path));
    // What is left out and no folder need not be looked at.
    if excluded && !matches!(kind, FileType::Directory | FileType::Unknown) {
        return Ok(None);
    }
    let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(ContextError::io("look at", path, error)),
    };
    if excluded {
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !(is_directory && scope.filter.is_some_and(|filter| filter.reaches_into(path))) {
            return Ok(None);
        }
    }
    let entry = entry(folder, name, path, &stat)?;
    Ok(entry.map(|entry| Child { entry, only_as_parent: excluded, listing: None }))
}

/// `None` for a socket, which means nothing outside the process that made it.
fn entry(folder: BorrowedFd<'_>, name: &CStr, path: &[u8], stat: &Stat) -> Result<Option<Entry>, ContextError> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let device = || (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File { size },
        FileType::Symlink => match rustix::fs::readlinkat(folder, name, Vec::new()) {
            Ok(target) => Kind::Symlink { target: target.into_bytes() },
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::INVAL) => return Err(ContextError::Changed { path: text(path) }),
            Err(error) => return Err(ContextError::io("read the link", path, error)),
        },
        FileType::Fifo => Kind::Special(Special::Fifo),
        FileType::CharacterDevice => match device() {
            (0, 0) => return Err(ContextError::Whiteout { path: text(path) }),
            (major, minor) => Kind::Special(Special::CharDevice { major, minor }),
        },
        FileType::BlockDevice => {
            let (major, minor) = device();
            Kind::Special(Special::BlockDevice { major, minor })
        }
        FileType::Socket | FileType::Unknown => return Ok(None),
    };
    Ok(Some(Entry {
        path: path.into(),
        kind,
        mode: u16::try_from(stat.st_mode & 0o7777).expect("twelve bits fit"),
        uid: 0,
        gid: 0,
        mtime: stat.st_mtime,
        identity: identity(stat),
        known: None,
    }))
}

/// What tells this version of a file from others.
pub(super) fn identity(stat: &Stat) -> Identity {
    let nanoseconds = |value| u32::try_from(value).unwrap_or(0);
    Identity {
        device: stat.st_dev,
        inode: stat.st_ino,
        links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
        ctime: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
    }
}
