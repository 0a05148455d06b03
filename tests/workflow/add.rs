//! `ADD`: archives of the context are unpacked, everything else is copied.

use hypr_tests::{Layer, Run, World};
use tar::{EntryType, Header};

#[test]
fn archives_are_unpacked_and_other_files_are_not() {
    let world = World::with_busybox();
    let tar = Layer::new().folder("d", 0o750).file("d/f", 0o640, (3, 4), b"in the archive").link("l", "d/f").tar();
    let project = world
        .project(
            "FROM busybox\nADD plain.tar /plain/\nADD packed.tgz zstd.tar.zst /more/\nADD text.gz text /copied/\n\
             ADD --chown=7:8 plain.tar /owned/\nADD tree /tree/\nCOPY plain.tar /as-it-is/\n",
        )
        .file("plain.tar", &tar)
        .file("text", "not an archive")
        .file("tree/inner.tar", &tar);
    for (command, from, to) in
        [("gzip", "plain.tar", "packed.tgz"), ("gzip", "text", "text.gz"), ("zstd", "plain.tar", "zstd.tar.zst")]
    {
        let from = std::fs::read(project.path().join(from)).unwrap();
        let packed = match command {
            "gzip" => Run::new("gzip").args(["--stdout"]).stdin(from).ok().stdout().to_vec(),
            _ => zstd::encode_all(&from[..], 1).unwrap(),
        };
        std::fs::write(project.path().join(to), packed).unwrap();
    }
    world.build(&project, ["-t", "a"]).ok();
    let image = world.image("a");
    let tree = image.tree();
    for folder in ["/plain", "/more"] {
        let file = tree.get(&format!("{folder}/d/f"));
        assert_eq!((file.mode, file.uid, file.gid), (0o640, 3, 4), "{folder}");
        assert_eq!(tree.get(&format!("{folder}/l")).target.as_deref(), Some("d/f"));
    }
    assert_eq!((tree.get("/owned/d/f").uid, tree.get("/owned/d/f").gid), (7, 8));
    for file in ["/copied/text.gz", "/copied/text", "/tree/inner.tar", "/as-it-is/plain.tar"] {
        assert_eq!(tree.get(file).kind, '-', "{file}");
    }
}

#[test]
fn an_archive_cannot_reach_outside_of_the_image() {
    let world = World::with_busybox();
    let evil = Layer::new().raw("../../../../outside", tar::EntryType::Regular, "", b"x").tar();
    let through = Layer::new().link("way", "/etc").raw("way/added", tar::EntryType::Regular, "", b"x").tar();
    for archive in [evil, through] {
        let project = world.project("FROM busybox\nADD a.tar /d/\n").file("a.tar", &archive);
        let finished = world.build(&project, ["-t", "a"]).run();
        assert!(!world.path("outside").exists() && !std::path::Path::new("/etc/added").exists());
        if finished.status.success() {
            assert!(world.image("a").tree().paths().iter().all(|path| !path.contains("..")));
        } else {
            finished.error();
        }
    }
}

#[test]
fn an_archive_that_would_become_hundreds_of_gigabytes_is_refused() {
    let world = World::new();
    // A frame of zeros is small however much it becomes, and an archive may have any number of frames.
    const FRAME: usize = 32 << 20;
    const FRAMES: usize = 10_000;
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_path("zeros").unwrap();
    header.set_mode(0o644);
    header.set_size((FRAME * FRAMES) as u64);
    header.set_cksum();
    let mut archive = zstd::encode_all(&header.as_bytes()[..], 1).unwrap();
    let zeros = zstd::encode_all(&vec![0; FRAME][..], 19).unwrap();
    (0..FRAMES).for_each(|_| archive.extend_from_slice(&zeros));
    assert!(archive.len() < 20 << 20, "{} bytes", archive.len());
    let project = world.project("FROM scratch\nADD bomb.tar.zst /\n").file("bomb.tar.zst", &archive);
    let error = world.build(&project, ["-t", "a"]).fails(1).error();
    assert!(error.contains("`bomb.tar.zst`") && error.contains("more than the allowed"), "{error}");
    for folder in ["tmp", "layers", "images"] {
        let left = std::fs::read_dir(world.store().join(folder)).into_iter().flatten().flatten();
        let left: Vec<_> = left.map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
