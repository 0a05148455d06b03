//! What a build says, and where.

use hypr_tests::World;

const DOCKERFILE: &str = "FROM busybox AS base\nRUN echo said-by-the-step\nFROM base\nCOPY file /\n";

#[test]
fn plain_progress_names_steps_and_ends_with_a_summary() {
    let world = World::with_busybox();
    let project = world.project(DOCKERFILE).file("file", "f");
    let first = world.build(&project, ["-t", "name", "--progress", "plain"]).ok();
    for part in ["RUN echo said-by-the-step", "COPY file /", "said-by-the-step"] {
        assert!(first.err().contains(part), "{part:?} is missing\n{first}");
    }
    assert!(!first.err().contains('\u{1b}'), "no control sequences in plain text\n{first}");
    let second = world.build(&project, ["-t", "name", "--progress", "plain"]).ok();
    let said = second.err().lines().filter(|line| line.ends_with("said-by-the-step") && !line.contains("RUN")).count();
    assert_eq!(said, 0, "a cached step says nothing\n{second}");
    assert!(second.err().to_lowercase().contains("cached"), "{second}");
}

#[test]
fn progress_is_plain_where_there_is_no_terminal() {
    let world = World::with_busybox();
    let project = world.project(DOCKERFILE).file("file", "f");
    let finished = world.build(&project, ["-t", "name"]).ok();
    assert!(finished.err().contains("said-by-the-step") && !finished.err().contains('\u{1b}'), "{finished}");
}

#[test]
fn quiet_says_no_more_than_the_id() {
    let world = World::with_busybox();
    let project = world.project(DOCKERFILE).file("file", "f");
    let finished = world.build(&project, ["-t", "name", "--progress", "quiet"]).ok();
    assert_eq!(finished.err(), "");
    assert_eq!(finished.out().trim(), world.image("name").id());
}

#[test]
fn raw_progress_is_one_json_value_a_line() {
    let world = World::with_busybox();
    let project = world.project(DOCKERFILE).file("file", "f");
    let finished = world.build(&project, ["-t", "name", "--progress", "rawjson"]).ok();
    let lines: Vec<_> = finished.err().lines().map(str::to_owned).collect();
    assert!(lines.len() > 3, "{finished}");
    for line in &lines {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value.is_object(), "{line}");
    }
    assert!(lines.iter().any(|line| line.contains("RUN echo said-by-the-step")), "{finished}");
}

#[test]
fn help_and_version_go_to_standard_output() {
    let world = World::new();
    let version = world.hypr(["--version"]).ok().out();
    assert!(version.starts_with("hypr ") && version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let help = world.hypr(["build", "--help"]).ok().out();
    for flag in [
        "--tag",
        "--file",
        "--target",
        "--build-arg",
        "--label",
        "--no-cache",
        "--build-context",
        "--isolation",
        "--progress",
        "--iidfile",
        "--metadata-file",
        "--root",
    ] {
        assert!(help.contains(flag), "{flag} is not in the help\n{help}");
    }
}

#[test]
fn warnings_and_messages_do_not_mix_with_results() {
    let world = World::with_busybox();
    world.build(&world.project(DOCKERFILE).file("file", "f"), ["-t", "name"]).ok();
    let finished = world.hypr(["image", "inspect", "name"]).ok();
    finished.json();
    assert_eq!(finished.err(), "");
    world.hypr(["images", "--format", "json"]).ok().json();
}

#[test]
fn output_without_measure_is_shown_in_part_and_kept_whole() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN seq 1 600000; echo the end >&2\n");
    let finished = world.build(&project, ["-t", "a", "--progress", "plain"]).ok();
    let text = finished.err();
    assert!(text.contains("| 1000\n") && !text.contains("| 599999\n"), "the beginning is shown");
    let clipped = text.lines().find(|line| line.contains("not shown; all of it is in ")).expect("a word on the rest");
    let log = std::fs::read_to_string(clipped.split("all of it is in ").nth(1).unwrap()).unwrap();
    assert_eq!(log.lines().filter(|line| *line != "the end").count(), 600_000);
    assert!(log.starts_with("1\n2\n") && log.contains("\n600000\n") && log.contains("the end\n"));
    let plain = world.build(&world.project("FROM busybox\nRUN seq 1 1000\n"), ["-t", "b", "--progress", "plain"]).ok();
    assert!(!plain.err().contains("not shown"), "{plain}");
    assert_eq!(std::fs::read_dir(world.store().join("logs")).unwrap().count(), 1);
    world.hypr(["system", "prune", "--force"]).ok();
    assert_eq!(std::fs::read_dir(world.store().join("logs")).unwrap().count(), 0);
}
