//! The kernel itself: an ELF file, out of a bzImage if need be, and which version it is.

use std::{fs, path::Path};

use super::KernelError;

/// What a kernel says when it starts, before its version.
const BANNER: &[u8] = b"Linux version ";
/// The longest version that is believed.
const MAX_VERSION: usize = 64;

/// An uncompressed kernel.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) version: String,
    pub(super) vmlinux: Vec<u8>,
}

impl Image {
    pub(super) fn read(path: &Path) -> Result<Self, KernelError> {
        let content = fs::read(path).map_err(|source| KernelError::Read { path: path.to_owned(), source })?;
        Self::of(content, path)
    }

    /// The kernel in `content`, which is called `path` in errors.
    pub(super) fn of(content: Vec<u8>, path: &Path) -> Result<Self, KernelError> {
        let unpacked = hypr_vmm::kernel::unpack(&content);
        let unpacked = unpacked.map_err(|source| KernelError::Image { path: path.to_owned(), source })?;
        let vmlinux = unpacked.unwrap_or(content);
        let version = version(&vmlinux).ok_or_else(|| KernelError::Unversioned { path: path.to_owned() })?;
        Ok(Self { version, vmlinux })
    }
}

/// The version in the banner: what has the form of one, since the words before it may come in other places too.
fn version(vmlinux: &[u8]) -> Option<String> {
    let places = memchr::memmem::find_iter(vmlinux, BANNER).map(|at| at + BANNER.len());
    places.into_iter().find_map(|at| {
        let rest = vmlinux.get(at..vmlinux.len().min(at + MAX_VERSION))?;
        let end = rest.iter().position(|byte| *byte == b' ' || *byte == 0)?;
        let word = std::str::from_utf8(&rest[..end]).ok()?;
        let is_version = word.starts_with(|c: char| c.is_ascii_digit())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "._+-~".contains(c));
        is_version.then(|| word.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_word_after_the_banner() {
        let kernel =
            [&b"\x7fELF.. Linux version %s .. Linux version 6.1.0-25-cloud-amd64 (debian)"[..], &[0; 80]].concat();
        assert_eq!(version(&kernel).as_deref(), Some("6.1.0-25-cloud-amd64"));
        assert_eq!(version(b"Linux version 6"), None, "cut off");
        assert_eq!(version(b""), None);
    }
}
