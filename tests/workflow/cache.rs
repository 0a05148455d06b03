//! What is run again and what is not. A step that writes a random number shows whether it ran.

use std::{
    fs::{self, FileTimes},
    time::{Duration, SystemTime},
};

use hypr_tests::{Layout, Project, World};

const RANDOM: &str = "RUN cat /proc/sys/kernel/random/uuid >/random\n";

/// Builds and returns what the step with the random number wrote.
#[track_caller]
fn random(world: &World, project: &Project) -> String {
    world.build(project, ["-t", "a"]).ok();
    world.image("a").text_of("/random")
}

#[test]
fn a_second_build_runs_nothing_and_makes_the_same_image() {
    let world = World::with_busybox();
    let project = world
        .project(&format!(
            "FROM busybox AS one\n{RANDOM}FROM busybox\nCOPY file /\nENV A=1\nCOPY --from=one /random /\n"
        ))
        .file("file", "f");
    let first = random(&world, &project);
    let before = world.image("a");
    assert_eq!(random(&world, &project), first);
    let after = world.image("a");
    assert_eq!(after.id(), before.id());
    assert_eq!(after.squashfs_digest(), before.squashfs_digest());
}

#[test]
fn a_touched_file_hits_and_a_changed_one_misses() {
    let world = World::with_busybox();
    let project =
        world.project(&format!("FROM busybox\nCOPY file tree /d/\n{RANDOM}")).file("file", "f").file("tree/leaf", "l");
    let first = random(&world, &project);
    for name in ["file", "tree/leaf"] {
        let time = SystemTime::now() - Duration::from_secs(1000);
        let file = fs::File::options().write(true).open(project.path().join(name)).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
        assert_eq!(random(&world, &project), first, "{name} was touched");
    }
    let project = project.file("tree/leaf", "m");
    let second = random(&world, &project);
    assert_ne!(second, first, "same size, other content");
    let project = project.mode("file", 0o755, "f");
    assert_ne!(random(&world, &project), second, "same content, other mode");
}

#[test]
fn files_that_no_step_copies_do_not_count() {
    let world = World::with_busybox();
    let project = world.project(&format!("FROM busybox\nCOPY file /\n{RANDOM}")).file("file", "f").file("other", "o");
    let first = random(&world, &project);
    let project = project.file("other", "changed").file("new", "n");
    assert_eq!(random(&world, &project), first);
}

#[test]
fn a_step_that_comes_to_the_same_content_again_lets_what_follows_hit() {
    let world = World::with_busybox();
    let project = world.project(&format!("FROM busybox\nRUN echo same >/same # one\n{RANDOM}"));
    let first = random(&world, &project);
    let project = project.dockerfile(&format!("FROM busybox\nRUN echo same >/same # two\n{RANDOM}"));
    assert_eq!(random(&world, &project), first, "another command, the same content");
    let project = project.dockerfile(&format!("FROM busybox\nRUN echo other >/same\n{RANDOM}"));
    assert_ne!(random(&world, &project), first);
}

#[test]
fn what_a_run_sees_is_in_its_key_and_what_it_does_not_see_is_not() {
    let world = World::with_busybox();
    let dockerfile = |before: &str| {
        format!(
            "ARG OUTER=1\nFROM busybox\nARG SEEN=1\n{before}RUN cat /proc/sys/kernel/random/uuid >/tmp/random\nLABEL a=1\n"
        )
    };
    let build = |before: &str, flags: &[&str]| {
        world.build(&world.project(&dockerfile(before)), flags).args(["-t", "a"]).ok();
        world.image("a").text_of("/tmp/random")
    };
    let first = build("ENV A=1\n", &[]);
    for flags in [["--build-arg", "OUTER=2"], ["--build-arg", "HTTP_PROXY=http://proxy"], ["--label", "b=2"]] {
        assert_eq!(build("ENV A=1\n", &flags), first, "{flags:?} is not seen");
    }
    assert_eq!(build("ENV A=1\nEXPOSE 1\nLABEL c=1\nVOLUME /v\n", &[]), first, "configuration is not seen");
    assert_ne!(build("ENV A=1\n", &["--build-arg", "SEEN=2"]), first, "an argument that is declared is seen");
    for before in [
        "ENV A=2\n",
        "ENV A=1\nUSER 1\n",
        "ENV A=1\nWORKDIR /tmp\n",
        "ENV A=1\nSHELL [\"/bin/busybox\", \"sh\", \"-c\"]\n",
    ] {
        assert_ne!(build(before, &[]), first, "{before:?} is seen");
    }
}

#[test]
fn no_cache_runs_everything_again() {
    let world = World::with_busybox();
    let project = world.project(&format!("FROM busybox\n{RANDOM}"));
    let first = random(&world, &project);
    world.build(&project, ["-t", "a", "--no-cache"]).ok();
    assert_ne!(world.image("a").text_of("/random"), first);
}

#[test]
fn a_step_that_failed_is_not_cached() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN echo before >/before\nRUN test -e /file\n");
    world.build(&project, ["-t", "a"]).fails(1);
    world.build(&project, ["-t", "a"]).fails(1);
}

#[test]
fn a_changed_base_runs_what_is_on_it_again() {
    let world = World::with_busybox();
    let project = world.project(&format!("FROM busybox\n{RANDOM}"));
    let first = random(&world, &project);
    let other = Layout::busybox().layer(hypr_tests::Layer::new().file("etc/other", 0o644, (0, 0), b"o"));
    let path = other.write(world.path("other"));
    world.hypr(["load"]).args([&path]).args(["-t", "busybox"]).ok();
    assert_ne!(random(&world, &project), first);
    assert!(world.image("a").tree().has("/etc/other"));
}

