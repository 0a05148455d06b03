//! `hypr squashfs`: images without a build.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use hypr_tests::{Layer, Mounted, Project, Run, Tree, World};

/// A folder with files small and big, links, and a hole.
fn folder(world: &World) -> Project {
    let noise: Vec<u8> = (0..700_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let project = world
        .project("not a Dockerfile")
        .mode("bin/tool", 0o4755, &noise)
        .file("empty", "")
        .file("deep/er/text", "text\n");
    let project = project.link("link", "deep/er/text").link("dangling", "nowhere");
    let mut sparse = fs::File::create(project.path().join("sparse")).unwrap();
    sparse.seek(SeekFrom::Start(3 << 20)).unwrap();
    sparse.write_all(b"end").unwrap();
    fs::hard_link(project.path().join("bin/tool"), project.path().join("hard")).unwrap();
    project
}

#[track_caller]
fn pack(world: &World, source: &Path, name: &str, flags: &[&str]) -> std::path::PathBuf {
    let output = world.path(name);
    world.hypr(["squashfs", "pack"]).args([source]).args(["-o"]).args([&output]).args(flags).ok();
    output
}

#[test]
fn a_packed_folder_is_read_by_others() {
    let world = World::new();
    let project = folder(&world);
    for flags in [&[][..], &["--codec", "gzip"], &["--codec", "lz4"], &["--block-size", "4K"], &["--block-size", "1M"]]
    {
        let image = pack(&world, project.path(), "image", flags);
        let tree = Tree::of(&image);
        assert_eq!((tree.get("/bin/tool").mode, tree.get("/bin/tool").size), (0o4755, 700_000), "{flags:?}");
        assert_eq!(tree.get("/sparse").size, (3 << 20) + 3);
        assert_eq!(tree.get("/dangling").target.as_deref(), Some("nowhere"));
        let copy = world.path("copy");
        Run::new("unsquashfs").args(["-quiet", "-no-progress", "-dest"]).args([&copy, &image]).ok();
        Run::new("diff").args(["--recursive", "--no-dereference"]).args([project.path(), &copy]).ok();
        fs::remove_dir_all(&copy).unwrap();
        if let Some(mounted) = Mounted::squashfs(&image) {
            Run::new("diff").args(["--recursive", "--no-dereference"]).args([project.path(), &mounted.path("/")]).ok();
        }
    }
}

#[test]
fn threads_do_not_change_a_byte() {
    let world = World::new();
    let project = folder(&world);
    let images = ["1", "2", "7"]
        .map(|threads| fs::read(pack(&world, project.path(), threads, &["--threads", threads])).unwrap());
    assert!(images[0] == images[1] && images[1] == images[2]);
}

#[test]
fn extracting_gives_the_folder_back() {
    let world = World::new();
    let project = folder(&world);
    let image = pack(&world, project.path(), "image", &[]);
    let copy = world.path("copy");
    world.hypr(["squashfs", "extract", "--directory"]).args([&copy, &image]).ok();
    Run::new("diff").args(["--recursive", "--no-dereference"]).args([project.path(), &copy]).ok();
    let times = |path: &Path| fs::symlink_metadata(path.join("deep/er/text")).unwrap().modified().unwrap();
    let seconds = |path| times(path).duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(seconds(project.path()), seconds(&copy));
}

#[test]
fn files_are_listed_and_printed() {
    let world = World::new();
    let image = pack(&world, folder(&world).path(), "image", &[]);
    let image = image.to_str().unwrap();
    let listed = world.hypr(["squashfs", "ls", image]).ok().out();
    let mut expected: Vec<_> =
        Tree::of(Path::new(image)).paths().iter().map(|path| path.trim_start_matches('/').to_owned()).collect();
    let mut found: Vec<_> = listed.lines().map(|path| path.trim_start_matches('/').to_owned()).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let long = world.hypr(["squashfs", "ls", "--long", image, "/bin"]).ok().out();
    assert!(long.contains("-rwsr-xr-x") && long.contains("700000") && !long.contains("deep"), "{long}");
    assert_eq!(world.hypr(["squashfs", "cat", image, "/link"]).ok().out(), "text\n");
    let info = world.hypr(["squashfs", "info", image, "--format", "json"]).ok().json();
    assert_eq!((info["compression"].as_str(), info["block_size"].as_u64()), (Some("zstd"), Some(131_072)));
    for (path, what) in [("/nothing", "nothing"), ("/bin", "/bin"), ("/dangling", "dangling")] {
        let error = world.hypr(["squashfs", "cat", image, path]).fails(1).error();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn layers_are_merged_with_their_deletions() {
    let world = World::new();
    let layers = [
        Layer::new()
            .folder("d", 0o755)
            .file("d/gone", 0o644, (1, 2), b"gone")
            .file("d/kept", 0o600, (3, 4), b"kept")
            .file("o", 0o644, (0, 0), b"o"),
        Layer::new().file("d/.wh.gone", 0o644, (0, 0), b"").file("d/new", 0o644, (0, 0), b"new"),
        Layer::new().folder("o", 0o711).file("o/.wh..wh..opq", 0o644, (0, 0), b"").file("o/in", 0o644, (0, 0), b"in"),
    ];
    let files: Vec<_> = layers
        .iter()
        .enumerate()
        .map(|(n, layer)| {
            let file = world.path(&format!("layer{n}"));
            world.hypr(["squashfs", "pack", "-", "--whiteouts", "oci", "-o"]).args([&file]).stdin(layer.tar()).ok();
            file
        })
        .collect();
    let merged = world.path("merged");
    world.hypr(["squashfs", "merge", "-o"]).args([&merged]).args(&files).ok();
    let tree = Tree::of(&merged);
    assert_eq!(tree.paths(), ["/d", "/d/kept", "/d/new", "/o", "/o/in"]);
    assert_eq!((tree.get("/d/kept").uid, tree.get("/d/kept").gid, tree.get("/o").mode), (3, 4, 0o711));
    let group = world.path("group");
    world.hypr(["squashfs", "merge", "--keep-whiteouts", "-o"]).args([&group]).args(&files[1..]).ok();
    let whiteout = Tree::of(&group).get("/d/gone").clone();
    assert_eq!((whiteout.kind, whiteout.device), ('c', Some((0, 0))));
    let again = world.path("again");
    world.hypr(["squashfs", "merge", "-o"]).args([&again, &files[0], &group]).ok();
    assert!(fs::read(&merged).unwrap() == fs::read(&again).unwrap(), "merging in groups changes nothing");
}

#[test]
fn what_is_no_image_is_an_error() {
    let world = World::new();
    let image = pack(&world, folder(&world).path(), "image", &[]);
    let good = fs::read(&image).unwrap();
    let bad = world.path("bad");
    let path = bad.to_str().unwrap();
    let cut = &good[..good.len() / 2];
    let mut long_tables = good.clone();
    // Where the inode table starts, as the superblock has it at offset 64: past the end.
    long_tables[64..72].copy_from_slice(&u64::MAX.to_le_bytes());
    for bytes in [&b""[..], b"hsqs", b"no image at all", cut, &long_tables] {
        fs::write(&bad, bytes).unwrap();
        for line in [
            &["ls", path][..],
            &["info", path],
            &["cat", path, "/link"],
            &["extract", "--directory", "out", path],
            &["merge", "-o", "m", path],
        ] {
            let finished = world.hypr(["squashfs"]).args(line).run();
            if line[0] == "info" && finished.status.success() {
                continue;
            }
            assert_eq!(finished.status.code(), Some(1), "{finished}");
            assert!(finished.error().contains(path), "{finished}");
        }
        assert!(!world.path("m").exists(), "half a result");
    }
}
