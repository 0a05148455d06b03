//! `hypr squashfs`: images without a build.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use rustix::fs::{XattrFlags, setxattr};

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
fn recompressing_gives_a_smaller_image_of_the_same_tree() {
    let world = World::new();
    let text = "all work and no play makes a long book; ".repeat(20_000);
    let project = folder(&world).file("text", &text);
    let image = pack(&world, project.path(), "image", &["--level", "1"]);
    let small = world.path("small");
    let line = ["squashfs", "recompress", "--compressor", "zstd", "--level", "15", "-o"];
    world.hypr(line).args([&small, &image]).ok();
    let length = |path: &Path| fs::metadata(path).unwrap().len();
    assert!(length(&small) < length(&image));
    let copy = world.path("copy");
    Run::new("unsquashfs").args(["-quiet", "-no-progress", "-dest"]).args([&copy, &small]).ok();
    Run::new("diff").args(["--recursive", "--no-dereference"]).args([project.path(), &copy]).ok();
}

#[test]
fn an_index_beside_a_layer_saves_reading_and_changes_nothing() {
    let world = World::new();
    let project = folder(&world);
    let plain = pack(&world, project.path(), "plain", &[]);
    let image = pack(&world, project.path(), "image", &["--index"]);
    let merge = |layers: &[&Path], name: &str, flags: &[&str]| {
        let output = world.path(name);
        let finished = world.hypr(["squashfs", "merge", "-o"]).args([&output]).args(layers).args(flags).ok();
        (fs::read(output).unwrap(), finished.err())
    };
    let (expected, _) = merge(&[&plain, &plain], "without", &[]);
    let with = merge(&[&image, &image], "with", &[]);
    assert!(with == (expected.clone(), String::new()), "an index changes the result: {}", with.1);
    // An index that was left behind when its image was replaced. Nobody reads the image to find out, as what an index
    // tells of is compared before it counts; only one that goes into the next index is worth that.
    fs::rename(world.path("image.index"), world.path("plain.index")).unwrap();
    fs::copy(&image, &plain).unwrap();
    let bytes = fs::read(&plain).unwrap();
    fs::write(&plain, [&bytes[..], &[0; 4096]].concat()).unwrap();
    let (merged, warning) = merge(&[&plain, &plain], "stale", &[]);
    assert!(merged == expected && warning.is_empty(), "a stale index changes the result: {warning}");
    let (merged, warning) = merge(&[&plain, &plain], "indexed", &["--index"]);
    assert!(merged == expected, "a stale index was used");
    assert!(warning.contains("plain.index"), "{warning}");
    fs::write(world.path("plain.index"), "no index").unwrap();
    for flags in [&[][..], &["--index"]] {
        let (merged, warning) = merge(&[&plain], "broken", flags);
        assert!(warning.contains("plain.index") && merged == expected, "{warning}");
    }
}

#[test]
fn a_layer_of_another_codec_is_named_when_it_is_merged() {
    let world = World::new();
    let project = folder(&world);
    let layers = [&[][..], &["--codec", "gzip"]].map(|flags| {
        let name = format!("layer{}", flags.len());
        pack(&world, project.path(), &name, flags)
    });
    let merged = world.path("merged");
    let warning = world.hypr(["squashfs", "merge", "-o"]).args([&merged]).args(&layers).ok().err();
    assert!(warning.contains("layer2") && !warning.contains("layer0"), "{warning}");
}

#[test]
fn strict_packing_refuses_what_an_image_cannot_hold() {
    let world = World::new();
    let project = world.project("not a Dockerfile").file("file", "text");
    // Version 2; owner, user 1234, group, mask and others, each with tag, permissions and id.
    let entries =
        [(0x01_u16, 6_u16, u32::MAX), (0x02, 4, 1234), (0x04, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 4, u32::MAX)];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let name = "system.posix_acl_access";
    if setxattr(project.path().join("file"), name, &acl, XattrFlags::empty()).is_err() {
        return hypr_tests::announce("no access control lists here");
    }
    let output = world.path("image");
    let line = |flags: &[&str]| world.hypr(["squashfs", "pack", "-o"]).args([&output, project.path()]).args(flags);
    let error = line(&["--strict"]).fails(1).error();
    assert!(error.contains("file"), "{error}");
    assert!(!output.exists(), "half a result");
    assert!(line(&[]).ok().err().contains("access control list"));
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
