//! From a stack of layers to a tar stream.
//!
//! The bytes depend on the tree alone: directories come before what is in them, names in bytewise order, a hard
//! link's content under the first of its names.

use std::collections::HashMap;
use std::io::{self, Write};

use super::attributes;
use super::unpack::{OPAQUE, WHITEOUT, join};
use super::{Builder, EntryKind, Whiteouts, WriteOptions};
use crate::overlay::{Identity, Node};
use crate::{Error, Kind, Metadata, Overlay, Special};

/// Writes a tree as a tar archive to `out`, which should be buffered and is flushed.
///
/// [`Overlay::new`] gives a whole root file system, [`Overlay::part`] of one layer that layer with its deletions.
/// Sockets are left out, as they are when a running system is archived.
///
/// # Errors
/// Fails when the tree cannot be read or `out` cannot be written; with [`Error::Unsupported`] for a file whose name
/// would be read as a deletion, and for a deletion when [`Whiteouts::None`] is asked for.
pub fn write(source: &Overlay, out: impl Write, options: &WriteOptions) -> Result<(), Error> {
    let mut writer = TarWriter { builder: Builder::new(out), options, first_names: HashMap::new() };
    writer.write_tree(source)?;
    writer.builder.finish().map_err(Error::io("write the archive"))?;
    Ok(())
}

struct TarWriter<'a, W> {
    builder: Builder<W>,
    options: &'a WriteOptions,
    /// The name under which an inode with several names was written.
    first_names: HashMap<Identity, Vec<u8>>,
}

impl<W: Write> TarWriter<'_, W> {
    fn write_tree(&mut self, source: &Overlay) -> Result<(), Error> {
        // Deletions of a directory come right behind it, so that an unpacker sees them before what stays.
        let mut stack = vec![(Vec::new(), source.root()?)];
        while let Some((path, node)) = stack.pop() {
            self.write_node(&path, &node)?;
            let mut entries = node.read_dir().map_err(|error| error.at(&path))?;
            for (name, _) in &entries {
                self.check_name(&path, name)?;
            }
            if self.options.whiteouts == Whiteouts::Oci {
                for (name, _) in entries.iter().filter(|(_, node)| node.is_whiteout()) {
                    self.write_whiteout(&join(&path, &[WHITEOUT, name].concat()))?;
                }
                entries.retain(|(_, node)| !node.is_whiteout());
            }
            stack.extend(entries.into_iter().rev().map(|(name, node)| (join(&path, &name), node)));
        }
        Ok(())
    }

    fn write_node(&mut self, path: &[u8], node: &Node) -> Result<(), Error> {
        let mut metadata = node.metadata().map_err(|error| error.at(path))?;
        if let Some(limit) = self.options.clamp_mtime {
            metadata.mtime = metadata.mtime.min(i64::from(limit));
        }
        let opaque = match self.options.whiteouts {
            Whiteouts::Overlay => false,
            Whiteouts::Oci => metadata.xattrs.remove(attributes::OPAQUE).is_some(),
            Whiteouts::None if metadata.xattrs.contains_key(attributes::OPAQUE) || node.is_whiteout() => {
                return Err(Error::Unsupported { path: path.to_vec(), reason: "the archive is to hold no deletions" });
            }
            Whiteouts::None => false,
        };
        if node.inode().is_some_and(|inode| inode.nlink() > 1)
            && !node.is_directory()
            && let Some(identity) = node.identity()
        {
            if let Some(first) = self.first_names.get(&identity) {
                let target = first.clone();
                return self.append(path, &metadata, &EntryKind::HardLink { target }, &mut io::empty());
            }
            self.first_names.insert(identity, path.to_vec());
        }
        match node.kind()? {
            Kind::Directory => self.append(path, &metadata, &EntryKind::Directory, &mut io::empty())?,
            Kind::File { size } => self.append(path, &metadata, &EntryKind::File { size }, &mut node.open()?)?,
            Kind::Symlink { target } => {
                self.append(path, &metadata, &EntryKind::Symlink { target }, &mut io::empty())?;
            }
            // A socket is nothing without the process that made it, and tar has no form for it.
            Kind::Special(Special::Socket) => {}
            Kind::Special(special) => self.append(path, &metadata, &EntryKind::Special(special), &mut io::empty())?,
        }
        if opaque {
            self.write_whiteout(&join(path, OPAQUE))?;
        }
        Ok(())
    }

    fn write_whiteout(&mut self, path: &[u8]) -> Result<(), Error> {
        let metadata = Metadata { mode: 0o600, ..Metadata::default() };
        self.append(path, &metadata, &EntryKind::File { size: 0 }, &mut io::empty())
    }

    fn check_name(&self, parent: &[u8], name: &[u8]) -> Result<(), Error> {
        if self.options.whiteouts == Whiteouts::Oci && name.starts_with(WHITEOUT) {
            let reason = "a file of this name in an archive of a layer would be read as a deletion";
            return Err(Error::Unsupported { path: join(parent, name), reason });
        }
        Ok(())
    }

    fn append(
        &mut self,
        path: &[u8],
        metadata: &Metadata,
        kind: &EntryKind,
        content: &mut dyn io::Read,
    ) -> Result<(), Error> {
        self.builder.append(path, metadata, kind, content).map_err(|source| Error::Entry {
            action: "write to the archive",
            path: path.to_vec(),
            source,
        })
    }
}
