//! The kernel itself: what a machine boots of it, and which version it is.

use std::path::Path;

use super::{KernelError, configuration};

/// What a kernel says when it starts, before its version.
const BANNER: &[u8] = b"Linux version ";
/// Where a bzImage tells where its version is, counted from 0x200 (Linux boot protocol, `kernel_version`).
const VERSION_OFFSET: usize = 0x20e;
/// The longest version that is believed.
const MAX_VERSION: usize = 64;

/// A kernel as a machine boots it.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) version: String,
    /// An ELF file, or a bzImage that has to unpack itself.
    pub(super) vmlinux: Vec<u8>,
    /// What it was configured with, if it tells.
    pub(super) configuration: Option<String>,
}

impl Image {
    pub(super) fn read(path: &Path) -> Result<Self, KernelError> {
        use hypr_vmm::kernel::Error;
        let content = hypr_vmm::kernel::read(path).map_err(|source| match source {
            Error::Read(source) => KernelError::Read { path: path.to_owned(), source },
            source => KernelError::Image { path: path.to_owned(), source },
        })?;
        Self::of(content, path)
    }

    /// The kernel in `content`, which is called `path` in errors.
    pub(super) fn of(content: Vec<u8>, path: &Path) -> Result<Self, KernelError> {
        let unpacked = hypr_vmm::kernel::unpack(&content);
        let unpacked = unpacked.map_err(|source| KernelError::Image { path: path.to_owned(), source })?;
        let vmlinux = unpacked.unwrap_or(content);
        let version = if vmlinux.starts_with(b"\x7fELF") { in_banner(&vmlinux) } else { in_header(&vmlinux) };
        let version = version.ok_or_else(|| KernelError::Unversioned { path: path.to_owned() })?;
        let configuration = configuration::embedded(&vmlinux);
        Ok(Self { version, vmlinux, configuration })
    }
}

/// The version in the banner: what has the form of one, since the words before it may come in other places too.
fn in_banner(vmlinux: &[u8]) -> Option<String> {
    memchr::memmem::find_iter(vmlinux, BANNER).find_map(|at| version(vmlinux, at + BANNER.len()))
}

fn in_header(bzimage: &[u8]) -> Option<String> {
    let offset = bzimage.get(VERSION_OFFSET..VERSION_OFFSET + 2)?;
    version(bzimage, 0x200 + usize::from(u16::from_le_bytes([offset[0], offset[1]])))
}

fn version(kernel: &[u8], at: usize) -> Option<String> {
    let rest = kernel.get(at..kernel.len().min(at.checked_add(MAX_VERSION)?))?;
    let end = rest.iter().position(|byte| *byte == b' ' || *byte == 0)?;
    let word = std::str::from_utf8(&rest[..end]).ok()?;
    let is_version = word.starts_with(|c: char| c.is_ascii_digit())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "._+-~".contains(c));
    is_version.then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_word_after_the_banner() {
        let kernel =
            [&b"\x7fELF.. Linux version %s .. Linux version 6.1.0-25-cloud-amd64 (debian)"[..], &[0; 80]].concat();
        assert_eq!(in_banner(&kernel).as_deref(), Some("6.1.0-25-cloud-amd64"));
        assert_eq!(in_banner(b"Linux version 6"), None, "cut off");
        assert_eq!(in_banner(b""), None);
    }

    #[test]
    fn a_bzimage_that_unpacks_itself_is_kept_as_it_is() {
        let mut kernel = vec![0; 2048];
        kernel[0x1f1] = 1;
        kernel[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
        kernel[0x20e] = 0x80;
        kernel[0x236] = 1;
        kernel[0x24c] = 4;
        kernel[0x280..0x28d].copy_from_slice(b"6.9.1 (me@it)");
        kernel[1024..1028].copy_from_slice(b"\x89LZO");
        let image = Image::of(kernel.clone(), Path::new("/k")).unwrap();
        assert_eq!((image.version.as_str(), image.vmlinux), ("6.9.1", kernel));
        assert!(matches!(Image::read(Path::new("/dev/zero")), Err(KernelError::Image { .. })));
        assert!(matches!(Image::read(Path::new("/missing")), Err(KernelError::Read { .. })));
    }
}
