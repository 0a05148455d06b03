//! Writes a tar stream entry by entry.
//!
//! Headers are ustar; what ustar cannot hold goes into pax records before them. Nothing but the arguments enters the
//! bytes: no user names, no clock, and zeros wherever a field is unused.

use std::io::{self, Read, Write};

use super::archive::EntryKind;
use super::header::{BLOCK, Header};
use super::pax;
use crate::{Metadata, Special};

/// Writes entries to `W`, in the order in which they are appended.
#[derive(Debug)]
pub struct Builder<W> {
    out: W,
    scratch: Vec<u8>,
}

impl<W: Write> Builder<W> {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: W) -> Self {
        Self { out, scratch: Vec::new() }
    }

    /// Appends one entry; `content` is read for files only and must hold exactly as many bytes as the entry says.
    ///
    /// # Errors
    /// Fails when `out` or `content` does, with [`io::ErrorKind::UnexpectedEof`] where the content is too short, and
    /// with [`io::ErrorKind::InvalidInput`] for a socket, which tar has no form for. The archive is useless then.
    pub fn append(
        &mut self,
        path: &[u8],
        metadata: &Metadata,
        kind: &EntryKind,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        let (flag, link, size, device) = match kind {
            EntryKind::File { size } => (b'0', None, *size, None),
            EntryKind::HardLink { target } => (b'1', Some(&target[..]), 0, None),
            EntryKind::Symlink { target } => (b'2', Some(&target[..]), 0, None),
            EntryKind::Special(Special::CharDevice { major, minor }) => (b'3', None, 0, Some((*major, *minor))),
            EntryKind::Special(Special::BlockDevice { major, minor }) => (b'4', None, 0, Some((*major, *minor))),
            EntryKind::Directory => (b'5', None, 0, None),
            EntryKind::Special(Special::Fifo) => (b'6', None, 0, None),
            EntryKind::Special(Special::Socket) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a tar archive cannot hold a socket"));
            }
        };
        let mut name = if path.is_empty() { b"./".to_vec() } else { path.to_vec() };
        if matches!(kind, EntryKind::Directory) && !name.ends_with(b"/") {
            name.push(b'/');
        }
        self.write_header(flag, &name, metadata, link, size, device)?;
        if size > 0 {
            let copied = io::copy(&mut content.take(size), &mut self.out)?;
            if copied < size {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file is shorter than its size"));
            }
            self.pad(size)?;
        }
        Ok(())
    }

    /// Ends the archive and returns the writer, flushed.
    ///
    /// # Errors
    /// Fails when the writer does.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn write_header(
        &mut self,
        flag: u8,
        name: &[u8],
        metadata: &Metadata,
        link: Option<&[u8]>,
        size: u64,
        device: Option<(u32, u32)>,
    ) -> io::Result<()> {
        let mut header = Header::new(flag);
        let mut records = std::mem::take(&mut self.scratch);
        records.clear();
        let mut record = |fits: bool, key: &str, value: &[u8]| {
            if !fits {
                pax::push_record(&mut records, key.as_bytes(), value);
            }
        };
        let mode_fits = header.set_mode(metadata.mode & 0o7777);
        debug_assert!(mode_fits, "twelve bits have four digits");
        record(header.set_gid(metadata.gid), "gid", metadata.gid.to_string().as_bytes());
        if let Some(link) = link {
            record(header.set_link(link), "linkpath", link);
        }
        record(header.set_mtime(metadata.mtime), "mtime", metadata.mtime.to_string().as_bytes());
        record(header.set_name(name), "path", name);
        record(header.set_size(size), "size", size.to_string().as_bytes());
        record(header.set_uid(metadata.uid), "uid", metadata.uid.to_string().as_bytes());
        if let Some((major, minor)) = device
            && !header.set_device(major, minor)
        {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a device number does not fit into a tar header"));
        }
        for (name, value) in &metadata.xattrs {
            pax::push_record(&mut records, &pax::xattr_key(name), value);
        }
        if !records.is_empty() {
            self.write_records(&records)?;
        }
        self.scratch = records;
        self.out.write_all(&header.seal())
    }

    fn write_records(&mut self, records: &[u8]) -> io::Result<()> {
        let mut header = Header::new(b'x');
        let size = records.len() as u64;
        // The name is for programs that know no pax headers and extract them as files.
        if !(header.set_name(b"PaxHeaders/entry") && header.set_mode(0o644) && header.set_size(size)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the extended attributes do not fit"));
        }
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        self.out.write_all(&header.seal())?;
        self.out.write_all(records)?;
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = size.wrapping_neg() % BLOCK as u64;
        io::copy(&mut io::repeat(0).take(padding), &mut self.out).map(drop)
    }
}
