//! Making one directory look like another.

use std::{
    fs::{self, File, FileTimes},
    io,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt, chown},
    },
    time::{Duration, UNIX_EPOCH},
};

use crate::sys::{attribute, fs as sys_fs};

/// Gives the directory `to` the owner, mode, extended attributes and modification time of the directory `from`.
pub(crate) fn copy(from: &str, to: &str) -> io::Result<()> {
    let source = File::open(from)?;
    let metadata = source.metadata()?;
    chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    let target = File::open(to)?;
    for name in sys_fs::xattr_names(source.as_fd())? {
        let kept = [&b"user."[..], b"trusted.", b"system.posix_acl_", b"security.capability"];
        if !kept.iter().any(|prefix| name.to_bytes().starts_with(prefix)) {
            continue;
        }
        if let Some(value) = sys_fs::xattr(source.as_fd(), &name)? {
            attribute::set(target.as_fd(), &name, &value)?;
        }
    }
    set_mode(to, metadata.mode() & 0o7777)?;
    target.set_times(FileTimes::new().set_modified(metadata.modified()?))
}

/// Makes the directory `path` one that no layer mentions: `0755 root:root`, of 1970.
pub(crate) fn set_epoch(path: &str) -> io::Result<()> {
    set_mode(path, 0o755)?;
    File::open(path)?.set_times(FileTimes::new().set_modified(UNIX_EPOCH + Duration::ZERO))
}

/// Sets the permission bits of `path`.
pub(crate) fn set_mode(path: &str, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
