//! Kernels as they come: ELF files as they are, bzImages unpacked.
//!
//! A bzImage is a program that unpacks an ELF file, which takes the guest longer than the host (Linux boot protocol,
//! `payload_offset` and `payload_length`).

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

/// Where the setup header says how much of the file comes before the protected-mode part, in sectors.
const SETUP_SECTORS: usize = 0x1f1;
/// "HdrS".
const SIGNATURE: usize = 0x202;
/// The protocol's version; the payload is told of since 2.08.
const VERSION: usize = 0x206;
/// Where the payload is, counted from the protected-mode part.
const PAYLOAD_OFFSET: usize = 0x248;
/// How long it is.
const PAYLOAD_LENGTH: usize = 0x24c;
/// The largest kernel that is looked at, packed or not.
const MAX_LENGTH: u64 = 1 << 30;

/// Why a file is no kernel that can be booted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the kernel")]
    Read(#[source] io::Error),
    /// The file is neither an ELF file nor a bzImage.
    #[error("it is no kernel for x86-64: neither an ELF file (vmlinux) nor a bzImage (vmlinuz)")]
    NotAKernel,
    /// The bzImage is cut off or damaged.
    #[error("the bzImage is damaged: {0}")]
    Damaged(&'static str),
    /// What the bzImage holds is compressed in a way that is not known here.
    #[error("the bzImage is compressed by {0}, which hypr cannot unpack; give it the vmlinux instead")]
    Compression(&'static str),
    /// The payload cannot be unpacked.
    #[error("cannot unpack the bzImage")]
    Unpack(#[source] io::Error),
}

/// Opens the kernel at `path`, unpacked if need be, for [`Vm::builder`](crate::Vm::builder).
///
/// # Errors
/// Fails when the file cannot be read or is no kernel.
pub fn open(path: impl AsRef<Path>) -> Result<File, Error> {
    let file = File::open(path).map_err(Error::Read)?;
    let mut content = Vec::new();
    (&file).take(MAX_LENGTH).read_to_end(&mut content).map_err(Error::Read)?;
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

/// The ELF file in a bzImage; `None` when `kernel` is an ELF file itself.
///
/// # Errors
/// Fails when it is neither, or cannot be unpacked.
pub fn unpack(kernel: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    if kernel.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    if kernel.get(SIGNATURE..SIGNATURE + 4) != Some(b"HdrS") {
        return Err(Error::NotAKernel);
    }
    let cut_off = Error::Damaged("its header is cut off");
    let byte = |at: usize| kernel.get(at).copied();
    let word = |at: usize| kernel.get(at..at + 4).map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default()));
    let (Some(sectors), Some(minor), Some(major), Some(offset), Some(length)) =
        (byte(SETUP_SECTORS), byte(VERSION), byte(VERSION + 1), word(PAYLOAD_OFFSET), word(PAYLOAD_LENGTH))
    else {
        return Err(cut_off);
    };
    if (major, minor) < (2, 8) {
        return Err(Error::Damaged("its boot protocol is older than 2.08"));
    }
    // No sectors means four (Linux boot protocol, `setup_sects`).
    let setup = (usize::from(if sectors == 0 { 4 } else { sectors }) + 1) * 512;
    let start = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(setup));
    let end = start.zip(usize::try_from(length).ok()).and_then(|(start, length)| start.checked_add(length));
    let payload = start.zip(end).and_then(|(start, end)| kernel.get(start..end));
    let unpacked = decompress(payload.ok_or(Error::Damaged("its payload is cut off"))?)?;
    match unpacked.starts_with(b"\x7fELF") {
        true => Ok(Some(unpacked)),
        false => Err(Error::Damaged("its payload is no ELF file")),
    }
}

fn decompress(payload: &[u8]) -> Result<Vec<u8>, Error> {
    let whole = |reader: &mut dyn Read| {
        let mut unpacked = Vec::new();
        let count = reader.take(MAX_LENGTH + 1).read_to_end(&mut unpacked);
        match count {
            Ok(count) if count as u64 > MAX_LENGTH => Err(Error::Damaged("it unpacks to more than 1 GiB")),
            // Behind each payload comes its length, which is no part of what was compressed.
            Ok(_) => Ok(unpacked),
            Err(_) if unpacked.starts_with(b"\x7fELF") && is_whole(&unpacked, payload) => Ok(unpacked),
            Err(error) => Err(Error::Unpack(error)),
        }
    };
    match payload {
        [0x1f, 0x8b, ..] => whole(&mut flate2::read::GzDecoder::new(payload)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            whole(&mut zstd::stream::read::Decoder::with_buffer(payload).map_err(Error::Unpack)?.single_frame())
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => whole(&mut liblzma::read::XzDecoder::new(payload)),
        [0x02, 0x21, 0x4c, 0x18, rest @ ..] => unpack_lz4(rest),
        [0x5d, 0x00, 0x00, ..] => Err(Error::Compression("lzma")),
        [0x89, b'L', b'Z', b'O', ..] => Err(Error::Compression("lzo")),
        [b'B', b'Z', b'h', ..] => Err(Error::Compression("bzip2")),
        [0x7f, b'E', b'L', b'F', ..] => Ok(payload.to_vec()),
        _ => Err(Error::Compression("something unknown")),
    }
}

/// Whether `unpacked` has the length that the payload's last four bytes tell.
fn is_whole(unpacked: &[u8], payload: &[u8]) -> bool {
    let told = payload.last_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
    told.is_some_and(|told| u64::from(told) == unpacked.len() as u64)
}

/// The "legacy" frame of LZ4: blocks of 8 MiB, each after its packed length (LZ4 frame format, "legacy frame").
fn unpack_lz4(mut rest: &[u8]) -> Result<Vec<u8>, Error> {
    const BLOCK: usize = 8 << 20;
    let mut unpacked = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let Some((block, after)) =
            usize::try_from(u32::from_le_bytes(*length)).ok().and_then(|length| after.split_at_checked(length))
        else {
            // The last four bytes tell how long the kernel is.
            break;
        };
        let block =
            lz4_flex::block::decompress(block, BLOCK).map_err(|error| Error::Unpack(io::Error::other(error)))?;
        unpacked.extend(block);
        if unpacked.len() as u64 > MAX_LENGTH {
            return Err(Error::Damaged("it unpacks to more than 1 GiB"));
        }
        rest = after;
    }
    Ok(unpacked)
}
