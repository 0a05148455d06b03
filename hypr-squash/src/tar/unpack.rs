//! From a tar stream into an image.
//!
//! The result is what extracting the archive into an empty directory would give, inode by inode: later entries replace
//! earlier ones, a directory on a directory keeps its children, a hard link names the inode that its target had at
//! that point of the archive.
//!
//! **Entries below a symbolic link.** A layer may hold `lib -> usr/lib` and then `lib/x`. The directory part of every
//! entry and hard link target is resolved through the links that the same archive has made so far, inside of the
//! image's root, as container engines do when they extract a layer into a directory of its own: `lib/x` becomes
//! `usr/lib/x`. The last component is never followed but replaced. What does not exist is taken literally and implied
//! as a directory; a file or device on the way is an error. Links of lower layers are not known here and play no part.

use std::io::Read;

use super::archive::{Archive, Entry, EntryKind};
use super::attributes::{self, Warnings};
use super::error::{Error as TarError, Fault};
use super::layer::{Present, Tree};
use super::{ReadOptions, Stats, Whiteouts};
use crate::{Error, Metadata, Special, Writer};

/// The prefix of a file in a layer that stands for a deletion.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// The file in a layer that hides what lower layers have in its directory.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other names with this prefix are left over from AUFS and mean nothing.
pub(super) const RESERVED: &[u8] = b".wh..wh.";

/// Adds everything that a tar stream holds to `writer`, and reads the stream to its end.
///
/// # Errors
/// Fails with [`Error::Tar`] on anything in the stream that is malformed or refused; the image is incomplete then and
/// should be thrown away.
pub fn unpack_into(writer: &mut Writer, tar: impl Read, options: &ReadOptions) -> Result<Stats, Error> {
    let mut archive = Archive::new(tar, options.end_marker);
    let mut unpacker =
        Unpacker { writer, options, tree: Tree::default(), warnings: Warnings::default(), entries: 0, holes: 0 };
    while let Some(entry) = archive.next_entry()? {
        unpacker.add(entry, &mut archive)?;
    }
    archive.drain()?;
    Ok(Stats { entries: unpacker.entries, warnings: unpacker.warnings.into_list() })
}

struct Unpacker<'a> {
    writer: &'a mut Writer,
    options: &'a ReadOptions,
    tree: Tree,
    warnings: Warnings,
    entries: u64,
    /// Bytes of all holes so far.
    holes: u64,
}

/// Either the archive's fault, still without its place, or the writer's.
enum Failure {
    Archive(Fault),
    Writer(Error),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Archive(fault)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Writer(error)
    }
}

