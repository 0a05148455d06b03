//! Bad input: one clear line that names the place, and never a step skipped in silence.

use std::fs;

use hypr_tests::{Layout, Mounted, Run, World, is_root};

/// Builds that fail: the Dockerfile, the flags, and what the message has to name.
const BUILDS: &[(&str, &[&str], &[&str])] = &[
    ("FROM scratch\nCOPPY file /\n", &[], &["COPPY", "COPY", "2"]),
    ("FROM scratch\nCOPY --form=a file /\n", &[], &["--form", "--from", "2"]),
    ("FROM scratch\nCOPY --chown file /\n", &[], &["chown", "2"]),
    ("FROM scratch\nCOPY --chmod=rwz file /\n", &[], &["rwz", "2"]),
    ("FROM scratch\nCOPY file\n", &[], &["COPY", "2"]),
    ("FROM scratch\n\nCOPY nothing /\n", &[], &["nothing", "3"]),
    ("FROM scratch\nCOPY ../outside /\n", &[], &["outside", "2"]),
    ("FROM scratch\nCOPY file file /not-a-folder\n", &[], &["/not-a-folder", "2"]),
    ("FROM scratch\nCOPY --from=7 file /\n", &[], &["7", "2"]),
    ("FROM scratch\nCOPY <<END /file\nno end\n", &[], &["END", "2"]),
    ("FROM scratch\n", &["--target", "nowhere"], &["nowhere"]),
    ("FROM scratch AS a\nCOPY --from=b /x /\nFROM a AS b\nCOPY file /\n", &[], &["a", "2"]),
    ("FROM scratch AS twice\nFROM scratch AS twice\n", &["--target", "none"], &["none"]),
    ("FROM UPPER\n", &[], &["UPPER", "1"]),
    ("FROM scratch AS 9lives\n", &[], &["9lives", "1"]),
    ("ARG EMPTY\nFROM ${EMPTY}\n", &[], &["EMPTY", "2"]),
    ("FROM scratch\nENV LONELY\n", &[], &["ENV", "2"]),
    ("FROM scratch\nLABEL x=${A:?must be set}\n", &[], &["must be set", "2"]),
    ("FROM scratch\nENV A=${unclosed\n", &[], &["2"]),
    ("FROM scratch\nEXPOSE 99999\n", &[], &["99999", "2"]),
    ("FROM scratch\nSTOPSIGNAL SIGNONE\n", &[], &["SIGNONE", "2"]),
    ("FROM scratch\nHEALTHCHECK --interval=soon CMD true\n", &[], &["soon", "2"]),
    ("FROM scratch\nSHELL sh -c\n", &[], &["SHELL", "2"]),
    ("FROM scratch\nONBUILD FROM x\n", &[], &["ONBUILD", "2"]),
    ("FROM scratch\nUSER\n", &[], &["USER", "2"]),
    ("RUN before from\n", &[], &["FROM", "1"]),
    ("ENV A=1\nFROM scratch\n", &[], &["ENV", "1"]),
    ("", &[], &["Dockerfile"]),
    ("# only a comment\n", &[], &["Dockerfile"]),
    ("FROM --platform=linux/s390x busybox\n", &[], &["linux/s390x"]),
    ("FROM 127.0.0.1:1/nothing/there:1\n", &[], &["127.0.0.1:1/nothing/there:1"]),
    ("FROM busybox\nRUN true\n", &["--isolation", "vm", "--kernel", "/no/such/kernel"], &["vm sandboxes"]),
    ("FROM busybox\nRUN true\n", &["--isolation", "vm", "--network", "host"], &["microVM", "network", "line 2"]),
    ("FROM busybox\nRUN --mount=type=ssh,required true\n", &[], &["SSH agent", "2"]),
    ("FROM busybox\nRUN --network=host true\n", &[], &["--network", "2"]),
    ("FROM busybox\nRUN --security=insecure true\n", &[], &["--security", "2"]),
    ("FROM scratch\nADD http://127.0.0.1:1/file /\n", &[], &["http://127.0.0.1:1/file", "2"]),
    ("FROM scratch\n", &["-f", "/no/such/Dockerfile"], &["/no/such/Dockerfile"]),
    ("FROM missing\n", &["--build-context", "missing=oci-layout:///no/such/layout"], &["/no/such/layout"]),
    ("FROM missing\n", &["--build-context", "missing=/no/such/folder"], &["/no/such/folder"]),
];

