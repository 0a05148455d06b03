//! Makes a directory tree of a layer, for overlayfs to use as a lower directory in a user namespace.
//!
//! The archive is in overlayfs notation. What a user namespace may not have is expressed as it may: an opaque directory
//! is marked by `user.overlay.opaque`. What it may not have at all is left out: devices, and attributes that only the
//! host's root sets. Owners have to be mapped in the namespace; that one is not is an error, because a step that finds
//! other owners than its image has would build something else.
//!
//! Every name is reached from the root's handle without following a link or leaving the file system.

use std::{
    collections::HashSet,
    ffi::CString,
    fmt,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    rc::Rc,
};

use crate::{
    sys::{create, fs},
    tar::read::{Archive, Entry, Kind},
};

const EINVAL: i32 = 22;

/// How much of a file is looked at to find holes.
const PIECE: usize = 4096;

/// What an extraction came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Entries made.
    pub(crate) entries: u64,
    /// Devices left out.
    pub(crate) devices: u64,
    /// Extended attributes left out.
    pub(crate) xattrs: u64,
}

/// Why a layer could not be extracted.
#[derive(Debug)]
pub(crate) enum Error {
    /// The archive ends early or is not one of hypr's.
    Read(io::Error),
    /// An entry could not be made.
    Make {
        /// The entry.
        path: Vec<u8>,
        /// What the system said.
        source: io::Error,
    },
    /// The owner of an entry does not exist in the user namespace.
    Unmapped {
        /// The entry.
        path: Vec<u8>,
        uid: u32,
        gid: u32,
    },
    /// The file system has no attributes with which overlayfs could mark a directory.
    NoMarks(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(source) => write!(f, "cannot read the layer: {source}"),
            Self::Make { path, source } => write!(f, "cannot extract /{} of the layer: {source}", path.escape_ascii()),
            Self::Unmapped { path, uid, gid } => write!(
                f,
                "/{} of the layer belongs to {uid}:{gid}, which is not among the ids of this user: give it a larger \
                 range in /etc/subuid and /etc/subgid",
                path.escape_ascii()
            ),
            Self::NoMarks(source) => {
                write!(f, "cannot mark a directory opaque, the file system takes no user attributes: {source}")
            }
        }
    }
}

/// Extracts the archive `input` into the empty directory `root`.
pub(crate) fn extract(input: &mut dyn Read, root: BorrowedFd<'_>) -> Result<Summary, Error> {
    let mut archive = Archive::new(input);
    let root = fs::open_dir(root, c".").map_err(|source| Error::Make { path: Vec::new(), source })?;
    let root = Rc::new(root);
    let mut tree = Tree {
        parent: (Vec::new(), Rc::clone(&root)),
        root,
        times: Vec::new(),
        devices: HashSet::new(),
        summary: Summary::default(),
    };
    while let Some(entry) = archive.next().map_err(Error::Read)? {
        tree.entry(&entry, &mut archive)?;
    }
    tree.finish()
}

/// A tree under construction.
struct Tree {
    root: Rc<OwnedFd>,
    /// Path and handle of the directory that the last entry was made in.
    parent: (Vec<u8>, Rc<OwnedFd>),
    /// Times of directories, which making something in them would change.
    times: Vec<(Vec<u8>, i64)>,
    /// Devices that were left out.
    devices: HashSet<Vec<u8>>,
    summary: Summary,
}

impl Tree {
    fn entry<R: Read>(&mut self, entry: &Entry, archive: &mut Archive<R>) -> Result<(), Error> {
        if entry.path.is_empty() {
            self.attributes(entry, Rc::clone(&self.root).as_fd())?;
            self.times.push((Vec::new(), entry.mtime));
            self.summary.entries += 1;
            return Ok(());
        }
        let (directory, name) = split(&entry.path);
        let name = terminated(name).map_err(|source| make_error(entry, source))?;
        self.enter(directory).map_err(|source| make_error(entry, source))?;
        let parent = Rc::clone(&self.parent.1);
        let parent = parent.as_fd();
        let made = |result: io::Result<()>| result.map_err(|source| make_error(entry, source));
        match &entry.kind {
            Kind::Directory => {
                made(create::directory(parent, &name))?;
                let opened = fs::open_dir(parent, &name).map_err(|source| make_error(entry, source))?;
                self.attributes(entry, opened.as_fd())?;
                self.times.push((entry.path.clone(), entry.mtime));
                self.parent = (entry.path.clone(), Rc::new(opened));
            }
            Kind::File(size) => {
                let file = create::file(parent, &name).map(File::from).map_err(|source| make_error(entry, source))?;
                self.content(entry, &file, *size, archive)?;
                self.attributes(entry, file.as_fd())?;
                made(create::set_mtime(file.as_fd(), entry.mtime))?;
            }
            Kind::HardLink(target) if self.devices.contains(target) => {
                self.summary.devices += 1;
                return Ok(());
            }
            Kind::HardLink(target) => made(self.hard_link(target, parent, &name))?,
            Kind::Symlink(target) => {
                let target = terminated(target).map_err(|source| make_error(entry, source))?;
                made(create::symlink(&target, parent, &name))?;
                owned(entry, create::set_owner_at(parent, &name, entry.uid, entry.gid))?;
                made(create::set_mtime_at(parent, &name, entry.mtime))?;
            }
            Kind::CharDevice(0, 0) => made(create::whiteout(parent, &name))?,
            Kind::CharDevice(..) | Kind::BlockDevice(..) => {
                self.devices.insert(entry.path.clone());
                self.summary.devices += 1;
                return Ok(());
            }
            Kind::Fifo => {
                made(create::fifo(parent, &name))?;
                owned(entry, create::set_owner_at(parent, &name, entry.uid, entry.gid))?;
                made(create::set_mode_at(parent, &name, entry.mode))?;
                made(create::set_mtime_at(parent, &name, entry.mtime))?;
            }
        }
        self.summary.entries += 1;
        Ok(())
    }

