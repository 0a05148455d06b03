//! The entries of a tar stream, one after the other.
//!
//! What several headers say about one entry (pax records, GNU long names, sparse maps) is put together here, so
//! that whoever reads entries sees paths, metadata and contents only. Understood are v7, ustar, pax and GNU tar.

use std::io::{self, BufRead, BufReader, Read};

use super::error::{EntryName, Error, Fault};
use super::header::{BLOCK, Header};
use super::pax::{self, Extensions};
use super::sparse::{self, Map, MapBuilder};
use super::{EndMarker, path};
use crate::{Metadata, Special};

/// Major numbers have 12 bits and minor numbers 20 on Linux.
const MAJOR_LIMIT: u64 = 1 << 12;
const MINOR_LIMIT: u64 = 1 << 20;

/// A tar stream that is read entry by entry.
#[derive(Debug)]
pub struct Archive<R> {
    reader: BufReader<R>,
    end_marker: EndMarker,
    /// Bytes consumed so far.
    position: u64,
    /// What pax records for all following entries say.
    defaults: Extensions,
    /// Where the entry being read starts, and its name as far as known.
    entry: (u64, EntryName),
    data: Data,
    ended: bool,
    failure: Option<Error>,
}

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path without a leading slash, empty for the root; it has no `.`, `..` or empty component.
    pub path: Vec<u8>,
    /// Permissions, owner, time and every extended attribute as the archive has them.
    pub metadata: Metadata,
    /// Whether the entry also had POSIX access control lists, which [`Metadata`] cannot hold.
    pub has_acl: bool,
    /// What kind of entry it is.
    pub kind: EntryKind,
}

/// The kinds of entry in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file, whose content comes from [`Archive::data`].
    File {
        /// Bytes of content, holes included.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as written.
        target: Vec<u8>,
    },
    /// Another name of an earlier entry.
    HardLink {
        /// Path of that entry, in the form of [`Entry::path`].
        target: Vec<u8>,
    },
    /// A device, fifo or socket.
    Special(Special),
}

/// What is left of the current entry's data.
#[derive(Debug, Default)]
struct Data {
    /// Stored bytes not yet read.
    stored: u64,
    /// Zero bytes after them, up to the next block.
    padding: u64,
    /// Bytes of the file not yet read, holes included.
    rest: u64,
    /// Offset in the file.
    offset: u64,
    /// The parts of the file that are stored, behind `offset`, the next one last.
    parts: Vec<(u64, u64)>,
}

/// The headers before an entry's own.
#[derive(Default)]
struct Prelude {
    extensions: Extensions,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    /// Bytes that all of them have.
    bytes: u64,
}

impl<R: Read> Archive<R> {
    /// Reads entries from `reader`, which need not be buffered.
    pub fn new(reader: R, end_marker: EndMarker) -> Self {
        Self {
            reader: BufReader::with_capacity(64 << 10, reader),
            end_marker,
            position: 0,
            defaults: Extensions::default(),
            entry: (0, EntryName::default()),
            data: Data::default(),
            ended: false,
            failure: None,
        }
    }

