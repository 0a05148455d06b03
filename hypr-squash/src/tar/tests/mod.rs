//! Archives made by hand, by GNU tar and by Python, and mutated ones.

mod foreign;
mod malformed;
mod mutation;
mod round_trip;
mod unpack;

use std::io::Read;

use super::{Archive, Builder, EndMarker, Entry, EntryKind, Error, pax};
use crate::Metadata;

/// All entries with their contents.
fn read_all(tar: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
    read_with(tar, EndMarker::Required)
}

fn read_with(tar: &[u8], end_marker: EndMarker) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
    let mut archive = Archive::new(tar, end_marker);
    let mut entries = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut content = Vec::new();
        // Malformed archives may announce holes of any size.
        let outcome = archive.data().take(1 << 20).read_to_end(&mut content);
        if outcome.is_err() {
            return Err(archive.take_failure().expect("the archive says why"));
        }
        entries.push((entry, content));
    }
    Ok(entries)
}

/// An archive of these entries, all of mode 0644.
fn build(entries: &[(&[u8], EntryKind, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let metadata = Metadata { mode: 0o644, ..Metadata::default() };
    for (path, kind, content) in entries {
        builder.append(path, &metadata, kind, &mut &**content).unwrap();
    }
    builder.finish().unwrap()
}

fn file(content: &[u8]) -> EntryKind {
    EntryKind::File { size: content.len() as u64 }
}

/// Gives a header its checksum after the test has changed it.
fn reseal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u64 = block[..512].iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// An archive of a file in the sparse format that keeps its map in front of the data.
fn sparse(name: &[u8], stored: &[u8], size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let size = size.to_string();
    for (key, value) in [("major", &b"1"[..]), ("minor", b"0"), ("name", name), ("realsize", size.as_bytes())] {
        pax::push_record(&mut records, format!("GNU.sparse.{key}").as_bytes(), value);
    }
    let mut tar = build(&[(b"r", file(&records), &records), (b"s", file(stored), stored)]);
    tar[156] = b'x';
    reseal(&mut tar);
    tar
}

/// The entry of a file that is one hole, without the end of an archive.
fn hole(name: &[u8], size: u64) -> Vec<u8> {
    let mut map = b"0\n".to_vec();
    map.resize(512, 0);
    let mut tar = sparse(name, &map, size);
    tar.truncate(tar.len() - 1024);
    tar
}