#[test]
fn each_bad_build_is_one_clear_error() {
    let world = World::with_busybox();
    let mut failures = Vec::new();
    for (dockerfile, flags, parts) in BUILDS {
        let project = world.project(dockerfile).file("file", "f");
        let finished = world.build(&project, *flags).args(["-t", "bad"]).run();
        let text = finished.err();
        let lines = text.lines().filter(|line| line.starts_with("error:")).count();
        if finished.status.code() != Some(1) || lines != 1 || text.contains("panicked") {
            failures.push(format!("{dockerfile:?} {flags:?}: wanted one error and exit status 1\n{finished}"));
        }
        let error = text.split_once("error:").map_or("", |(_, error)| error);
        for part in parts.iter().filter(|part| !error.contains(**part)) {
            failures.push(format!("{dockerfile:?} {flags:?}: {part:?} is not named\n{finished}"));
        }
        if world.hypr(["image", "inspect", "bad"]).run().status.success() {
            failures.push(format!("{dockerfile:?} {flags:?}: made an image"));
            world.hypr(["rmi", "bad"]).ok();
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn wrong_usage_is_exit_status_2() {
    let world = World::new();
    let lines: &[&[&str]] = &[
        &[],
        &["no-such-command"],
        &["build"],
        &["build", "--no-such-flag", "."],
        &["build", "--isolation", "magic", "."],
        &["build", "--progress", "loud", "."],
        &["build", "--build-context", "no-equals-sign", "."],
        &["build", ".", "."],
        &["images", "--format", "stone"],
        &["rmi"],
        &["load"],
        &["parse"],
    ];
    for line in lines {
        let finished = world.hypr(*line).fails(2);
        assert!(!finished.err().is_empty() && finished.out().is_empty(), "{finished}");
    }
}

#[test]
fn bad_names_are_refused_before_anything_is_built() {
    let world = World::new();
    let project = world.project("FROM scratch\nCOPY file /\n").file("file", "f");
    for tag in ["UPPER", "team/UPPER", "", "a:b:c", "a:-b", "a b", "../a", "a/../b", "a@sha256:00", &"x".repeat(300)] {
        let finished = world.build(&project, ["-t", tag]).run();
        assert!(matches!(finished.status.code(), Some(1 | 2)), "{tag:?}\n{finished}");
        assert!(finished.err().contains("error:") && finished.err().contains(tag), "{tag:?}\n{finished}");
        assert_eq!(world.hypr(["images", "-q"]).ok().out(), "", "{tag:?} made an image");
    }
}

#[test]
fn a_context_that_is_none_is_refused() {
    let world = World::new();
    let project = world.project("FROM scratch\n");
    let file = project.path().join("Dockerfile");
    for context in [world.path("nothing-here"), file] {
        let error = world.hypr(["build"]).args([&context]).fails(1).error();
        assert!(error.contains(context.to_str().unwrap()), "{error}");
    }
    let empty = world.project("");
    fs::remove_file(empty.path().join("Dockerfile")).unwrap();
    let error = world.build(&empty, [] as [&str; 0]).fails(1).error();
    assert!(error.contains("Dockerfile"), "{error}");
    for bytes in [&b"this is no tar stream, not at all; it goes on for more than a block of one ".repeat(20)[..], b""] {
        world.hypr(["build", "-"]).stdin(bytes).fails(1).error();
    }
}

#[test]
fn loading_what_is_no_image_is_refused() {
    let world = World::new();
    let text = world.path("text");
    fs::write(&text, "no image").unwrap();
    let folder = world.path("folder");
    fs::create_dir(&folder).unwrap();
    for path in [&text, &folder, &world.path("nothing")] {
        let error = world.hypr(["load"]).args([path]).args(["-t", "a"]).fails(1).error();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let disk = Mounted::tmpfs(&world.path("disk"), "3m");
    let root = disk.path("store");
    let noise: Vec<u8> =
        (0..6_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ n.to_le_bytes()[0]).collect();
    let project = world.project("FROM scratch\nCOPY big* /\n").file("big", noise);
    let error = world.build(&project, ["-t", "a", "--root", root.to_str().unwrap()]).fails(1).error();
    assert!(error.to_lowercase().contains("no space left"), "{error}");
    let left: Vec<_> =
        fs::read_dir(root.join("tmp")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_user_without_rights_is_told_what_is_missing_or_just_builds() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let open = |path: &std::path::Path| Run::new("chmod").args(["0755"]).args([path]).ok();
    open(&world.path("."));
    let layout = Layout::busybox().write(world.path("layout"));
    let program = world.program_for_everyone();
    let store = world.path("nobody");
    fs::create_dir(&store).unwrap();
    Run::new("chown").args(["65534:65534"]).args([&store, &world.path("tmp")]).ok();
    let project = world.project("FROM base\nRUN id -u >/tmp/id\n");
    let finished = Run::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
        .args([&program])
        .args(["build", "-t", "a", "--build-context", &format!("base=oci-layout://{}", layout.display())])
        .args([project.path()])
        .env("HYPR_ROOT", &store)
        .env("HOME", world.path("tmp"))
        .env("TMPDIR", world.path("tmp"))
        .directory("/")
        .run();
    if !finished.status.success() {
        let error = finished.error();
        assert_eq!(finished.status.code(), Some(1), "{finished}");
        let hints = ["subuid", "newuidmap", "user namespace", "as root"];
        assert!(hints.iter().any(|hint| error.contains(hint)), "no way out: {error}");
    }
}