    /// The next entry, or `None` at the end of the archive.
    ///
    /// # Errors
    /// Fails on anything malformed, with the place. The archive cannot be read further then.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        if self.ended {
            return Ok(None);
        }
        let outcome = self.skip_data().and_then(|()| {
            self.entry = (self.position, EntryName::default());
            self.read_entry()
        });
        self.ended = !matches!(outcome, Ok(Some(_)));
        outcome.map_err(|fault| self.error(fault))
    }

    /// Bytes of the current entry's content that are holes, as long as none of it has been read.
    pub fn holes(&self) -> u64 {
        self.data.rest.saturating_sub(self.data.stored)
    }

    /// The content of the entry that [`next_entry`](Self::next_entry) returned last; nothing unless that is a file.
    pub fn data(&mut self) -> impl Read {
        Content { archive: self }
    }

    /// Why reading the content failed, with the place in the archive, if it did.
    pub fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Reads what follows the end marker, which tar pads to its record size, up to the end of the stream.
    ///
    /// # Errors
    /// Fails when the stream cannot be read.
    pub fn drain(&mut self) -> Result<(), Error> {
        loop {
            let available = match self.reader.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(bytes) => bytes.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.error(Fault::Read(error))),
            };
            self.reader.consume(available);
        }
    }

    /// An error at the current entry.
    pub(super) fn error(&self, fault: Fault) -> Error {
        Error { offset: self.entry.0, entry: self.entry.1.clone(), fault }
    }

    fn read_entry(&mut self) -> Result<Option<Entry>, Fault> {
        let mut prelude = Prelude { extensions: self.defaults.clone(), ..Prelude::default() };
        loop {
            let Some(header) = self.read_header()? else {
                return if prelude.bytes > 0 { Err(Fault::Dangling) } else { Ok(None) };
            };
            match header.kind() {
                b'x' | b'X' => {
                    let records = self.read_long(&header, &mut prelude, "extended header", pax::LIMIT)?;
                    prelude.extensions.parse(&records)?;
                }
                b'g' if prelude.bytes > 0 => return Err(Fault::Dangling),
                b'g' => {
                    let records = self.read_long(&header, &mut prelude, "extended header", pax::LIMIT)?;
                    self.defaults.parse(&records)?;
                    if self.defaults.names_one_entry() {
                        return Err(Fault::Pax("a header for all entries sets what differs between them"));
                    }
                    prelude = Prelude { extensions: self.defaults.clone(), ..Prelude::default() };
                }
                b'L' => prelude.long_name = Some(self.read_long_name(&header, &mut prelude)?),
                b'K' => prelude.long_link = Some(self.read_long_name(&header, &mut prelude)?),
                // The label of a volume says nothing about files.
                b'V' => {
                    self.set_data(header.size()?, None)?;
                    self.skip_data()?;
                }
                _ => return self.assemble(&header, prelude).map(Some),
            }
        }
    }

    /// Puts an entry together from its own header and those before it.
    fn assemble(&mut self, header: &Header, prelude: Prelude) -> Result<Entry, Fault> {
        let Prelude { extensions, long_name, long_link, .. } = prelude;
        let Extensions { path, link, size, mtime, uid, gid, major, minor, xattrs, acl, sparse } = extensions;
        let name = sparse.name.clone().or(path).or(long_name).unwrap_or_else(|| header.name());
        self.entry.1 = EntryName(Some(name.iter().take(path::LIMIT).copied().collect()));
        let path = path::normalise(&name, "name")?;
        let metadata = Metadata {
            mode: header.mode()?,
            uid: id(uid.map_or_else(|| header.uid(), Ok)?, "user id")?,
            gid: id(gid.map_or_else(|| header.gid(), Ok)?, "group id")?,
            mtime: mtime.map_or_else(|| header.mtime(), Ok)?,
            xattrs: xattrs.into_iter().collect(),
        };
        let link = || link.or(long_link).unwrap_or_else(|| header.link());
        let device = || -> Result<(u32, u32), Fault> {
            let (in_header_major, in_header_minor) = header.device()?;
            let (major, minor) = (major.unwrap_or(in_header_major), minor.unwrap_or(in_header_minor));
            match (u32::try_from(major), u32::try_from(minor)) {
                (Ok(narrow_major), Ok(narrow_minor)) if major < MAJOR_LIMIT && minor < MINOR_LIMIT => {
                    Ok((narrow_major, narrow_minor))
                }
                _ => Err(Fault::Number("device number")),
            }
        };
        let is_sparse = sparse.is_set();
        let mut stored = 0;
        let mut map = None;
        let kind = match header.kind() {
            // Before ustar, a directory was a file whose name ends in a slash.
            b'\0' if name.ends_with(b"/") => EntryKind::Directory,
            b'\0' | b'0' | b'7' => {
                stored = size.map_or_else(|| header.size(), Ok)?;
                self.set_data(stored, None)?;
                map = match sparse.map_is_in_data()? {
                    true => Some(self.read_map(sparse.size)?),
                    false => sparse.map()?,
                };
                if is_sparse && map.is_none() {
                    return Err(Fault::Sparse("its map is missing"));
                }
                stored = self.data.stored;
                EntryKind::File { size: map.as_ref().map_or(stored, |map| map.size) }
            }
            b'S' if header.is_gnu() && !is_sparse => {
                stored = size.map_or_else(|| header.size(), Ok)?;
                let gnu = self.read_gnu_map(header)?;
                let size = gnu.size;
                map = Some(gnu);
                EntryKind::File { size }
            }
            // Whatever sizes these have, no data follows: some programs note the size of a link's target.
            b'1' => EntryKind::HardLink { target: path::normalise(&link(), "link target")? },
            b'2' => EntryKind::Symlink { target: path::target(link())? },
            b'3' => device().map(|(major, minor)| EntryKind::Special(Special::CharDevice { major, minor }))?,
            b'4' => device().map(|(major, minor)| EntryKind::Special(Special::BlockDevice { major, minor }))?,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Special(Special::Fifo),
            other => return Err(Fault::Type(other)),
        };
        if is_sparse && !matches!(kind, EntryKind::File { .. }) {
            return Err(Fault::Sparse("it is no file"));
        }
        if path.is_empty() && kind != EntryKind::Directory {
            return Err(Fault::Root);
        }
        self.set_data(stored, map)?;
        Ok(Entry { path, metadata, has_acl: acl, kind })
    }

    /// The next header, or `None` at the end of the archive.
    fn read_header(&mut self) -> Result<Option<Header>, Fault> {
        let lenient = self.end_marker == EndMarker::Optional;
        let Some(block) = self.read_block()? else {
            return if lenient { Ok(None) } else { Err(Fault::NoEnd) };
        };
        if block != [0; BLOCK] {
            return Header::parse(block).map(Some);
        }
        match self.read_block()? {
            Some(second) if second == [0; BLOCK] => Ok(None),
            Some(_) => Err(Fault::Checksum),
            None if lenient => Ok(None),
            None => Err(Fault::NoEnd),
        }
    }

    /// The next block, or `None` where the stream ends before it.
    fn read_block(&mut self) -> Result<Option<[u8; BLOCK]>, Fault> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read_raw(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(Fault::Truncated { at: self.position }),
                read => filled += read,
            }
        }
        Ok(Some(block))
    }

    /// The data of a header that only describes the next one.
    fn read_long(
        &mut self,
        header: &Header,
        prelude: &mut Prelude,
        what: &'static str,
        limit: u64,
    ) -> Result<Vec<u8>, Fault> {
        let size = header.size()?;
        prelude.bytes = prelude.bytes.saturating_add(size).saturating_add(BLOCK as u64);
        if size > limit || prelude.bytes > pax::LIMIT + 8 * BLOCK as u64 {
            return Err(Fault::TooLong { what, limit });
        }
        self.set_data(size, None)?;
        let mut bytes = Vec::new();
        while self.data.rest > 0 {
            let mut block = [0; BLOCK];
            let read = self.read_data(&mut block)?;
            bytes.extend_from_slice(&block[..read]);
        }
        self.skip_data()?;
        Ok(bytes)
    }

    /// A long name of GNU tar, which ends in a NUL.
    fn read_long_name(&mut self, header: &Header, prelude: &mut Prelude) -> Result<Vec<u8>, Fault> {
        let mut name = self.read_long(header, prelude, "name", path::LIMIT as u64 + 1)?;
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        Ok(name)
    }

    /// The map of GNU tar's old sparse format: in the header, then in blocks of 21 parts each.
    fn read_gnu_map(&mut self, header: &Header) -> Result<Map, Fault> {
        const MORE: usize = 504;
        let mut map = MapBuilder::default();
        let (fields, mut more) = header.sparse_map();
        map.push_fields(fields)?;
        let mut blocks = 0;
        while more {
            blocks += 1;
            if blocks > sparse::part_limit() / 21 {
                return Err(Fault::Sparse("it has too many parts"));
            }
            let block = self.read_block()?.ok_or(Fault::Truncated { at: self.position })?;
            map.push_fields(&block[..MORE])?;
            more = block[MORE] != 0;
        }
        map.finish(header.sparse_size()?)
    }

    /// The map of pax sparse version 1.0: decimal numbers on lines, in front of the data and padded to a block.
    fn read_map(&mut self, size: Option<u64>) -> Result<Map, Fault> {
        let size = size.ok_or(Fault::Sparse("its size is missing"))?;
        let mut map = MapBuilder::default();
        // Numbers left, unknown until the first one has been read.
        let mut left: Option<u64> = None;
        let mut offset = None;
        let mut digits = Vec::new();
        while left != Some(0) {
            let mut block = [0; BLOCK];
            if self.data.stored < BLOCK as u64 {
                return Err(Fault::Sparse("its map is cut off"));
            }
            let mut filled = 0;
            while filled < BLOCK {
                filled += self.read_data(&mut block[filled..])?;
            }
            for byte in block {
                if left == Some(0) {
                    break;
                }
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(Fault::Sparse("a number in its map is too long"));
                    }
                    continue;
                }
                let number = pax::decimal(&digits)?;
                digits.clear();
                left = Some(match (left, offset.take()) {
                    (None, _) if number > sparse::part_limit() => {
                        return Err(Fault::Sparse("it has too many parts"));
                    }
                    (None, _) => 2 * number,
                    (Some(left), None) => {
                        offset = Some(number);
                        left - 1
                    }
                    (Some(left), Some(offset)) => {
                        map.push(offset, number)?;
                        left - 1
                    }
                });
            }
        }
        map.finish(size)
    }

    /// Announces `stored` bytes of data, which are the parts in `map` if there is one.
    fn set_data(&mut self, stored: u64, map: Option<Map>) -> Result<(), Fault> {
        let padding = stored.wrapping_neg() % BLOCK as u64;
        self.position.checked_add(stored).and_then(|end| end.checked_add(padding)).ok_or(Fault::Number("size"))?;
        self.data = match map {
            None => Data { stored, padding, rest: stored, offset: 0, parts: vec![(0, stored)] },
            Some(map) if map.stored() != stored => {
                return Err(Fault::Sparse("its parts and the data differ in size"));
            }
            Some(Map { mut data, size }) => {
                data.reverse();
                Data { stored, padding, rest: size, offset: 0, parts: data }
            }
        };
        Ok(())
    }

    /// Moves behind the current entry's data.
    fn skip_data(&mut self) -> Result<(), Fault> {
        let mut left = std::mem::take(&mut self.data.stored) + std::mem::take(&mut self.data.padding);
        self.data = Data::default();
        let mut scratch = [0; 16 << 10];
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(scratch.len());
            match self.read_raw(&mut scratch[..part])? {
                0 => return Err(Fault::Truncated { at: self.position }),
                read => left -= read as u64,
            }
        }
        Ok(())
    }

    /// Reads content: stored bytes where there are some, zeros in holes.
    fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let wanted = |available: u64| usize::try_from(available).unwrap_or(usize::MAX).min(buffer.len());
        if self.data.rest == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let read = match self.data.parts.last() {
            Some(&(start, length)) if start <= self.data.offset => {
                let part = wanted(start + length - self.data.offset);
                match self.read_raw(&mut buffer[..part])? {
                    0 => return Err(Fault::Truncated { at: self.position }),
                    read => {
                        self.data.stored -= read as u64;
                        read
                    }
                }
            }
            next => {
                let hole_end = next.map_or(self.data.offset + self.data.rest, |(start, _)| *start);
                let part = wanted(hole_end - self.data.offset);
                buffer[..part].fill(0);
                part
            }
        };
        self.data.offset += read as u64;
        self.data.rest -= read as u64;
        if self.data.parts.last().is_some_and(|(start, length)| start + length == self.data.offset) {
            self.data.parts.pop();
        }
        Ok(read)
    }

    fn read_raw(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        loop {
            match self.reader.read(buffer) {
                Ok(read) => {
                    self.position += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Read(error)),
            }
        }
    }
}

/// The content of the current entry as a reader.
struct Content<'a, R> {
    archive: &'a mut Archive<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.archive.read_data(buffer).map_err(|fault| {
            let kind = match &fault {
                Fault::Read(error) => error.kind(),
                _ => io::ErrorKind::UnexpectedEof,
            };
            self.archive.failure = Some(self.archive.error(fault));
            io::Error::new(kind, "the tar archive cannot be read further")
        })
    }
}

/// Ids have 32 bits, and the last one stands for "none".
fn id(id: u64, what: &'static str) -> Result<u32, Fault> {
    u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or(Fault::Number(what))
}