    /// Makes `path` the directory that entries are made in.
    fn enter(&mut self, path: &[u8]) -> io::Result<()> {
        if self.parent.0 != path {
            self.parent = (path.to_vec(), Rc::new(self.open(path)?));
        }
        Ok(())
    }

    fn open(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { c".".to_owned() } else { terminated(path)? };
        create::open_dir_beneath(self.root.as_fd(), &path)
    }

    fn hard_link(&self, target: &[u8], parent: BorrowedFd<'_>, name: &CString) -> io::Result<()> {
        let (directory, file) = split(target);
        let directory = self.open(directory)?;
        create::hard_link(directory.as_fd(), &terminated(file)?, parent, name)
    }

    /// Writes a file, with holes where it has nothing but zeroes.
    fn content<R: Read>(&self, entry: &Entry, file: &File, size: u64, archive: &mut Archive<R>) -> Result<(), Error> {
        let made = |result: io::Result<()>| result.map_err(|source| make_error(entry, source));
        made(file.set_len(size))?;
        let mut buffer = vec![0u8; 256 * 1024];
        let mut offset = 0u64;
        while offset < size {
            let want = usize::try_from(size - offset).unwrap_or(usize::MAX).min(buffer.len());
            let buffer = buffer.get_mut(..want).unwrap_or_default();
            archive.data().read_exact(buffer).map_err(Error::Read)?;
            // Neighbouring pieces of data go out in one write.
            let mut start = 0;
            while start < buffer.len() {
                let piece = |at: usize| buffer.get(at..buffer.len().min(at + PIECE)).unwrap_or_default();
                let mut end = start;
                while end < buffer.len() && piece(end).iter().any(|&byte| byte != 0) {
                    end = buffer.len().min(end + PIECE);
                }
                made(file.write_all_at(buffer.get(start..end).unwrap_or_default(), offset + start as u64))?;
                start = end + PIECE;
            }
            offset += want as u64;
        }
        Ok(())
    }

    /// Sets owner, permissions and extended attributes; in that order, since a new owner takes away what follows.
    fn attributes(&mut self, entry: &Entry, fd: BorrowedFd<'_>) -> Result<(), Error> {
        owned(entry, create::set_owner(fd, entry.uid, entry.gid))?;
        create::set_mode(fd, entry.mode).map_err(|source| make_error(entry, source))?;
        for (name, value) in &entry.xattrs {
            if name == b"trusted.overlay.opaque" {
                create::set_xattr(fd, c"user.overlay.opaque", value).map_err(Error::NoMarks)?;
                continue;
            }
            let privileged = [&b"trusted."[..], b"security."].iter().any(|prefix| name.starts_with(prefix));
            let name = terminated(name).map_err(|source| make_error(entry, source))?;
            match create::set_xattr(fd, &name, value) {
                Err(_) if privileged => self.summary.xattrs += 1,
                result => result.map_err(|source| make_error(entry, source))?,
            }
        }
        Ok(())
    }

    /// Sets the times of directories, now that nothing is made in them any more.
    fn finish(self) -> Result<Summary, Error> {
        for (path, mtime) in &self.times {
            let set = self.open(path).and_then(|directory| create::set_mtime(directory.as_fd(), *mtime));
            set.map_err(|source| Error::Make { path: path.clone(), source })?;
        }
        Ok(self.summary)
    }
}

/// The directory of a path, and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default()),
        None => (&[], path),
    }
}

fn owned(entry: &Entry, result: io::Result<()>) -> Result<(), Error> {
    result.map_err(|source| match source.raw_os_error() {
        Some(EINVAL) => Error::Unmapped { path: entry.path.clone(), uid: entry.uid, gid: entry.gid },
        _ => make_error(entry, source),
    })
}

fn make_error(entry: &Entry, source: io::Error) -> Error {
    Error::Make { path: entry.path.clone(), source }
}

fn terminated(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(io::Error::other)
}
