//! Extracts images and stacks of layers into directories.
//!
//! Every directory on the way is opened beneath the given one and without following links, so a tree with any names
//! and links whatever cannot reach outside. Directories get their owner, mode, time and attributes last, as entries
//! made in them would change the time and a mode may forbid making them.

mod disk;

use std::collections::HashMap;
use std::hash::Hash;
use std::os::fd::AsFd;

use disk::Disk;

use crate::{Error, FileReader, Kind, Metadata, Node, Overlay, Reader, overlay};

/// How a tree is extracted.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExtractOptions {
    /// Whether entries get their owners.
    pub owners: Owners,
    /// What happens to that which the caller has no right to make.
    pub denied: Denied,
    /// What the attributes of overlayfs are called on disk.
    pub overlay_names: OverlayNames,
}

/// Whether entries get their owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owners {
    /// User and group of the image.
    #[default]
    Keep,
    /// Those of the process that extracts.
    Ignore,
}

/// What happens to devices and attributes that the caller has no right to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Denied {
    /// They are an error.
    #[default]
    Refuse,
    /// They are left out and counted.
    Skip,
}

/// The namespace that overlayfs keeps its attributes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverlayNames {
    /// `trusted.overlay.`, as in layers.
    #[default]
    Trusted,
    /// `user.overlay.`, for mounts with `userxattr`.
    User,
}

/// What was extracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Extracted {
    /// Number of entries made, the directory itself included.
    pub entries: u64,
    /// Number of devices that were left out.
    pub skipped_devices: u64,
    /// Number of attributes that were left out.
    pub skipped_xattrs: u64,
}

/// Extracts an image into a directory, whose entries must not be in the way.
///
/// # Errors
/// Fails when the image is corrupt or an entry cannot be made; what was made till then stays.
pub fn extract(reader: &Reader, directory: impl AsFd, options: &ExtractOptions) -> Result<Extracted, Error> {
    run(reader.walk(), directory, options)
}

/// Extracts what a stack of layers shows.
///
/// # Errors
/// As [`extract`].
pub fn extract_overlay(overlay: &Overlay, directory: impl AsFd, options: &ExtractOptions) -> Result<Extracted, Error> {
    run(overlay.walk(), directory, options)
}

/// What images and stacks of them have in common.
trait Entry {
    type Identity: Hash + Eq;

    /// What all names of an inode share; `None` when there is but one name.
    fn identity(&self) -> Option<Self::Identity>;
    fn metadata(&self) -> Result<Metadata, Error>;
    fn kind(&self) -> Result<Kind, Error>;
    fn open(&self) -> Result<FileReader, Error>;
}

impl Entry for Node {
    type Identity = u32;

    fn identity(&self) -> Option<u32> {
        (self.nlink() > 1 && !self.is_directory()).then(|| self.inode_number())
    }

    fn metadata(&self) -> Result<Metadata, Error> {
        self.metadata()
    }

    fn kind(&self) -> Result<Kind, Error> {
        self.kind()
    }

    fn open(&self) -> Result<FileReader, Error> {
        self.open()
    }
}

impl Entry for overlay::Node {
    type Identity = overlay::Identity;

    fn identity(&self) -> Option<overlay::Identity> {
        let has_names = self.inode().is_some_and(|inode| inode.nlink() > 1 && !inode.is_directory());
        if has_names { self.identity() } else { None }
    }

    fn metadata(&self) -> Result<Metadata, Error> {
        self.metadata()
    }

    fn kind(&self) -> Result<Kind, Error> {
        self.kind()
    }

    fn open(&self) -> Result<FileReader, Error> {
        self.open()
    }
}

fn run<E: Entry>(
    entries: impl Iterator<Item = Result<(Vec<u8>, E), Error>>,
    directory: impl AsFd,
    options: &ExtractOptions,
) -> Result<Extracted, Error> {
    let mut disk = Disk::new(directory.as_fd(), options);
    let mut directories = Vec::new();
    let mut first_names: HashMap<E::Identity, Vec<u8>> = HashMap::new();
    for entry in entries {
        let (path, entry) = entry?;
        let identity = entry.identity();
        if let Some(first) = identity.as_ref().and_then(|identity| first_names.get(identity)) {
            disk.hard_link(&path, first)?;
            continue;
        }
        let metadata = entry.metadata()?;
        let is_made = match entry.kind()? {
            Kind::Directory => {
                disk.directory(&path)?;
                directories.push((path, metadata));
                continue;
            }
            Kind::File { .. } => {
                disk.file(&path, &metadata, &mut entry.open()?)?;
                true
            }
            Kind::Symlink { target } => {
                disk.symlink(&path, &metadata, &target)?;
                true
            }
            Kind::Special(special) => disk.special(&path, &metadata, special)?,
        };
        if let Some(identity) = identity
            && is_made
        {
            first_names.insert(identity, path);
        }
    }
    for (path, metadata) in directories.iter().rev() {
        disk.finish_directory(path, metadata)?;
    }
    Ok(disk.extracted)
}
