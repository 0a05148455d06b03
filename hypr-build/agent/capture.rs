//! Streams what a process changed: an overlay's upper directory as a tar archive in overlayfs notation.
//!
//! A whiteout is a character device `0:0`, an opaque directory carries `trusted.overlay.opaque`, whichever way the
//! kernel marked them. Entries come in bytewise order of their full paths, the data of a hard link under the first of
//! its names. A directory that was copied up for a child's sake is an entry like any other; what stood in the upper
//! directory before the process began, and still stands as it was, is none. Sockets are left out, as nothing listens
//! on them in an image. Extended attributes are read of files and directories; what else can have them holds none
//! that a layer keeps.
//!
//! Everything in the upper directory may be hostile, but nothing in it moves: whoever calls has ended all processes.

use std::{
    collections::HashMap,
    ffi::CStr,
    fmt,
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
};

use crate::{
    baseline::Baseline,
    marks::{Marks, Meaning},
    sparse,
    sys::fs::{self, Kind},
    tar::write::{self as tar, Header, Member, Segment},
    walk::{Found, Walk, WalkError},
};

/// How an upper directory is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options<'a> {
    /// Where overlayfs keeps its marks.
    pub(crate) marks: Marks,
    /// What is no change of the process's.
    pub(crate) baseline: &'a Baseline,
    /// Paths, without a slash at either end, that are left out with all that is below them.
    pub(crate) skip: &'a [Vec<u8>],
}

/// What a capture came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Members written, the root included.
    pub(crate) entries: u64,
    /// Sockets left out.
    pub(crate) sockets: u64,
    /// The first of them.
    pub(crate) first_socket: Vec<u8>,
}

/// Why changes could not be captured.
#[derive(Debug)]
pub(crate) enum Error {
    /// An entry could not be read.
    Read {
        /// The entry.
        path: Vec<u8>,
        /// What the system said.
        source: io::Error,
    },
    /// An entry is what a layer cannot express.
    Unsupported {
        /// The entry.
        path: Vec<u8>,
        /// What it is.
        what: String,
    },
    /// The receiver did not take the archive.
    Write(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read /{} of the changes: {source}", path.escape_ascii()),
            Self::Unsupported { path, what } => write!(f, "/{} {what}", path.escape_ascii()),
            Self::Write(source) => write!(f, "cannot send the changes: {source}"),
        }
    }
}

impl From<WalkError> for Error {
    fn from(WalkError { path, source }: WalkError) -> Self {
        Self::Read { path, source }
    }
}

/// Writes the changes in `upper` to `out`, which does well to be buffered.
pub(crate) fn capture(upper: BorrowedFd<'_>, options: &Options<'_>, out: &mut dyn Write) -> Result<Summary, Error> {
    let mut walk = Walk::new(upper).map_err(|source| Error::Read { path: Vec::new(), source })?;
    let mut capture = Capture {
        marks: options.marks,
        out,
        first_names: HashMap::new(),
        buffer: vec![0; 256 * 1024],
        summary: Summary::default(),
    };
    let mut excludes = |found: &Found, directory: BorrowedFd<'_>| {
        Ok(options.skip.contains(&found.path) || options.baseline.holds(found, directory)?)
    };
    while let Some(found) = walk.next(&mut excludes)? {
        capture.entry(&found, walk.directory())?;
    }
    tar::finish(capture.out).map_err(Error::Write)?;
    capture.out.flush().map_err(Error::Write)?;
    Ok(capture.summary)
}

/// A capture under way.
struct Capture<'a> {
    marks: Marks,
    out: &'a mut dyn Write,
    /// Of inodes with several names, the one that came first.
    first_names: HashMap<(u32, u32, u64), Vec<u8>>,
    buffer: Vec<u8>,
    summary: Summary,
}

/// What the extended attributes of an entry say.
#[derive(Default)]
struct Attributes {
    content: Vec<(Vec<u8>, Vec<u8>)>,
    whiteout: bool,
}

