//! Images of a big base that are built again and again: the base is not copied each time.

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use hypr_build::Digest;
use hypr_tests::{Project, World};
use rustix::process::Signal;

/// Bytes of the base's one file, which no compressor makes smaller.
const SIZE: usize = 9 << 20;

/// A world with the image `big`, and a project that puts one small file on it.
#[track_caller]
fn world() -> (World, Project) {
    let world = World::with_busybox();
    let mut state = 7_u64;
    let noise = (0..SIZE).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    });
    let base = world.project("FROM busybox\nCOPY noise /noise\n").file("noise", noise.collect::<Vec<u8>>());
    world.build(&base, ["-t", "big"]).ok();
    let project = world.project("FROM big\nCOPY file /file\n").file("file", "0");
    (world, project)
}

/// Builds the project with another file, and returns the path of the image.
#[track_caller]
fn rebuilt(world: &World, project: &Project, content: &str) -> std::path::PathBuf {
    fs::write(project.path().join("file"), content).unwrap();
    // The times of the files are not those of another test's.
    world.build(project, ["-t", "a"]).env("SOURCE_DATE_EPOCH", "0").ok();
    assert_eq!(world.image("a").text_of("/file"), content);
    world.image("a").squashfs()
}

#[track_caller]
fn is_what_it_is_called(image: &Path) {
    let name = image.file_stem().unwrap().to_str().unwrap();
    assert_eq!(Digest::of(&fs::read(image).unwrap()).to_string(), name);
}

/// Whether the file system copies no blocks, so that no file is taken over.
fn shares_blocks(world: &World) -> bool {
    fs::read_dir(world.store().join("spare")).is_ok_and(|mut spares| spares.next().is_none())
}

#[test]
fn the_image_before_the_last_is_written_over_and_the_bytes_are_those_of_a_first_build() {
    let (world, project) = world();
    let inode = |image: &Path| fs::metadata(image).unwrap().ino();
    let first = inode(&rebuilt(&world, &project, "1"));
    let second = inode(&rebuilt(&world, &project, "2"));
    let mut images = vec![first, second];
    for number in 3..7 {
        let image = rebuilt(&world, &project, &"content\n".repeat(number));
        is_what_it_is_called(&image);
        images.push(inode(&image));
    }
    if !shares_blocks(&world) {
        assert_eq!(images[2..4], images[..2], "the files take turns");
        assert_eq!(images[4..], images[..2], "the files take turns");
    }
    let (other, same) = self::world();
    rebuilt(&other, &same, &"content\n".repeat(6));
    assert_eq!(world.image("a").squashfs_digest(), other.image("a").squashfs_digest());
    // The files in the middle of the base are gone: not all of what was copied is kept.
    let project = project.dockerfile("FROM big\nCOPY file /file\nRUN rm /noise\n");
    is_what_it_is_called(&rebuilt(&world, &project, "small"));
    assert!(!world.image("a").tree().has("/noise"));
}

#[test]
fn whoever_has_an_image_open_or_linked_keeps_it() {
    let (world, project) = world();
    let first = rebuilt(&world, &project, "1");
    let name = first.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut open = fs::File::open(&first).unwrap();
    let second = rebuilt(&world, &project, "2");
    fs::hard_link(&second, world.path("linked")).unwrap();
    for number in 3..6 {
        is_what_it_is_called(&rebuilt(&world, &project, &number.to_string()));
    }
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).unwrap();
    assert_eq!(Digest::of(&bytes).to_string(), name, "the open one");
    let linked = Digest::of(&fs::read(world.path("linked")).unwrap()).to_string();
    assert_eq!(Some(linked.as_str()), second.file_stem().unwrap().to_str(), "the linked one");
}

#[test]
fn killed_at_any_time_the_named_image_is_whole() {
    let (world, project) = world();
    rebuilt(&world, &project, "1");
    rebuilt(&world, &project, "2");
    let whole = Instant::now();
    rebuilt(&world, &project, "3");
    let longest = u32::try_from(whole.elapsed().as_millis()).unwrap();
    for number in 0..12 {
        fs::write(project.path().join("file"), format!("killed {number}")).unwrap();
        let running = world.build(&project, ["-t", "a"]).env("SOURCE_DATE_EPOCH", "0").start();
        std::thread::sleep(Duration::from_millis(u64::from(longest * (number + 1) / 12)));
        running.signal(Signal::KILL);
        drop(running);
        is_what_it_is_called(&world.image("a").squashfs());
    }
    is_what_it_is_called(&rebuilt(&world, &project, "last"));
    world.nothing_is_left();
}

#[test]
fn a_build_without_an_image_fills_the_cache_and_writes_no_image() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid >/random\n");
    let images = || fs::read_dir(world.store().join("images")).unwrap().count();
    let before = images();
    world.build(&project, ["--output", "none"]).ok();
    assert_eq!(images(), before);
    let cached = world.build(&project, ["--output", "type=cacheonly", "--progress", "plain"]).ok();
    assert!(cached.err().contains("CACHED"), "{cached}");
    let built = world.build(&project, ["-t", "a", "--progress", "plain"]).ok();
    assert!(built.err().contains("CACHED"), "{built}");
    for flags in [["-t", "a"], ["--iidfile", "id"], ["--metadata-file", "metadata"]] {
        world.build(&project, ["--output", "none"]).args(flags).fails(2).says("--output none");
    }
    world.build(&world.project("FROM busybox\nRUN false\n"), ["--output", "none"]).fails(1);
}
