//! Packs a directory.
//!
//! Everything is reached through descriptors of directories and names in them, never through paths, and no symbolic
//! link is followed. So what is packed lies below the given directory, whatever happens there meanwhile.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};

use super::sparse::SparseFile;
use crate::tar::{Loss, Warning, WarningKind};
use crate::{Error, Metadata, Special, Writer, Xattrs};

/// How [`pack_directory`] reads a directory.
#[derive(Debug, Clone, Default)]
pub struct DirectoryOptions {
    /// The directory of the image that the packed one becomes; empty for the image's root.
    pub destination: Vec<u8>,
    /// User and group of every entry, instead of those on disk.
    pub owner: Option<(u32, u32)>,
    /// Whether attributes that an image cannot hold may get lost.
    pub loss: Loss,
}

/// What [`pack_directory`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DirectoryStats {
    /// Number of entries, the directory itself included.
    pub entries: u64,
    /// What was left out, one warning a kind.
    pub warnings: Vec<Warning>,
}

/// Adds a directory with all below it, in bytewise order of the names.
///
/// # Errors
/// Fails when something cannot be read, when it cannot be stored, or when the image cannot be written.
pub fn pack_directory(
    writer: &mut Writer,
    directory: &cap_std::fs::Dir,
    options: &DirectoryOptions,
) -> Result<DirectoryStats, Error> {
    let mut packer =
        Packer { writer, options, stats: DirectoryStats::default(), first_names: HashMap::new(), stack: Vec::new() };
    let path = options.destination.clone();
    let root = fs::openat(directory, c".", DIRECTORY, Mode::empty()).map_err(failed("open", &path))?;
    packer.enter(root, path)?;
    packer.run()?;
    Ok(packer.stats)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A pipe that took a file's place must not block.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Packer<'a> {
    writer: &'a mut Writer,
    options: &'a DirectoryOptions,
    stats: DirectoryStats,
    /// First path of inodes with several names, by device and number.
    first_names: HashMap<(u64, u64), Vec<u8>>,
    stack: Vec<Level>,
}

/// A directory and the names in it that are still to come, the next one last.
struct Level {
    directory: OwnedFd,
    path: Vec<u8>,
    names: Vec<CString>,
}

/// An entry where it stands.
struct Found<'a> {
    directory: &'a OwnedFd,
    name: &'a CStr,
    path: Vec<u8>,
    stat: Stat,
}

