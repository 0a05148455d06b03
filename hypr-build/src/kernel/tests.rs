//! Kernels and packages that are small enough for tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub(super) use crate::error::with_causes;

/// An ELF file with a PVH entry, which says that it is this version.
pub(super) fn kernel(version: &str) -> Vec<u8> {
    let mut file = vec![0; 64 + 56];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    // For x86-64; one segment header of 56 bytes at 64; it is a note of 24 bytes that follows.
    for (at, byte) in [(18, 62), (32, 64), (54, 56), (56, 1), (64, 4), (72, 120), (96, 24)] {
        file[at] = byte;
    }
    file.extend(b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0\0\0\0\x01\0\0\0\0");
    file.extend(format!("Linux version {version} (somebody) \0").bytes());
    file
}

/// A Debian package of these files, packed with zstd if `packing` says so.
pub(super) fn package(folder: &Path, packing: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    let data = tar.into_inner().unwrap();
    let data = match packing {
        ".zst" => zstd::stream::encode_all(&data[..], 1).unwrap(),
        _ => data,
    };
    let mut archive = b"!<arch>\n".to_vec();
    let data_name = format!("data.tar{packing}");
    for (name, content) in [("debian-binary", &b"2.0\n"[..]), (&data_name, &data)] {
        archive.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).bytes());
        archive.extend(content);
    }
    let path = folder.join("kernel.deb");
    fs::write(&path, archive).unwrap();
    path
}
