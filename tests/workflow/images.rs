//! Names, listing, removal, and what a build tells other programs.

use std::fs;

use hypr_tests::{Run, World, announce, is_root};
use serde_json::{Value, json};

fn scratch(world: &World, content: &str, flags: &[&str]) {
    let project = world.project("FROM scratch\nCOPY file /\n").file("file", content);
    world.build(&project, flags).ok();
}

#[test]
fn images_are_listed_as_text_as_json_and_as_ids() {
    let world = World::new();
    assert_eq!(world.hypr(["images", "-q"]).ok().out(), "");
    assert_eq!(world.hypr(["images", "--format", "json"]).ok().json(), json!([]));
    scratch(&world, "a", &["-t", "one", "-t", "team/two:v2"]);
    scratch(&world, "b", &["-t", "three"]);
    let text = world.hypr(["images"]).ok().out();
    for name in ["one", "team/two", "v2", "three"] {
        assert!(text.contains(name), "{name} is missing\n{text}");
    }
    let json = world.hypr(["images", "--format", "json"]).ok().json();
    let list = json.as_array().expect("a list");
    assert_eq!(list.len(), 3, "{json:#}");
    let ids: Vec<_> = list.iter().map(|image| image["id"].as_str().expect("an id")).collect();
    let quiet = world.hypr(["images", "-q"]).ok().out();
    let (one, three) = (world.image("one").id().to_owned(), world.image("three").id().to_owned());
    assert_eq!(world.image("team/two:v2").id(), one);
    for id in [&one, &three] {
        assert!(ids.contains(&id.as_str()), "{json:#}");
        assert!(quiet.contains(id.as_str()) || quiet.contains(&id["sha256:".len()..][..12]), "{quiet}");
    }
    assert_eq!(quiet.lines().count(), 2, "each image once\n{quiet}");
}

#[test]
fn a_name_without_a_tag_is_latest_and_moves_with_the_next_build() {
    let world = World::new();
    scratch(&world, "a", &["-t", "name"]);
    let first = world.image("name:latest").id().to_owned();
    scratch(&world, "b", &["-t", "name:latest"]);
    assert_ne!(world.image("name").id(), first);
    assert_eq!(world.image("name").text_of("/file"), "b");
}

#[test]
fn removing_takes_names_away_and_the_file_with_the_last() {
    let world = World::new();
    scratch(&world, "a", &["-t", "one", "-t", "two"]);
    let file = world.image("one").squashfs();
    world.hypr(["rmi", "one"]).ok();
    world.hypr(["image", "inspect", "one"]).fails(1).says("one");
    assert!(file.exists(), "two still needs it");
    world.hypr(["rmi", "two"]).ok();
    assert!(!file.exists(), "nothing needs it");
    let error = world.hypr(["rmi", "two"]).fails(1).error();
    assert!(error.contains("two"), "{error}");
    world.hypr(["rmi", "-f", "two"]).ok();
}

#[test]
fn ids_and_metadata_are_written_for_programs() {
    let world = World::new();
    let (id, metadata) = (world.path("id"), world.path("metadata"));
    let flags = ["-t", "a", "--iidfile", id.to_str().unwrap(), "--metadata-file", metadata.to_str().unwrap()];
    scratch(&world, "a", &flags);
    assert_eq!(fs::read_to_string(&id).unwrap(), world.image("a").id(), "no end of line, as docker writes it");
    let metadata: Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.config.digest"], world.image("a").id());
    assert!(metadata["image.name"].as_str().is_some_and(|name| name.contains('a')), "{metadata:#}");
}

#[test]
fn a_build_that_fails_writes_no_id() {
    let world = World::with_busybox();
    let (id, metadata) = (world.path("id"), world.path("metadata"));
    let project = world.project("FROM busybox\nRUN false\n");
    let flags = ["--iidfile", id.to_str().unwrap(), "--metadata-file", metadata.to_str().unwrap()];
    world.build(&project, flags).fails(1);
    assert!(!id.exists() && !metadata.exists());
    let project = world.project("FROM busybox\n");
    let error = world.build(&project, ["--iidfile", "/no/such/folder/id"]).fails(1).error();
    assert!(error.contains("/no/such/folder/id"), "{error}");
}

#[test]
fn images_that_differ_in_configuration_alone_share_their_file() {
    let world = World::new();
    let project = world.project("FROM scratch\nCOPY file /\nENV A=1\n").file("file", "f");
    world.build(&project, ["-t", "one"]).ok();
    let project = project.dockerfile("FROM scratch\nCOPY file /\nENV A=2\n");
    world.build(&project, ["-t", "two"]).ok();
    let (one, two) = (world.image("one"), world.image("two"));
    assert_ne!(one.id(), two.id());
    assert_eq!(one.squashfs(), two.squashfs());
    world.hypr(["rmi", "one"]).ok();
    assert_eq!(two.text_of("/file"), "f");
}

#[test]
fn the_store_is_where_the_flag_says() {
    let world = World::new();
    let project = world.project("FROM scratch\nCOPY file /\n").file("file", "f");
    let root = world.path("elsewhere");
    let flags = ["--root", root.to_str().unwrap()];
    world.build(&project, ["-t", "a"]).args(flags).ok();
    let json = world.hypr(["image", "inspect", "a"]).args(flags).ok().json();
    assert!(json["squashfs"]["path"].as_str().is_some_and(|path| path.starts_with(flags[1])), "{json:#}");
    world.hypr(["image", "inspect", "a"]).fails(1);
}

#[test]
fn a_store_on_a_read_only_file_system_can_be_looked_at() {
    if !is_root() {
        announce("skipped: only root can mount");
        return;
    }
    let world = World::with_busybox();
    let program = world.program_for_everyone();
    let run = |command: &str| {
        let script = format!(
            "mount --bind \"$HYPR_ROOT\" \"$HYPR_ROOT\" && mount -o remount,bind,ro \"$HYPR_ROOT\" && exec \"$0\" {command}"
        );
        Run::new("unshare").args(["-m", "sh", "-c", &script]).args([&program]).env("HYPR_ROOT", world.store())
    };
    assert!(run("images").ok().out().contains("busybox"));
    assert!(run("image inspect busybox").ok().out().contains("\"squashfs\""));
    assert!(run("system df").ok().out().contains("Images"));
    run("rmi busybox").fails(1);
    run("system prune --force").fails(1);
    world.image("busybox");
}