impl Capture<'_> {
    fn entry(&mut self, found: &Found, directory: BorrowedFd<'_>) -> Result<(), Error> {
        let Found { path, name, stat } = found;
        let (major, minor) = stat.device;
        // The kernel makes many whiteouts by linking one: each is its own here.
        if stat.kind == Kind::CharDevice && stat.device == (0, 0) {
            return self.whiteout(path);
        }
        if stat.links > 1
            && !matches!(stat.kind, Kind::Directory | Kind::Socket)
            && let Some(target) = self.first_names.get(&stat.id)
        {
            header(found, Member::HardLink { target }, &[]).write(self.out).map_err(Error::Write)?;
            self.summary.entries += 1;
            return Ok(());
        }
        match stat.kind {
            Kind::Directory => {
                let opened = read(path, fs::open_dir(directory, name))?;
                let attributes = self.attributes(path, opened.as_fd())?;
                self.member(found, Member::Directory, &attributes.content)?;
            }
            Kind::File => self.file(found, directory)?,
            Kind::Symlink => {
                let target = read(path, fs::read_link_at(directory, name))?;
                self.member(found, Member::Symlink { target: &target }, &[])?;
            }
            Kind::CharDevice => self.member(found, Member::CharDevice { major, minor }, &[])?,
            Kind::BlockDevice => self.member(found, Member::BlockDevice { major, minor }, &[])?,
            Kind::Fifo => self.member(found, Member::Fifo, &[])?,
            Kind::Socket => self.leave_out(path),
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &[u8]) {
        if self.summary.sockets == 0 {
            self.summary.first_socket = path.to_vec();
        }
        self.summary.sockets += 1;
    }

    /// A whiteout, the same whoever made it and when.
    fn whiteout(&mut self, path: &[u8]) -> Result<(), Error> {
        let member = Member::CharDevice { major: 0, minor: 0 };
        let header = Header { path, member, mode: 0, uid: 0, gid: 0, mtime: 0, xattrs: &[] };
        header.write(self.out).map_err(Error::Write)?;
        self.summary.entries += 1;
        Ok(())
    }

    fn file(&mut self, found: &Found, directory: BorrowedFd<'_>) -> Result<(), Error> {
        let Found { path, name, stat } = found;
        // Not blocking, should it turn out to be a pipe after all.
        let opened = read(path, fs::open_at(directory, name, fs::O_RDONLY | fs::O_NONBLOCK))?;
        if read(path, fs::stat(opened.as_fd()))?.id != stat.id {
            return read(path, Err(io::Error::other("the file was replaced")));
        }
        let attributes = self.attributes(path, opened.as_fd())?;
        if attributes.whiteout && stat.size == 0 {
            return self.whiteout(path);
        }
        let segments = read(path, sparse::segments(opened.as_fd(), stat))?;
        let member = match &segments {
            Some(segments) => Member::SparseFile { size: stat.size, segments },
            None => Member::File { size: stat.size },
        };
        self.member(found, member, &attributes.content)?;
        let whole = [Segment { offset: 0, length: stat.size }];
        let file = File::from(opened);
        let mut sent = 0;
        for segment in segments.as_deref().unwrap_or(&whole) {
            self.data(path, &file, *segment)?;
            sent += segment.length;
        }
        tar::pad(self.out, sent).map_err(Error::Write)
    }

    fn data(&mut self, path: &[u8], file: &File, segment: Segment) -> Result<(), Error> {
        let (mut offset, end) = (segment.offset, segment.offset + segment.length);
        while offset < end {
            let want = usize::try_from(end - offset).unwrap_or(usize::MAX).min(self.buffer.len());
            let buffer = self.buffer.get_mut(..want).unwrap_or_default();
            read(path, file.read_exact_at(buffer, offset))?;
            self.out.write_all(buffer).map_err(Error::Write)?;
            offset += want as u64;
        }
        Ok(())
    }

    /// Writes the header of an entry that is not a hard link to an earlier one.
    fn member(&mut self, found: &Found, member: Member<'_>, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Error> {
        header(found, member, xattrs).write(self.out).map_err(Error::Write)?;
        self.summary.entries += 1;
        if found.stat.links > 1 && found.stat.kind != Kind::Directory {
            self.first_names.insert(found.stat.id, found.path.clone());
        }
        Ok(())
    }

    fn attributes(&self, path: &[u8], fd: BorrowedFd<'_>) -> Result<Attributes, Error> {
        let unsupported = |what: String| Error::Unsupported { path: path.to_vec(), what };
        let mut attributes = Attributes::default();
        for name in read(path, fs::xattr_names(fd))? {
            let Some(value) = read(path, fs::xattr(fd, &name))? else { continue };
            match self.marks.meaning(name.to_bytes(), &value) {
                Meaning::Content => attributes.content.push((name.into_bytes(), value)),
                Meaning::Opaque => attributes.content.push((b"trusted.overlay.opaque".to_vec(), b"y".to_vec())),
                Meaning::Whiteout => attributes.whiteout = true,
                Meaning::Reference => {
                    return Err(unsupported(format!(
                        "refers to a lower layer ({}), which a layer cannot",
                        shown(&name)
                    )));
                }
                Meaning::Nothing => {}
            }
        }
        attributes.content.sort_unstable();
        Ok(attributes)
    }
}

fn header<'a>(found: &'a Found, member: Member<'a>, xattrs: &'a [(Vec<u8>, Vec<u8>)]) -> Header<'a> {
    let Found { path, stat, .. } = found;
    Header { path, member, mode: stat.mode, uid: stat.uid, gid: stat.gid, mtime: stat.mtime.seconds, xattrs }
}

fn read<T>(path: &[u8], result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|source| Error::Read { path: path.to_vec(), source })
}

fn shown(name: &CStr) -> impl fmt::Display + '_ {
    name.to_bytes().escape_ascii()
}
