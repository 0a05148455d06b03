//! Which extended attributes of an archive enter an image.

use super::archive::Entry;
use super::error::Fault;
use super::{Loss, ReadOptions, Warning, WarningKind, Whiteouts};
use crate::Metadata;

/// Marks a directory that hides what lower layers have in it.
pub(super) const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// The name and the value of an attribute, as long as the kernel takes them.
const NAME_LIMIT: usize = 255;
const VALUE_LIMIT: usize = 64 << 10;

/// Warnings, one for each kind of loss.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    list: Vec<Warning>,
}

impl Warnings {
    fn add(&mut self, kind: WarningKind, path: &[u8]) {
        match self.list.iter_mut().find(|warning| warning.kind == kind) {
            Some(warning) => warning.count += 1,
            None => self.list.push(Warning { kind, path: path.to_vec(), count: 1 }),
        }
    }

    pub(super) fn into_list(self) -> Vec<Warning> {
        self.list
    }
}

/// Drops the attributes that do not belong into an image.
///
/// Attributes of overlayfs would give an archive power over how layers are stacked. Labels and signatures under
/// `security.` belong to the machine that made them; only file capabilities travel.
pub(super) fn filter(
    metadata: &mut Metadata,
    entry: &Entry,
    options: &ReadOptions,
    warnings: &mut Warnings,
) -> Result<(), Fault> {
    let mut lose = |kind, name: &[u8]| match options.loss {
        Loss::Warn => {
            warnings.add(kind, &entry.path);
            Ok(())
        }
        Loss::Refuse => Err(Fault::Xattr { name: name.to_vec(), reason: "cannot be kept in an image" }),
    };
    if entry.has_acl {
        lose(WarningKind::Acl, b"system.posix_acl_access")?;
    }
    let mut kept = std::mem::take(&mut metadata.xattrs);
    let mut failure = None;
    kept.retain(|name, value| match Class::of(name) {
        Class::Opaque => options.whiteouts == Whiteouts::Overlay && value == b"y",
        Class::Overlay | Class::Machine => false,
        Class::Kept => {
            failure = failure.take().or_else(|| unfit(name, value));
            true
        }
        Class::Acl => {
            failure = failure.take().or_else(|| lose(WarningKind::Acl, name).err());
            false
        }
        Class::Unknown => {
            failure = failure.take().or_else(|| lose(WarningKind::Xattr, name).err());
            false
        }
    });
    metadata.xattrs = kept;
    failure.map_or(Ok(()), Err)
}

enum Class {
    Kept,
    Opaque,
    Overlay,
    Machine,
    Acl,
    Unknown,
}

impl Class {
    fn of(name: &[u8]) -> Self {
        match name {
            OPAQUE => Self::Opaque,
            b"security.capability" => Self::Kept,
            name if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") => Self::Overlay,
            name if name.starts_with(b"security.") => Self::Machine,
            name if name.starts_with(b"system.posix_acl_") => Self::Acl,
            name if name.starts_with(b"user.") || name.starts_with(b"trusted.") => Self::Kept,
            _ => Self::Unknown,
        }
    }
}

fn unfit(name: &[u8], value: &[u8]) -> Option<Fault> {
    let bare = name.ends_with(b".") && name.iter().filter(|byte| **byte == b'.').count() == 1;
    let reason = match () {
        () if bare || name.contains(&0) => "has no valid name",
        () if name.len() > NAME_LIMIT => "has a name of more than 255 bytes",
        () if value.len() > VALUE_LIMIT => "has more than 64 KiB",
        () => return None,
    };
    Some(Fault::Xattr { name: name.to_vec(), reason })
}