impl Packer<'_> {
    fn run(&mut self) -> Result<(), Error> {
        while let Some(level) = self.stack.last_mut() {
            let Some(name) = level.names.pop() else {
                self.stack.pop();
                continue;
            };
            let level = self.stack.pop().expect("the level was just looked at");
            let path = join(&level.path, name.to_bytes());
            let stat =
                fs::statat(&level.directory, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("examine", &path))?;
            let found = Found { directory: &level.directory, name: &name, path, stat };
            let below = if FileType::from_raw_mode(found.stat.st_mode) == FileType::Directory {
                let below = fs::openat(found.directory, found.name, DIRECTORY, Mode::empty());
                Some((below.map_err(failed("open", &found.path))?, found.path))
            } else {
                self.add(found)?;
                None
            };
            self.stack.push(level);
            if let Some((directory, path)) = below {
                self.enter(directory, path)?;
            }
        }
        Ok(())
    }

    /// Adds a directory and puts its entries on the stack.
    fn enter(&mut self, directory: OwnedFd, path: Vec<u8>) -> Result<(), Error> {
        let stat = fs::fstat(&directory).map_err(failed("examine", &path))?;
        let xattrs = read_xattrs(&Place::Open(&directory)).map_err(failed("read the attributes of", &path))?;
        let metadata = self.metadata(&path, &stat, xattrs)?;
        self.writer.add_directory(&path, &metadata)?;
        self.stats.entries += 1;
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&directory).map_err(failed("list", &path))? {
            let entry = entry.map_err(failed("list", &path))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        self.stack.push(Level { directory, path, names });
        Ok(())
    }

    /// Adds anything but a directory.
    fn add(&mut self, found: Found<'_>) -> Result<(), Error> {
        self.stats.entries += 1;
        let identity = (found.stat.st_dev, found.stat.st_ino);
        if found.stat.st_nlink > 1
            && let Some(first) = self.first_names.get(&identity)
        {
            return self.writer.add_hard_link(&found.path, first);
        }
        let path = &found.path;
        let special = match FileType::from_raw_mode(found.stat.st_mode) {
            FileType::RegularFile => {
                self.add_file(&found)?;
                None
            }
            FileType::Symlink => {
                let target = fs::readlinkat(found.directory, found.name, Vec::new()).map_err(failed("read", path))?;
                let metadata = self.named_metadata(&found)?;
                self.writer.add_symlink(path, &metadata, target.to_bytes())?;
                None
            }
            FileType::CharacterDevice => {
                let (major, minor) = device(&found.stat);
                Some(Special::CharDevice { major, minor })
            }
            FileType::BlockDevice => {
                let (major, minor) = device(&found.stat);
                Some(Special::BlockDevice { major, minor })
            }
            FileType::Fifo => Some(Special::Fifo),
            FileType::Socket => Some(Special::Socket),
            FileType::Directory | FileType::Unknown => {
                return Err(Error::Unsupported { path: found.path, reason: "it is of an unknown type" });
            }
        };
        if let Some(special) = special {
            let metadata = self.named_metadata(&found)?;
            self.writer.add_special(path, &metadata, special)?;
        }
        if found.stat.st_nlink > 1 {
            self.first_names.insert(identity, found.path);
        }
        Ok(())
    }

    fn add_file(&mut self, found: &Found<'_>) -> Result<(), Error> {
        let path = &found.path;
        let file = fs::openat(found.directory, found.name, FILE, Mode::empty()).map_err(failed("open", path))?;
        let stat = fs::fstat(&file).map_err(failed("examine", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let source = io::Error::other("it is no longer a regular file");
            return Err(Error::Entry { action: "read", path: path.clone(), source });
        }
        let xattrs = read_xattrs(&Place::Open(&file)).map_err(failed("read the attributes of", path))?;
        let metadata = self.metadata(path, &stat, xattrs)?;
        let read = |source| Error::Entry { action: "read", path: path.clone(), source };
        let mut content = SparseFile::new(File::from(file)).map_err(read)?;
        self.writer.add_file(path, &metadata, &mut content)?;
        Ok(())
    }

    /// The metadata of what cannot be opened.
    fn named_metadata(&mut self, found: &Found<'_>) -> Result<Metadata, Error> {
        let place = Place::Named(found.directory, found.name);
        let xattrs = read_xattrs(&place).map_err(failed("read the attributes of", &found.path))?;
        self.metadata(&found.path, &found.stat, xattrs)
    }

    fn metadata(&mut self, path: &[u8], stat: &Stat, mut xattrs: Xattrs) -> Result<Metadata, Error> {
        const KEPT: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
        for (name, _) in xattrs.extract_if(.., |name, _| !KEPT.iter().any(|prefix| name.starts_with(prefix))) {
            let is_acl = name.starts_with(b"system.posix_acl_");
            if self.options.loss == Loss::Refuse {
                let reason = "it has extended attributes that an image cannot hold";
                return Err(Error::Unsupported { path: path.to_vec(), reason });
            }
            let kind = if is_acl { WarningKind::Acl } else { WarningKind::Xattr };
            match self.stats.warnings.iter_mut().find(|warning| warning.kind == kind) {
                Some(warning) => warning.count += 1,
                None => self.stats.warnings.push(Warning { kind, path: path.to_vec(), count: 1 }),
            }
        }
        let (uid, gid) = self.options.owner.unwrap_or((stat.st_uid, stat.st_gid));
        let mode = u16::try_from(stat.st_mode & 0o7777).expect("twelve bits fit");
        Ok(Metadata { mode, uid, gid, mtime: stat.st_mtime, xattrs })
    }
}

/// How the attributes of an inode are reached.
enum Place<'a> {
    Open(&'a OwnedFd),
    /// There is no call for a name in an open directory; the kernel's own path to the directory stands in.
    Named(&'a OwnedFd, &'a CStr),
}

impl Place<'_> {
    fn list(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Open(file) => fs::flistxattr(file, buffer),
            Self::Named(directory, name) => fs::llistxattr(proc_path(directory, name), buffer),
        }
    }

    fn get(&self, attribute: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Open(file) => fs::fgetxattr(file, attribute, buffer),
            Self::Named(directory, name) => fs::lgetxattr(proc_path(directory, name), attribute, buffer),
        }
    }
}

fn proc_path(directory: &OwnedFd, name: &CStr) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    path
}

fn read_xattrs(place: &Place<'_>) -> rustix::io::Result<Xattrs> {
    // No kernel lets a list or a value be longer.
    const MAX: usize = 65_536;
    let mut small = [0; 1024];
    let mut names = match place.list(&mut small) {
        Ok(0) | Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Xattrs::new()),
        Ok(length) => small[..length].to_vec(),
        Err(rustix::io::Errno::RANGE) => {
            let mut names = vec![0; MAX];
            let length = place.list(&mut names)?;
            names.truncate(length);
            names
        }
        // Without /proc, what cannot be opened has no attributes to be seen.
        Err(rustix::io::Errno::NOENT) if matches!(place, Place::Named(..)) => return Ok(Xattrs::new()),
        Err(error) => return Err(error),
    };
    names.pop();
    let mut xattrs = Xattrs::new();
    let mut value = vec![0; MAX];
    for name in names.split(|&byte| byte == 0) {
        match place.get(name, &mut value) {
            Ok(length) => xattrs.insert(name.to_vec(), value[..length].to_vec()),
            // It was removed meanwhile.
            Err(rustix::io::Errno::NODATA) => None,
            Err(error) => return Err(error),
        };
    }
    Ok(xattrs)
}

fn device(stat: &Stat) -> (u32, u32) {
    (fs::major(stat.st_rdev), fs::minor(stat.st_rdev))
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, name].join(&b'/') }
}

fn failed(action: &'static str, path: &[u8]) -> impl FnOnce(rustix::io::Errno) -> Error {
    move |error| Error::Entry { action, path: path.to_vec(), source: error.into() }
}
