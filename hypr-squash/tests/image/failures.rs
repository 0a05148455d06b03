//! What goes wrong outside: full disks, failing sources, writers that are given up.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use hypr_squash::{Error, Writer};

use crate::support::{metadata, noise, options, skipped, text};

/// Yields some bytes and then an error.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the source is gone")),
            length => Ok(length),
        }
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let Ok(full) = File::options().read(true).write(true).open("/dev/full") else {
        skipped("there is no /dev/full");
        return;
    };
    for size in [10, 1 << 20, 40 << 20] {
        let mut writer = Writer::create(full.try_clone().unwrap(), options(2)).unwrap();
        let added = writer.add_file(b"file", &metadata(0o644), &mut &noise("full", size)[..]);
        let error = match added {
            Err(error) => {
                let again = writer.add_file(b"other", &metadata(0o644), &mut &noise("other", 1 << 20)[..]);
                assert!(matches!(again, Err(Error::Poisoned)), "{again:?}");
                error
            }
            Ok(_) => writer.finish().unwrap_err(),
        };
        assert!(matches!(error, Error::Io { action: "write the image", .. }), "{size}: {error:?}");
    }
}

#[test]
fn a_failing_source_is_named_and_spares_the_rest() {
    let file = tempfile::tempfile().unwrap();
    let mut writer = Writer::create(file.try_clone().unwrap(), options(2)).unwrap();
    for size in [0, 100, 1 << 20, 20 << 20] {
        let error = writer.add_file(b"bad", &metadata(0o644), &mut Failing(&text("bad", size))).unwrap_err();
        assert_eq!(error.to_string(), "cannot read bad");
    }
    writer.add_file(b"good", &metadata(0o644), &mut &b"good"[..]).unwrap();
    let summary = writer.finish().unwrap();
    assert_eq!(summary.inodes, 2);
    assert!(summary.dead_bytes > 0);
    assert!(crate::support::tree(&crate::support::open(&file)).contains_key(b"good".as_slice()));
}

#[test]
fn a_dropped_writer_ends_its_threads() {
    let file = tempfile::tempfile().unwrap();
    let inode = file.metadata().unwrap().ino();
    let mut writer = Writer::create(file, options(8)).unwrap();
    writer.add_file(b"file", &metadata(0o644), &mut &text("drop", 20 << 20)[..]).unwrap();
    drop(writer);
    // The thread that writes owns the file, and ends after all others.
    let open = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fd.unwrap().path().metadata().ok());
    assert!(!open.into_iter().any(|metadata| metadata.ino() == inode), "the file is still open");
}
