//! What a later source or step must not change of what is there, and what it must.

use std::fs;

use hypr_tests::{Layer, World};

use crate::built;

#[test]
fn the_root_keeps_its_owner_and_mode_under_every_later_step() {
    let (_world, image) = built(
        "FROM busybox\nRUN chmod 751 / && chown 5:6 /\nCOPY file /copied\nWORKDIR /new/dir\nADD file /added\n\
         RUN touch /touched\n",
    );
    let root = image.tree().get("/").clone();
    assert_eq!((root.mode, root.uid, root.gid), (0o751, 5, 6));
}

#[test]
fn a_run_that_changes_the_root_alone_makes_a_layer() {
    let (_world, image) = built("FROM busybox\nRUN chmod 700 /\nRUN true\n");
    assert_eq!(image.tree().get("/").mode, 0o700);
    let history = image.manifest()["history"].as_array().unwrap().clone();
    let empty: Vec<bool> = history.iter().rev().take(2).map(|entry| entry["empty_layer"] == true).collect();
    assert_eq!(empty, [true, false], "`RUN true` changes nothing, `RUN chmod` does");
}

#[test]
fn an_archive_leaves_directories_alone_that_it_does_not_name() {
    let world = World::with_busybox();
    let implied = Layer::new()
        .file("secret/file", 0o644, (0, 0), b"x")
        .file("merged/file", 0o644, (0, 0), b"y")
        .folder("named", 0o750)
        .file("named/file", 0o644, (0, 0), b"z");
    let project = world
        .project(
            "FROM busybox\nRUN mkdir -m 700 /secret && chown 7:8 /secret && mkdir -p /usr/merged /named && ln -s usr/merged /merged\n\
             ADD files.tar /\n",
        )
        .file("files.tar", implied.tar());
    world.build(&project, ["-t", "a"]).ok();
    let image = world.image("a");
    let tree = image.tree();
    let secret = tree.get("/secret");
    assert_eq!((secret.mode, secret.uid, secret.gid), (0o700, 7, 8));
    assert_eq!(tree.get("/merged").kind, 'l');
    assert_eq!(image.read("/usr/merged/file"), b"y");
    assert_eq!(tree.get("/named").mode, 0o750);
}

#[test]
fn a_name_of_a_file_survives_when_its_other_name_is_replaced() {
    let world = World::new();
    let project = world.project("FROM scratch\nCOPY one/ two/ /x/\n").file("one/a", "ONE").file("two/a", "TWO");
    for name in ["b", "c"] {
        fs::hard_link(project.path().join("one/a"), project.path().join("one").join(name)).unwrap();
    }
    world.build(&project, ["-t", "a"]).ok();
    let image = world.image("a");
    assert_eq!([image.read("/x/a"), image.read("/x/b"), image.read("/x/c")], [&b"TWO"[..], b"ONE", b"ONE"]);
}

#[test]
fn a_pattern_that_matches_nothing_is_said_and_changes_nothing() {
    let world = World::new();
    let project = world.project("FROM scratch\nCOPY real /\nCOPY no*thing /x/\n").file("real", "r");
    let said = world.build(&project, ["-t", "a"]).ok().err();
    assert!(said.contains("no*thing"), "{said}");
    assert!(!world.image("a").tree().has("/x"));
}

#[test]
fn an_epoch_dates_the_history_of_the_base_too() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN true\n");
    world.build(&project, ["-t", "a"]).env("SOURCE_DATE_EPOCH", "5").ok();
    let image = world.image("a");
    for entry in image.manifest()["history"].as_array().unwrap() {
        let created = entry["created"].as_str().unwrap_or("1970-01-01T00:00:00Z");
        assert!(created <= "1970-01-01T00:00:05Z", "{entry}");
    }
}

#[test]
fn what_has_no_meaning_here_is_refused_or_said() {
    let world = World::new();
    let frontend = world.project("# syntax=example.org/other:1\nFROM scratch\nCOPY Dockerfile /\n");
    world.build(&frontend, [""; 0]).fails(1).says("example.org/other:1");
    let known = world.project("# syntax=docker/dockerfile:1.7\n# check=error=true\nFROM scratch\nCOPY Dockerfile /\n");
    let said = world.build(&known, ["--no-cache-filter", "nope"]).ok().err();
    assert!(said.contains("nope"), "{said}");
    let missing = world.project("FROM scratch AS real\nFROM scratch\nCOPY --from=unreal /a /b\n");
    world.build(&missing, [""; 0]).fails(1).says("real");
}

#[test]
fn commands_that_only_look_make_no_store() {
    let world = World::new();
    let store = world.path("nowhere");
    let root = store.to_str().unwrap();
    world.hypr(["images", "--root", root]).ok();
    world.hypr(["image", "inspect", "--root", root, "x"]).fails(1).says("there is no image `x`");
    assert!(!store.exists());
}
