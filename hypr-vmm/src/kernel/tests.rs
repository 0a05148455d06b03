//! Kernels of a few hundred bytes, whole and damaged.

use std::{fs, io::Write};

use super::*;

/// An ELF file of one segment, a note of the PVH entry or of something else.
fn elf(has_entry: bool) -> Vec<u8> {
    let note = if has_entry { b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0\0\0\0\x01\0\0\0\0" } else { &[0; 24] };
    let mut file = vec![0; 64 + 56];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[18] = 62;
    file[32] = 64;
    file[54] = 56;
    file[56] = 1;
    file[64] = 4;
    file[64 + 8] = 64 + 56;
    file[64 + 32] = 24;
    file.extend(note);
    // Something to compress.
    file.extend(vec![7; 300]);
    file
}

fn bzimage(payload: &[u8], entries: u8) -> Vec<u8> {
    let mut file = vec![0; 1024];
    file[SETUP_SECTORS] = 1;
    file[SIGNATURE..SIGNATURE + 4].copy_from_slice(b"HdrS");
    file[VERSION..VERSION + 2].copy_from_slice(&[15, 2]);
    file[ENTRIES] = entries;
    file[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    file.extend(payload);
    file
}

/// `elf` as the kernel's build packs it.
fn packed(elf: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    let length = u32::try_from(elf.len()).unwrap().to_le_bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(elf).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    xz.write_all(elf).unwrap();
    let zstd = zstd::stream::encode_all(elf, 3).unwrap();
    let block = lz4_flex::block::compress(elf);
    let block_length = u32::try_from(block.len()).unwrap().to_le_bytes();
    let lz4 = [&[0x02, 0x21, 0x4c, 0x18][..], &block_length, &block].concat();
    [
        ("gzip", gzip.finish().unwrap()),
        ("xz", [xz.finish().unwrap(), length.to_vec()].concat()),
        ("zstd", [zstd, length.to_vec()].concat()),
        ("lz4", [lz4, length.to_vec()].concat()),
    ]
}

#[test]
fn every_packing_is_unpacked() {
    let elf = elf(true);
    assert!(unpack(&elf).unwrap().is_none(), "it is ready as it is");
    for (name, payload) in packed(&elf) {
        assert_eq!(unpack(&bzimage(&payload, 0)).unwrap().as_deref(), Some(&elf[..]), "{name}");
    }
}

#[test]
fn a_payload_has_to_be_whole() {
    for (name, payload) in packed(&elf(true)) {
        let told = payload.len() - 4;
        for length in [told - 1, told / 2, 12] {
            assert!(unpack(&bzimage(&payload[..length], 1)).is_err(), "{name} cut off at {length}");
            let holed = [&payload[..length], &payload[told..]].concat();
            assert!(unpack(&bzimage(&holed, 1)).is_err(), "{name} without what comes after {length}");
        }
        for other in [0_u32, 5, 1 << 20, u32::MAX] {
            let lying = [&payload[..told], &other.to_le_bytes()].concat();
            assert!(unpack(&bzimage(&lying, 1)).is_err(), "{name} that says {other}");
        }
    }
    let mut cut_off = elf(true);
    cut_off.truncate(130);
    assert!(matches!(unpack(&cut_off), Err(Error::Elf("it is cut off"))));
}

#[test]
fn more_than_was_told_is_not_unpacked() {
    let bomb = vec![0; 64 << 20];
    for (name, mut payload) in packed(&bomb) {
        let told = payload.len() - 4;
        payload[told..].copy_from_slice(&1000_u32.to_le_bytes());
        assert!(unpack(&bzimage(&payload, 1)).is_err(), "{name}");
    }
}

#[test]
fn what_cannot_be_unpacked_unpacks_itself_if_it_can_be_entered() {
    for (name, payload) in [("lzma", b"\x5d\0\0\0"), ("lzo", b"\x89LZO"), ("bzip2", b"BZh9")] {
        assert!(unpack(&bzimage(payload, 1)).unwrap().is_none(), "{name}");
        assert!(matches!(unpack(&bzimage(payload, 0)), Err(Error::Compression(by)) if by == name), "{name}");
    }
    let (_, without_pvh) = packed(&elf(false))[0].clone();
    assert!(unpack(&bzimage(&without_pvh, 1)).unwrap().is_none());
    assert!(matches!(unpack(&bzimage(&without_pvh, 0)), Err(Error::NoEntry)));
    assert!(matches!(unpack(&elf(false)), Err(Error::NoEntry)));
}

#[test]
fn only_regular_files_are_read() {
    for path in ["/dev/zero", "/"] {
        assert!(matches!(open(path), Err(Error::NotAFile)), "{path}");
        assert!(matches!(read(path), Err(Error::NotAFile)), "{path}");
    }
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    assert!(matches!(open(&pipe), Err(Error::NotAFile)));
    let large = folder.path().join("large");
    fs::File::create(&large).unwrap().set_len(MAX_LENGTH + 1).unwrap();
    fs::File::options().write(true).open(&large).unwrap().write_all(b"\x7fELF").unwrap();
    assert!(open(&large).is_ok(), "an ELF file is not read");
    fs::write(folder.path().join("text"), "no kernel").unwrap();
    assert!(matches!(open(folder.path().join("text")), Err(Error::NotAKernel)));
}
