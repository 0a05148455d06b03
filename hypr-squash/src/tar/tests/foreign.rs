//! Archives made by GNU tar and Python, in every format they know.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::Command;

use super::super::{EntryKind, Error};
use super::read_all;
use crate::Special;

/// Runs a program of the system and hands over what it printed, or says that it is not there.
pub(super) fn with_tool(program: &str, arguments: &[&str], check: impl FnOnce(&str)) {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            check(&String::from_utf8_lossy(&output.stdout));
        }
        Err(error) => {
            // Reaches the terminal even where the test harness captures output.
            let note = format!("skipped: {program} is not there: {error}\n");
            std::io::Write::write_all(&mut std::io::stderr(), note.as_bytes()).unwrap();
        }
    }
}

fn make_tree(root: &Path) -> String {
    let long = "long-name-".repeat(20);
    let deep = root.join(&long).join(&long);
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), b"deep").unwrap();
    symlink("t/".repeat(90), root.join("symlink")).unwrap();
    fs::write(root.join("plain"), vec![b'p'; 1000]).unwrap();
    fs::hard_link(root.join("plain"), root.join("qlink")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    // Enough parts for two more blocks in the old format.
    for part in 0..30u8 {
        sparse.write_all_at(&[b'a' + part; 4096], u64::from(part) * 16384 + 8192).unwrap();
    }
    sparse.set_len(600_000).unwrap();
    fs::File::create(root.join("hole")).unwrap().set_len(50_000).unwrap();
    long
}

#[test]
fn gnu_tar_archives_in_all_formats() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    let long = make_tree(&root);
    let tar = directory.path().join("t.tar");
    let sparse_versions = ["0.0", "0.1", "1.0"].map(|version| format!("--sparse-version={version}"));
    let runs: [&[&str]; 6] = [
        &["--format=gnu"],
        &["--format=oldgnu", "--sparse"],
        &["--format=posix"],
        &["--format=posix", "--sparse", &sparse_versions[0]],
        &["--format=posix", "--sparse", &sparse_versions[1]],
        &["--format=posix", "--sparse", &sparse_versions[2], "--absolute-names"],
    ];
    for run in runs {
        let base = if run.contains(&"--absolute-names") { root.to_str().unwrap() } else { "." };
        let fixed = ["--sort=name", "-C", root.to_str().unwrap(), "-cf", tar.to_str().unwrap(), base];
        with_tool("tar", &[run, &fixed[..]].concat(), |_| {
            let entries = read_all(&fs::read(&tar).unwrap()).unwrap();
            let prefix = if base == "." { String::new() } else { format!("{}/", &base[1..]) };
            let find = |name: &str| {
                let path = format!("{prefix}{name}").into_bytes();
                entries.iter().find(|(entry, _)| entry.path == path).unwrap_or_else(|| panic!("{name} in {run:?}"))
            };
            assert_eq!(find(&format!("{long}/{long}/file")).1, b"deep");
            for name in ["plain", "sparse", "hole"] {
                assert!(find(name).1 == fs::read(root.join(name)).unwrap(), "{name} in {run:?}");
            }
            let link = format!("{prefix}plain").into_bytes();
            assert_eq!(find("qlink").0.kind, EntryKind::HardLink { target: link });
            assert_eq!(find("symlink").0.kind, EntryKind::Symlink { target: "t/".repeat(90).into_bytes() });
        });
    }
}

#[test]
fn python_archives_with_devices_times_and_large_ids() {
    let directory = tempfile::tempdir().unwrap();
    let tar = directory.path().join("t.tar");
    let script = r#"
import sys, io, tarfile
for number, form in enumerate((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
    out = tarfile.open(sys.argv[1] + str(number), "w", format=form)
    def add(name, kind, **fields):
        info = tarfile.TarInfo(name)
        info.type = kind
        data = fields.pop("data", b"")
        info.size = len(data)
        for key, value in fields.items(): setattr(info, key, value)
        out.addfile(info, io.BytesIO(data))
    add("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
    add("dev/sda", tarfile.BLKTYPE, devmajor=8, devminor=0, mode=0o660)
    add("pipe", tarfile.FIFOTYPE, mode=0o600)
    if form != tarfile.USTAR_FORMAT:
        add("big", tarfile.REGTYPE, uid=4000000000, gid=3000000, mtime=-7, data=b"x" * 513)
    if form == tarfile.PAX_FORMAT:
        add("pax", tarfile.REGTYPE, mtime=1.75, pax_headers={"SCHILY.xattr.user.k": "v", "comment": "none"})
        add("na\u00efve", tarfile.DIRTYPE, mode=0o1777)
    out.close()
"#;
    with_tool("python3", &["-c", script, tar.to_str().unwrap()], |_| {
        for number in 0..3 {
            let bytes = fs::read(format!("{}{number}", tar.display())).unwrap();
            let entries = read_all(&bytes).unwrap();
            let device = |major, minor| EntryKind::Special(Special::CharDevice { major, minor });
            assert_eq!((&entries[0].0.kind, entries[0].0.metadata.mode), (&device(1, 3), 0o666));
            assert_eq!(entries[1].0.kind, EntryKind::Special(Special::BlockDevice { major: 8, minor: 0 }));
            assert_eq!(entries[2].0.kind, EntryKind::Special(Special::Fifo));
            if number > 0 {
                let metadata = &entries[3].0.metadata;
                assert_eq!((metadata.uid, metadata.gid, metadata.mtime), (4_000_000_000, 3_000_000, -7));
                assert_eq!(entries[3].1, [b'x'; 513]);
            }
            if number == 2 {
                assert_eq!(entries[4].0.metadata.mtime, 1);
                assert_eq!(entries[4].0.metadata.xattrs[&b"user.k"[..]], b"v");
                assert_eq!(entries[5].0.path, "na\u{ef}ve".as_bytes());
            }
        }
    });
}

#[test]
fn pax_records_for_all_entries_are_defaults() -> Result<(), Error> {
    let directory = tempfile::tempdir().unwrap();
    let tar = directory.path().join("t.tar");
    fs::write(directory.path().join("a"), b"").unwrap();
    let arguments = ["--format=posix", "--pax-option=mtime=77,uid=5,delete=?time", "-C"];
    let rest = [directory.path().to_str().unwrap(), "-cf", tar.to_str().unwrap(), "a"];
    let mut entries = Vec::new();
    with_tool("tar", &[&arguments[..], &rest[..]].concat(), |_| entries = read_all(&fs::read(&tar).unwrap()).unwrap());
    for (entry, _) in entries {
        assert_eq!(entry.metadata.mtime, 77);
    }
    Ok(())
}