#[test]
fn builds_at_the_same_time_share_a_step() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN sleep 1; cat /proc/sys/kernel/random/uuid >/random\n");
    let builds: Vec<_> = ["a", "b", "c"]
        .map(|tag| world.build(&project, ["-t", tag]).start())
        .into_iter()
        .map(|run| run.wait())
        .collect();
    for build in &builds {
        assert!(build.status.success(), "{build}");
    }
    let all = ["a", "b", "c"].map(|tag| world.image(tag).text_of("/random"));
    assert!(all.iter().all(|text| *text == all[0]), "{all:?}");
}

#[test]
fn independent_stages_run_at_once() {
    let world = World::with_busybox();
    let stages: String = (0..4).map(|n| format!("FROM busybox AS s{n}\nRUN sleep 3; echo {n} >/{n}\n")).collect();
    let copies: String = (0..4).map(|n| format!("COPY --from=s{n} /{n} /\n")).collect();
    let project = world.project(&format!("{stages}FROM scratch\n{copies}"));
    let finished = world.build(&project, ["-t", "a"]).ok();
    assert!(finished.took < Duration::from_secs(9), "four times three seconds one after another?\n{finished}");
    assert_eq!(world.image("a").tree().paths(), ["/0", "/1", "/2", "/3"]);
}

#[test]
fn a_damaged_record_or_layer_is_made_again() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN echo content >/file\n");
    world.build(&project, ["-t", "a"]).ok();
    for record in fs::read_dir(world.store().join("cache/steps")).expect("records").flatten() {
        fs::write(record.path(), b"{\"version\":").unwrap();
    }
    world.load("busybox", &Layout::busybox());
    world.build(&project, ["-t", "a"]).ok();
    assert_eq!(world.image("a").text_of("/file"), "content\n");
    for layer in fs::read_dir(world.store().join("layers")).expect("layers").flatten() {
        if layer.path().extension().is_some_and(|extension| extension == "squashfs") {
            fs::remove_file(layer.path()).unwrap();
        }
    }
    world.load("busybox", &Layout::busybox());
    world.build(&project, ["-t", "a"]).ok();
    assert_eq!(world.image("a").text_of("/file"), "content\n");
}

#[test]
fn a_rebuild_that_borrows_from_the_layer_before_gives_the_bytes_of_a_first_build() {
    let world = World::with_busybox();
    let mut project = world.project("FROM busybox AS files\nCOPY . /d/\nFROM busybox\nCOPY --from=files /d /e\n");
    for number in 0..60_usize {
        let text = format!("line {number}\n").repeat(1 + number * number);
        project = project.file(&format!("src/f{number}"), text);
    }
    project = project.file("big", vec![b'b'; 3 << 20]).file("zeros", vec![0; 1 << 20]).file("empty", "");
    let build = |world: &World| {
        world.build(&project, ["-t", "a"]).ok();
        world.image("a").squashfs_digest().to_owned()
    };
    let mut digests = vec![build(&world)];
    // Another content, a file that becomes another's equal, one that grows over a block, one gone, one new.
    let change = |name: &str, content: &str| fs::write(project.path().join(name), content).unwrap();
    let changes: [&dyn Fn(); 5] = [
        &|| change("src/f7", "changed\n"),
        &|| change("src/f8", "changed\n"),
        &|| change("src/f3", &"long\n".repeat(60_000)),
        &|| fs::remove_file(project.path().join("src/f20")).unwrap(),
        &|| change("src/new", "new\n"),
    ];
    for edit in changes {
        edit();
        digests.push(build(&world));
        assert_eq!(digests.last(), Some(&build(&World::with_busybox())), "after {} changes", digests.len() - 1);
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 6, "every change shows");
}

#[test]
fn a_build_says_what_changed() {
    let world = World::with_busybox();
    let project = world
        .project("FROM busybox\nARG LEVEL=1\nCOPY src /app\nRUN echo $LEVEL >/level\n")
        .file("src/a", "a")
        .file("src/d/b", "b");
    let explained = |flags: &[&str]| {
        let finished = world.build(&project, ["-t", "a", "--explain", "--progress", "plain"]).args(flags).ok();
        let lines = finished.err().lines().filter(|line| line.contains(" runs because ")).map(str::to_owned).collect();
        let lines: Vec<String> = lines;
        lines
    };
    let first = explained(&[]);
    assert!(first.len() == 2 && first[0].contains("never carried out"), "{first:?}");
    assert!(explained(&[]).is_empty(), "all is cached");
    let change = |name: &str, content: &str| fs::write(project.path().join(name), content).unwrap();
    let changes: [(&dyn Fn(), &str); 4] = [
        (&|| change("src/d/b", "changed"), "`/app/d/b` has another content"),
        (&|| change("src/new", "new"), "`/app/new` is new"),
        (&|| fs::remove_file(project.path().join("src/a")).unwrap(), "`/app/a` is gone"),
        (
            &|| {
                fs::remove_file(project.path().join("src/new")).unwrap();
                std::os::unix::fs::symlink("d", project.path().join("src/new")).unwrap();
            },
            "`/app/new` is of another type",
        ),
    ];
    for (edit, part) in changes {
        edit();
        let lines = explained(&[]);
        assert!(lines.len() == 2 && lines[0].contains(part), "{part}: {lines:?}");
        assert!(lines[1].contains("what it stands on has changed"), "{lines:?}");
    }
    let lines = explained(&["--build-arg", "LEVEL=2"]);
    assert!(lines.len() == 1 && lines[0].contains("environment was \"LEVEL=1\" and is \"LEVEL=2\""), "{lines:?}");
    let lines = explained(&["--no-cache"]);
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("the cache is not to be used")), "{lines:?}");
}
