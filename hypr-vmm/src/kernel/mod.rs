//! Kernels as they come: ELF files as they are, bzImages unpacked.
//!
//! A bzImage is a program that unpacks an ELF file, which takes the guest longer than the host (Linux boot protocol,
//! `payload_offset` and `payload_length`). One that cannot be unpacked here is left to do it itself.

mod elf;
mod payload;
#[cfg(test)]
mod tests;

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

/// Where the setup header says how much of the file comes before the protected-mode part, in sectors.
const SETUP_SECTORS: usize = 0x1f1;
/// "HdrS".
const SIGNATURE: usize = 0x202;
/// The protocol's version; the payload is told of since 2.08.
const VERSION: usize = 0x206;
/// What the kernel can be entered by, since version 2.12.
const ENTRIES: usize = 0x236;
/// Of these, the one in 64-bit mode ("XLF_KERNEL_64").
const ENTRY_64: u8 = 1;
/// Where the payload is, counted from the protected-mode part.
const PAYLOAD_OFFSET: usize = 0x248;
/// How long it is.
const PAYLOAD_LENGTH: usize = 0x24c;
/// The largest kernel that is looked at, in bytes.
const MAX_LENGTH: u64 = 1 << 30;

/// Why a file is no kernel that can be booted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the kernel")]
    Read(#[source] io::Error),
    /// It is a directory, a device or a pipe.
    #[error("it is no regular file")]
    NotAFile,
    /// No kernel has more than 1 GiB.
    #[error("it is larger than 1 GiB")]
    TooLarge,
    /// The file is neither an ELF file nor a bzImage.
    #[error("it is no kernel for x86-64: neither an ELF file (vmlinux) nor a bzImage (vmlinuz)")]
    NotAKernel,
    /// The ELF file is cut off or for another processor.
    #[error("the ELF file is damaged: {0}")]
    Elf(&'static str),
    /// The bzImage is cut off or damaged.
    #[error("the bzImage is damaged: {0}")]
    Damaged(&'static str),
    /// What the bzImage holds is compressed in a way that is not known here, and it has no entry by which it could
    /// unpack itself.
    #[error("the bzImage is compressed by {0}, which hypr cannot unpack, and has no 64-bit entry; give it the vmlinux")]
    Compression(&'static str),
    /// The payload cannot be unpacked.
    #[error("cannot unpack the bzImage")]
    Unpack(#[source] io::Error),
    /// The kernel was configured without what it is entered by.
    #[error("it has no PVH entry; it needs the option CONFIG_PVH")]
    NoEntry,
}

/// Opens the kernel at `path`, unpacked if need be, for [`Vm::builder`](crate::Vm::builder).
///
/// # Errors
/// Fails when the file cannot be read or is no kernel.
pub fn open(path: impl AsRef<Path>) -> Result<File, Error> {
    let file = open_regular(path.as_ref())?;
    let mut start = [0; 4];
    // A file that is too short for this is refused below.
    if file.read_exact_at(&mut start, 0).is_ok() && elf::is_elf(&start) {
        return Ok(file);
    }
    let content = read_all(&file)?;
    match unpack(&content)? {
        None => Ok(file),
        Some(kernel) => {
            let memory = rustix::fs::memfd_create("hypr-kernel", rustix::fs::MemfdFlags::CLOEXEC);
            let mut memory = File::from(memory.map_err(|errno| Error::Unpack(errno.into()))?);
            memory.write_all(&kernel).map_err(Error::Unpack)?;
            Ok(memory)
        }
    }
}

/// Reads the kernel at `path` as it is: a regular file of at most 1 GiB.
///
/// # Errors
/// Fails when it cannot be read, or is something else.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
    read_all(&open_regular(path.as_ref())?)
}

/// What a machine boots fastest of `kernel`: the ELF file that a bzImage holds; `None` when it is `kernel` itself, an
/// ELF file or a bzImage that can only be entered as such.
///
/// # Errors
/// Fails when it is neither, is damaged, or has no entry that the monitor knows.
pub fn unpack(kernel: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    if elf::is_elf(kernel) {
        return if elf::check(kernel)? { Ok(None) } else { Err(Error::NoEntry) };
    }
    if kernel.get(SIGNATURE..SIGNATURE + 4) != Some(b"HdrS") {
        return Err(Error::NotAKernel);
    }
    let unpacks_itself = kernel.get(ENTRIES).is_some_and(|entries| entries & ENTRY_64 != 0);
    match payload::unpack(payload_of(kernel)?) {
        Err(Error::Compression(_)) if unpacks_itself => Ok(None),
        unpacked => {
            let unpacked = unpacked?;
            match elf::check(&unpacked) {
                Ok(true) => Ok(Some(unpacked)),
                Ok(false) if unpacks_itself => Ok(None),
                Ok(false) => Err(Error::NoEntry),
                Err(_) => Err(Error::Damaged("its payload is no whole ELF file for x86-64")),
            }
        }
    }
}

/// What a bzImage unpacks when it runs.
fn payload_of(kernel: &[u8]) -> Result<&[u8], Error> {
    let byte = |at: usize| kernel.get(at).copied();
    let word = |at: usize| kernel.get(at..at + 4).map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default()));
    let (Some(sectors), Some(minor), Some(major), Some(offset), Some(length)) =
        (byte(SETUP_SECTORS), byte(VERSION), byte(VERSION + 1), word(PAYLOAD_OFFSET), word(PAYLOAD_LENGTH))
    else {
        return Err(Error::Damaged("its header is cut off"));
    };
    if (major, minor) < (2, 8) {
        return Err(Error::Damaged("its boot protocol is older than 2.08"));
    }
    // No sectors means four (Linux boot protocol, `setup_sects`).
    let setup = (usize::from(if sectors == 0 { 4 } else { sectors }) + 1) * 512;
    let start = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(setup));
    let end = start.zip(usize::try_from(length).ok()).and_then(|(start, length)| start.checked_add(length));
    let payload = start.zip(end).and_then(|(start, end)| kernel.get(start..end));
    payload.ok_or(Error::Damaged("its payload is cut off"))
}

fn open_regular(path: &Path) -> Result<File, Error> {
    // A pipe that nobody writes to would have us wait.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(Error::Read)?;
    if file.metadata().map_err(Error::Read)?.is_file() { Ok(file) } else { Err(Error::NotAFile) }
}

/// All of the file, whose position is at its end then.
fn read_all(file: &File) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    match file.take(MAX_LENGTH + 1).read_to_end(&mut content).map_err(Error::Read)? as u64 {
        length if length > MAX_LENGTH => Err(Error::TooLarge),
        _ => Ok(content),
    }
}
