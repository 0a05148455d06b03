//! `hypr build --verify`: two builds, and what differs between them.

use std::fs;

use hypr_tests::World;

const EPOCH: (&str, &str) = ("SOURCE_DATE_EPOCH", "1700000000");

#[test]
fn a_build_that_comes_to_the_same_twice_gets_its_name() {
    let world = World::with_busybox();
    let project = world
        .project("FROM busybox AS one\nRUN echo made >/made\nFROM busybox\nCOPY file /file\nCOPY --from=one /made /\n")
        .file("file", "f");
    world.build(&project, ["--verify", "-t", "a", "-t", "b"]).env(EPOCH.0, EPOCH.1).ok();
    assert_eq!(world.image("a").text_of("/made"), "made\n");
    assert_eq!(world.image("a").id(), world.image("b").id());
    let plain = World::with_busybox();
    plain.build(&project, ["-t", "a"]).env(EPOCH.0, EPOCH.1).ok();
    assert_eq!(plain.image("a").squashfs_digest(), world.image("a").squashfs_digest());
}

#[test]
fn each_path_that_differs_is_told_with_the_reason() {
    let world = World::with_busybox();
    let project = world.project(
        "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid >/content; mkdir /d; echo >\"/d/$(cat /content)\"\n\
         RUN for n in $(seq 1 40); do echo \"$(cat /proc/sys/kernel/random/uuid | cut -c1-4) $n\"; done | sort | cut -d' ' -f2 >/order\n\
         RUN chown $((0x$(cut -c1-7 /content) + 1)) /order && echo same >/same\n",
    );
    let finished = world.build(&project, ["--verify", "-t", "a"]).env(EPOCH.0, EPOCH.1).fails(1);
    let text = String::from_utf8(finished.stdout().to_vec()).unwrap();
    let line = |path: &str| text.lines().find(|line| line.starts_with(&format!("{path}: "))).unwrap_or_default();
    assert!(line("/content").contains("content from byte"), "{text}");
    assert!(line("/order").contains("order of its lines") && line("/order").contains("owner "), "{text}");
    assert!(text.contains("only in the first build") && text.contains("only in the second build"), "{text}");
    assert!(!text.contains("/same") && !text.contains("/bin"), "{text}");
    finished.says("4 paths differ");
    world.hypr(["image", "inspect", "a"]).fails(1);
    assert!(world.hypr(["images", "--quiet"]).ok().stdout().iter().filter(|byte| **byte == b'\n').count() == 1);
}

#[test]
fn times_alone_are_told_with_the_way_out() {
    let world = World::with_busybox();
    // The builds are made one after the other, in different seconds.
    let project = world.project("FROM busybox\nRUN echo same >/same && sleep 1.1\n");
    let finished = world.build(&project, ["--verify", "-t", "a"]).fails(1);
    assert!(String::from_utf8_lossy(finished.stdout()).contains("/same: time "), "{finished}");
    finished.says("SOURCE_DATE_EPOCH");
    world.build(&project, ["--verify", "-t", "a"]).env(EPOCH.0, EPOCH.1).ok();
}

#[test]
fn a_context_on_standard_input_is_read_once_and_used_twice() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nCOPY file /file\n").file("file", "of the stream");
    world.hypr(["build", "--verify", "-t", "a", "-"]).stdin(project.tar()).ok();
    assert_eq!(world.image("a").text_of("/file"), "of the stream");
    world.build(&project, ["--verify", "--output", "none"]).fails(2);
    world.build(&world.project("FROM busybox\nRUN false\n"), ["--verify", "-t", "b"]).fails(1);
    assert!(fs::read_dir(world.store().join("tmp")).unwrap().next().is_none());
}
