//! Extended attributes of the user's files: which of them a layer may hold.

use std::{
    ffi::CStr,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicBool, Ordering},
};

use hypr_squash::Xattrs;
use rustix::io::Errno;

/// The attributes of an open file that a layer may hold.
///
/// Those are `user.*` and `security.capability`. Attributes of overlayfs would change what the layer means, other
/// `security.*` and `trusted.*` are the host's, and access control lists cannot be kept: `warned` remembers that this
/// was said.
pub(super) fn read(file: BorrowedFd<'_>, warned: &AtomicBool) -> Result<Xattrs, Errno> {
    let names = match grow(|buffer| rustix::fs::flistxattr(file, buffer)) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP) => return Ok(Xattrs::new()),
        Err(error) => return Err(error),
    };
    let mut found = Xattrs::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        let bytes = name.to_bytes();
        if bytes.starts_with(b"system.posix_acl_") && !warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("access control lists of the build context are not kept");
        }
        if is_kept(bytes) {
            match grow(|buffer| rustix::fs::fgetxattr(file, name, buffer)) {
                Ok(value) => drop(found.insert(bytes.to_vec(), value)),
                // Removed in between.
                Err(Errno::NODATA) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

/// Calls with larger buffers until one is enough. The kernel bounds what there can be by 64 KiB.
fn grow(mut call: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = [0; 1024];
    match call(&mut buffer) {
        Ok(length) => Ok(buffer[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut buffer = vec![0; 1 << 16];
            let length = call(&mut buffer)?;
            buffer.truncate(length);
            Ok(buffer)
        }
        Err(error) => Err(error),
    }
}
