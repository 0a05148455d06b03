//! Makes entries beneath a directory.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Denied, ExtractOptions, Extracted, OverlayNames, Owners};
use crate::{Error, FileReader, Metadata, Piece, Special};

/// The directory that is extracted into.
pub(super) struct Disk<'a> {
    root: BorrowedFd<'a>,
    options: &'a ExtractOptions,
    /// The parent of the last entry, as the next one is most often beside it.
    parent: Option<(Vec<u8>, OwnedFd)>,
    pub(super) extracted: Extracted,
}

/// Path components opened in one call; with names of 255 bytes the kernel takes 15.
const COMPONENTS: usize = 15;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Only the owner sees what is not finished.
const PRIVATE: Mode = Mode::RWXU;

impl<'a> Disk<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, options: &'a ExtractOptions) -> Self {
        Self { root, options, parent: None, extracted: Extracted::default() }
    }

    /// Makes a directory, or finds it; the rest is left to [`finish_directory`](Self::finish_directory).
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<(), Error> {
        self.extracted.entries += 1;
        if path.is_empty() {
            return Ok(());
        }
        let (parent, name) = self.parent(path)?;
        match fs::mkdirat(parent, name, PRIVATE) {
            Ok(()) => Ok(()),
            // That it is a directory indeed is found out when it is opened.
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(failed("make", path)(error)),
        }
    }

    pub(super) fn finish_directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<(), Error> {
        let directory = self.open_directory(path)?;
        self.attributes(path, metadata, &Target::Open(directory.as_fd()))
    }

    pub(super) fn file(&mut self, path: &[u8], metadata: &Metadata, content: &mut FileReader) -> Result<(), Error> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed("make", path))?;
        let file = File::from(file);
        let write = |source| Error::Entry { action: "write", path: path.to_vec(), source };
        let size = content.size();
        let mut offset = 0;
        while let Some(piece) = content.next_piece()? {
            offset += match piece {
                Piece::Bytes(bytes) => {
                    file.write_all_at(bytes, offset).map_err(write)?;
                    bytes.len() as u64
                }
                Piece::Hole(length) => length as u64,
            };
        }
        file.set_len(size).map_err(write)?;
        self.extracted.entries += 1;
        self.attributes(path, metadata, &Target::Open(file.as_fd()))
    }

    pub(super) fn symlink(&mut self, path: &[u8], metadata: &Metadata, target: &[u8]) -> Result<(), Error> {
        let (parent, name) = self.parent(path)?;
        fs::symlinkat(target, parent, name).map_err(failed("make", path))?;
        let link = open_path(parent, name).map_err(failed("open", path))?;
        self.extracted.entries += 1;
        self.attributes(path, metadata, &Target::Link(link.as_fd()))
    }

    /// Makes a device, pipe or socket; `false` when it was left out.
    pub(super) fn special(&mut self, path: &[u8], metadata: &Metadata, special: Special) -> Result<bool, Error> {
        let (kind, device) = match special {
            Special::CharDevice { major, minor } => (FileType::CharacterDevice, fs::makedev(major, minor)),
            Special::BlockDevice { major, minor } => (FileType::BlockDevice, fs::makedev(major, minor)),
            Special::Fifo => (FileType::Fifo, 0),
            Special::Socket => (FileType::Socket, 0),
        };
        let (parent, name) = self.parent(path)?;
        match fs::mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, device) {
            Ok(()) => {}
            Err(Errno::PERM) if self.options.denied == Denied::Skip => {
                self.extracted.skipped_devices += 1;
                return Ok(false);
            }
            Err(error) => return Err(failed("make", path)(error)),
        }
        let node = open_path(parent, name).map_err(failed("open", path))?;
        self.extracted.entries += 1;
        self.attributes(path, metadata, &Target::Special(node.as_fd()))?;
        Ok(true)
    }

    pub(super) fn hard_link(&mut self, path: &[u8], first: &[u8]) -> Result<(), Error> {
        let (directory, name) = split(first);
        let directory = self.open_directory(directory)?;
        let (parent, new) = self.parent(path)?;
        fs::linkat(&directory, name, parent, new, AtFlags::empty()).map_err(failed("make", path))?;
        self.extracted.entries += 1;
        Ok(())
    }

    /// Sets owner, mode, attributes and time, in the order in which none undoes another.
    fn attributes(&mut self, path: &[u8], metadata: &Metadata, target: &Target<'_>) -> Result<(), Error> {
        if self.options.owners == Owners::Keep {
            let (uid, gid) = (Some(Uid::from_raw(metadata.uid)), Some(Gid::from_raw(metadata.gid)));
            let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
            fs::chownat(target.fd(), c"", uid, gid, flags).map_err(failed("give an owner to", path))?;
        }
        let mode = Mode::from_raw_mode(u32::from(metadata.mode));
        match target {
            Target::Open(fd) => fs::fchmod(fd, mode).map_err(failed("give a mode to", path))?,
            Target::Special(fd) => {
                let node = proc_path(*fd);
                fs::chmodat(fs::CWD, node, mode, AtFlags::empty()).map_err(failed("give a mode to", path))?;
            }
            Target::Link(_) => {}
        }
        for (name, value) in &metadata.xattrs {
            self.xattr(path, target, name, value)?;
        }
        let time = Timespec { tv_sec: metadata.mtime, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        let set = match target {
            Target::Open(fd) => fs::futimens(fd, &times),
            Target::Special(fd) | Target::Link(fd) => fs::utimensat(fd, c"", &times, AtFlags::EMPTY_PATH),
        };
        set.map_err(failed("give a time to", path))
    }

    fn xattr(&mut self, path: &[u8], target: &Target<'_>, name: &[u8], value: &[u8]) -> Result<(), Error> {
        let renamed = match (self.options.overlay_names, name.strip_prefix(b"trusted.overlay.")) {
            (OverlayNames::User, Some(rest)) => [b"user.overlay.", rest].concat(),
            _ => name.to_vec(),
        };
        let set = match target {
            Target::Open(fd) => fs::fsetxattr(fd, renamed, value, XattrFlags::empty()),
            Target::Special(fd) | Target::Link(fd) => fs::setxattr(proc_path(*fd), renamed, value, XattrFlags::empty()),
        };
        match set {
            Ok(()) => Ok(()),
            Err(Errno::PERM | Errno::OPNOTSUPP) if self.options.denied == Denied::Skip => {
                self.extracted.skipped_xattrs += 1;
                Ok(())
            }
            Err(error) => Err(failed("give attributes to", path)(error)),
        }
    }

    /// The directory that holds `path`, and the name in it.
    fn parent<'p>(&mut self, path: &'p [u8]) -> Result<(BorrowedFd<'_>, &'p [u8]), Error> {
        let (parent, name) = split(path);
        if self.parent.as_ref().is_none_or(|(known, _)| known != parent) {
            self.parent = Some((parent.to_vec(), self.open_directory(parent)?));
        }
        let (_, directory) = self.parent.as_ref().expect("the parent was set above");
        Ok((directory.as_fd(), name))
    }

    fn open_directory(&self, path: &[u8]) -> Result<OwnedFd, Error> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let open = |at: BorrowedFd<'_>, path: &[u8]| fs::openat2(at, path, DIRECTORY, Mode::empty(), resolve);
        let mut directory = open(self.root, b".").map_err(failed("open", path))?;
        let names: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect();
        for names in names.chunks(COMPONENTS) {
            directory = open(directory.as_fd(), &names.join(&b'/')).map_err(failed("open", path))?;
        }
        Ok(directory)
    }
}

/// An entry that was made, open for what can still be done to it.
enum Target<'a> {
    /// A file or directory.
    Open(BorrowedFd<'a>),
    /// A device, pipe or socket, of which only the place is open.
    Special(BorrowedFd<'a>),
    /// A symbolic link, of which only the place is open.
    Link(BorrowedFd<'a>),
}

impl Target<'_> {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Open(fd) | Self::Special(fd) | Self::Link(fd) => *fd,
        }
    }
}

fn open_path(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// The kernel's own name for an open place, for calls that take no descriptor of one.
fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn failed(action: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Error {
    move |error| Error::Entry { action, path: path.to_vec(), source: error.into() }
}