impl Unpacker<'_> {
    fn add<R: Read>(&mut self, entry: Entry, archive: &mut Archive<R>) -> Result<(), Error> {
        self.entries += 1;
        self.place(entry, archive).map_err(|failure| match failure {
            Failure::Archive(fault) => archive.error(fault).into(),
            Failure::Writer(error) => archive.take_failure().map_or(error, TarError::into),
        })
    }

    fn place<R: Read>(&mut self, mut entry: Entry, archive: &mut Archive<R>) -> Result<(), Failure> {
        let (parent, name) = split(&entry.path);
        if entry.path.is_empty() {
            return self.add_directory(Vec::new(), entry);
        }
        let parent = self.resolve(parent)?;
        if self.options.whiteouts == Whiteouts::Oci && name.starts_with(WHITEOUT) {
            return self.add_whiteout(parent, &name[WHITEOUT.len()..], name);
        }
        let path = join(&parent, name);
        self.ensure_directories(&parent)?;
        if entry.kind == EntryKind::Directory {
            return self.add_directory(path, entry);
        }
        let metadata = self.take_metadata(&mut entry)?;
        let full = self.full(&path);
        match entry.kind {
            EntryKind::Directory => unreachable!("directories were added above"),
            EntryKind::File { size } => {
                let limit = self.options.max_file_size;
                if size > limit {
                    return Err(Fault::TooLarge { size, limit }.into());
                }
                self.holes = self.holes.saturating_add(archive.holes());
                if self.holes > self.options.max_holes {
                    return Err(Fault::Holes { limit: self.options.max_holes }.into());
                }
                self.tree.replace(&path, None);
                self.writer.add_file(&full, &metadata, &mut archive.data())?;
            }
            EntryKind::Symlink { target } => {
                // Linux knows no other permissions of a link, whatever the archive says.
                let metadata = Metadata { mode: 0o777, ..metadata };
                self.writer.add_symlink(&full, &metadata, &target)?;
                self.tree.replace(&path, Some(Present::Symlink(target)));
            }
            EntryKind::HardLink { target } => self.add_hard_link(&path, &target)?,
            EntryKind::Special(Special::CharDevice { major: 0, minor: 0 })
                if self.options.whiteouts != Whiteouts::Overlay =>
            {
                return Err(Fault::ForeignWhiteout.into());
            }
            EntryKind::Special(special) => {
                self.tree.replace(&path, None);
                self.writer.add_special(&full, &metadata, special)?;
            }
        }
        Ok(())
    }

    fn add_directory(&mut self, path: Vec<u8>, mut entry: Entry) -> Result<(), Failure> {
        let metadata = self.take_metadata(&mut entry)?;
        let hides = match self.tree.get(&path) {
            Some(Present::Whiteout) => true,
            Some(Present::Directory { opaque, .. }) => *opaque,
            _ => false,
        };
        self.write_directory(path, metadata, hides)
    }

    fn add_hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Failure> {
        let (parent, name) = split(target);
        let target = join(&self.resolve(parent)?, name);
        let below = target.starts_with(path) && (target.len() == path.len() || target[path.len()] == b'/');
        match self.tree.get(&target) {
            // Making the link begins with removing what is at its path.
            _ if below => Err(Fault::LinkTarget(target).into()),
            Some(Present::Directory { .. }) => Err(Fault::LinkToDirectory(target).into()),
            Some(Present::Whiteout) => Err(Fault::LinkTarget(target).into()),
            _ if target.is_empty() => Err(Fault::LinkToDirectory(target).into()),
            found if !self.writer.contains(&self.full(&target)) => {
                debug_assert!(found.is_none(), "the writer has every link");
                Err(Fault::LinkTarget(target).into())
            }
            found => {
                let present = found.cloned();
                self.writer.add_hard_link(&self.full(path), &self.full(&target))?;
                self.tree.replace(path, present);
                Ok(())
            }
        }
    }

    /// Takes over a file whose name says that another one is deleted.
    fn add_whiteout(&mut self, parent: Vec<u8>, hidden: &[u8], name: &[u8]) -> Result<(), Failure> {
        if name == OPAQUE {
            self.ensure_directories(&parent)?;
            return self.make_opaque(parent);
        }
        if name.starts_with(RESERVED) {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Fault::EmptyWhiteout.into());
        }
        self.ensure_directories(&parent)?;
        let path = join(&parent, hidden);
        // A whiteout speaks of lower layers only: what this layer has at the same path stays, wherever it stands.
        if let Some(Present::Directory { .. }) = self.tree.get(&path) {
            return self.make_opaque(path);
        }
        let full = self.full(&path);
        if !self.writer.contains(&full) {
            let metadata = Metadata::default();
            self.writer.add_special(&full, &metadata, Special::CharDevice { major: 0, minor: 0 })?;
            self.tree.replace(&path, Some(Present::Whiteout));
        }
        Ok(())
    }

    fn make_opaque(&mut self, path: Vec<u8>) -> Result<(), Failure> {
        match self.tree.get(&path) {
            Some(Present::Directory { opaque: true, .. }) => Ok(()),
            Some(Present::Directory { metadata, .. }) => {
                let metadata = metadata.clone();
                self.write_directory(path, metadata, true)
            }
            _ => self.write_directory(path, implied(), true),
        }
    }

    fn write_directory(&mut self, path: Vec<u8>, metadata: Metadata, opaque: bool) -> Result<(), Failure> {
        let full = self.full(&path);
        if opaque {
            let mut marked = metadata.clone();
            marked.xattrs.insert(attributes::OPAQUE.to_vec(), b"y".to_vec());
            self.writer.add_directory(&full, &marked)?;
        } else {
            self.writer.add_directory(&full, &metadata)?;
        }
        self.tree.set_directory(path, metadata, opaque);
        Ok(())
    }

    /// Notes that `path` and all above it are directories, for those that no entry has named.
    fn ensure_directories(&mut self, path: &[u8]) -> Result<(), Failure> {
        if self.tree.is_directory(path) {
            return Ok(());
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in std::iter::once(0).chain(ends).chain([path.len()]) {
            let prefix = &path[..end];
            match self.tree.get(prefix) {
                Some(Present::Directory { .. }) => {}
                // Lower layers lose the directory, then this layer makes a new one.
                Some(Present::Whiteout) => self.write_directory(prefix.to_vec(), implied(), true)?,
                Some(Present::Symlink(_)) => return Err(Fault::NotADirectory(prefix.to_vec()).into()),
                // The writer implies it with the same metadata.
                None => self.tree.set_directory(prefix.to_vec(), implied(), false),
            }
        }
        Ok(())
    }

    /// Where a directory of the archive lies once the links made so far are followed.
    fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, Fault> {
        if self.tree.is_directory(path) || path.is_empty() {
            return Ok(path.to_vec());
        }
        self.tree.resolve(path, |path| self.writer.contains(&self.full(path)))
    }

    /// The metadata that goes into the image, after dropping or refusing what must not.
    fn take_metadata(&mut self, entry: &mut Entry) -> Result<Metadata, Fault> {
        let mut metadata = std::mem::take(&mut entry.metadata);
        if let Some((uid, gid)) = self.options.owner {
            (metadata.uid, metadata.gid) = (uid, gid);
        }
        attributes::filter(&mut metadata, entry, self.options, &mut self.warnings)?;
        Ok(metadata)
    }

    fn full(&self, path: &[u8]) -> Vec<u8> {
        join(&self.options.destination, path)
    }
}

/// What a directory has that no entry names.
fn implied() -> Metadata {
    Metadata { mode: 0o755, ..Metadata::default() }
}

/// The directory part of a path and the last component.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() || name.is_empty() { [parent, name].concat() } else { [parent, b"/", name].concat() }
}
