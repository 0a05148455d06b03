//! `RUN`: what it sees, what it leaves, and how it fails.

use hypr_tests::{Layer, Layout, World};
use serde_json::json;

use crate::built;

#[test]
fn additions_changes_and_deletions_are_in_the_image() {
    let (_world, image) = built(
        "FROM busybox\nRUN rm /etc/base && rm -r /var/old && echo new >/etc/new && chmod 0711 /opt\n\
         RUN mkdir /var/old && echo again >/var/old/three && chown 9:9 /var/old/three\n\
         RUN touch /gone\nRUN rm /gone\n",
    );
    let tree = image.tree();
    assert!(!tree.has("/etc/base") && !tree.has("/gone"));
    let below: Vec<_> = tree.paths().into_iter().filter(|path| path.starts_with("/var/old/")).collect();
    assert_eq!(below, ["/var/old/three"], "the folder made anew hides the one of the base");
    assert_eq!((tree.get("/var/old/three").uid, tree.get("/opt").mode), (9, 0o711));
    assert_eq!(image.text_of("/etc/new"), "new\n");
    assert!(tree.iter().all(|(_, entry)| entry.kind != 'c'), "no whiteout is left in a merged image");
    if let Some(mounted) = image.mount() {
        let listed = mounted.chroot("0:0", ["/bin/sh", "-c", "ls /var/old; cat /etc/new"]).ok().out();
        assert_eq!(listed, "three\nnew\n");
    }
}

#[test]
fn whiteouts_of_the_base_hide_what_is_below_them() {
    let world = World::new();
    let base = Layout::busybox().layer(Layer::new().file("etc/.wh.base", 0o644, (0, 0), b"")).layer(
        Layer::new().folder("var/old", 0o755).file("var/old/.wh..wh..opq", 0o644, (0, 0), b"").file(
            "var/old/new",
            0o644,
            (0, 0),
            b"",
        ),
    );
    world.load("base", &base);
    let project = world.project("FROM base\nRUN test ! -e /etc/base && test \"$(ls -A /var/old)\" = new\n");
    world.build(&project, ["-t", "a"]).ok();
    let tree = world.image("a").tree();
    assert!(!tree.has("/etc/base") && !tree.has("/var/old/one") && tree.has("/var/old/new"));
    assert!(tree.paths().iter().all(|path| !path.contains(".wh.")), "{:?}", tree.paths());
}

#[test]
fn the_process_sees_what_the_dockerfile_says() {
    let world = World::with_busybox();
    let project = world.project(
        r#"FROM busybox
ARG GIVEN
ARG DEFAULT=fallback
ARG OVERRIDDEN=argument
ENV FROM_ENV="a  b" OVERRIDDEN=environment
RUN echo "$GIVEN|$DEFAULT|$FROM_ENV|$OVERRIDDEN" >/arguments
WORKDIR /work
WORKDIR below
RUN pwd >/directory
RUN echo app:x:70:71::/home/app:/bin/sh >>/etc/passwd && echo extra:x:99:app >>/etc/group && chmod 0777 /work/below
USER app
RUN id -u >user && id -g >>user && id -G >>user && echo "$HOME" >>user
USER 12:13
RUN id -u >numbers && id -g >>numbers
USER root
SHELL ["/bin/sh", "-euc"]
RUN false | true; echo "$0 $-" >/shell
RUN ["/bin/sh", "-c", "echo $FROM_ENV >/exec"]
RUN umask >/umask && wc -c </dev/stdin >/stdin
RUN cat /proc/self/status >/status && ls /sys/class/net >/network && ls /dev >/devices
"#,
    );
    world.build(&project, ["-t", "a", "--build-arg", "GIVEN=argument"]).ok();
    let image = world.image("a");
    assert_eq!(image.text_of("/arguments"), "argument|fallback|a  b|environment\n");
    assert_eq!(image.text_of("/directory"), "/work/below\n");
    assert_eq!(image.text_of("/work/below/user"), "70\n71\n71 99\n/home/app\n");
    assert_eq!(image.text_of("/work/below/numbers"), "12\n13\n");
    assert_eq!(image.tree().get("/work/below/user").uid, 70);
    let shell = image.text_of("/shell");
    assert!(shell.starts_with("/bin/sh ") && shell.contains('e') && shell.contains('u'), "{shell}");
    assert_eq!(image.text_of("/exec"), "a b\n");
    assert_eq!(image.text_of("/umask").trim().trim_start_matches('0'), "22");
    assert_eq!(image.text_of("/stdin").trim(), "0");
    assert_eq!(image.text_of("/network"), "lo\n");
    let status = image.text_of("/status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    };
    assert_eq!(field("CapEff:"), "00000000a80425fb", "the capabilities of a Docker container");
    assert_eq!(field("Seccomp:"), "2", "a filter is on");
    let devices = image.text_of("/devices");
    for device in ["null", "zero", "full", "random", "urandom", "tty"] {
        assert!(devices.lines().any(|line| line == device), "/dev/{device} is missing: {devices}");
    }
    assert!(!devices.contains("loop") && !devices.contains("sd"), "devices of the host: {devices}");
}

#[test]
fn mount_points_and_files_of_the_sandbox_are_not_in_the_image() {
    let (_world, image) = built("FROM busybox\nRUN true\nRUN cat /etc/hosts /etc/resolv.conf; echo $(hostname)\n");
    let mut paths = image.tree().paths().iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
    let (_other, base) = built("FROM busybox\n");
    let expected: Vec<_> = base.tree().paths().iter().map(|path| (*path).to_owned()).collect();
    paths.retain(|path| !expected.contains(path));
    assert_eq!(paths, [] as [String; 0], "what RUN true added");
}

#[test]
fn heredocs_are_scripts() {
    let (_world, image) = built(
        "FROM busybox\nRUN <<EOF\nset -e\nname=inner\necho \"$name\" >/one\nEOF\n\
         RUN <<EOF cat >/two\nhome $HOME\nEOF\nRUN <<'EOF' cat >/three\nhome $HOME\nEOF\n\
         RUN <<EOF\n#!/usr/bin/awk -f\nBEGIN { print \"awk\" >\"/four\" }\nEOF\n",
    );
    assert_eq!(image.text_of("/one"), "inner\n");
    assert_eq!(image.text_of("/two"), "home /root\n", "the shell expands");
    assert_eq!(image.text_of("/three"), "home $HOME\n");
    assert_eq!(image.text_of("/four"), "awk\n");
}

#[test]
fn what_a_command_left_running_ends_with_it() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN (while :; do sleep 1; done) & echo done >/a\nRUN cat /a >/b\n");
    let finished = world.build(&project, ["-t", "a"]).ok();
    assert!(finished.took.as_secs() < 60, "{finished}");
    assert_eq!(world.image("a").text_of("/b"), "done\n");
    world.nothing_is_left();
}

#[test]
fn a_failing_step_stops_the_build_and_names_line_command_and_status() {
    let world = World::with_busybox();
    for (dockerfile, line, status, command) in [
        ("FROM busybox\n\nRUN echo before; exit 7\nRUN echo after\n", 3, "7", "echo before; exit 7"),
        ("FROM busybox\nRUN [\"/bin/false\"]\n", 2, "1", "/bin/false"),
        ("FROM busybox\nRUN kill -9 $$\n", 2, "137", "kill -9"),
        ("# escape=`\nFROM busybox\nENV A=1\nRUN true && `\n    false\n", 4, "1", "true &&"),
        ("FROM busybox\nRUN <<EOF\nexit 3\nEOF\n", 2, "3", "<<EOF"),
        ("FROM busybox\nRUN no-such-command\n", 2, "127", "no-such-command"),
    ] {
        let project = world.project(dockerfile);
        let finished = world.build(&project, ["-t", "failed", "--progress", "plain"]).fails(1);
        let error = finished.error();
        for part in [status, command] {
            assert!(error.contains(part), "{part:?} is missing for {dockerfile:?}\n{finished}");
        }
        let places = [format!(":{line}"), format!("line {line}")];
        assert!(places.iter().any(|place| error.contains(place)), "line {line} is missing\n{finished}");
        assert!(!finished.err().contains("after\n"), "a step ran after the failure\n{finished}");
        world.hypr(["image", "inspect", "failed"]).fails(1);
    }
}

#[test]
fn programs_that_cannot_start_are_told() {
    let world = World::with_busybox();
    for (dockerfile, part) in [
        ("FROM busybox\nRUN [\"/no/such/program\"]\n", "/no/such/program"),
        ("FROM busybox\nRUN [\"/etc/passwd\"]\n", "/etc/passwd"),
        ("FROM scratch\nRUN echo hello\n", "/bin/sh"),
        ("FROM busybox\nUSER nosuchuser\nRUN true\n", "nosuchuser"),
    ] {
        let error = world.build(&world.project(dockerfile), ["-t", "a"]).fails(1).error();
        assert!(error.contains(part), "{part:?} is missing: {error}");
    }
}

#[test]
fn output_appears_with_the_step_it_belongs_to() {
    let world = World::with_busybox();
    let project =
        world.project("FROM busybox AS first\nRUN echo to-stdout; echo to-stderr >&2; printf 'no end of line'\n");
    let err = world.build(&project, ["--progress", "plain"]).ok().err();
    for text in ["to-stdout", "to-stderr", "no end of line"] {
        let line = err.lines().find(|line| line.ends_with(text)).unwrap_or_else(|| panic!("no {text} in\n{err}"));
        assert!(line.len() > text.len(), "no prefix: {line:?}");
    }
}

#[test]
fn control_bytes_of_a_step_do_not_reach_the_terminal_in_errors() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN printf '\\033[31mred\\n'; exit 1 # \u{1b}]0;title\u{7}\n");
    let finished = world.build(&project, ["--progress", "plain"]).fails(1);
    assert!(!finished.error().contains(['\u{1b}', '\u{7}']), "{:?}", finished.error());
}

#[test]
fn the_environment_of_the_base_counts() {
    let world = World::new();
    let base = Layout::busybox()
        .config("Env", json!(["PATH=/bin:/opt/base", "BASE=1"]))
        .config("User", json!("nobody"))
        .config("WorkingDir", json!("/tmp"))
        .config("Shell", json!(["/bin/sh", "-exc"]))
        .layer(Layer::new().file("opt/base/tool", 0o755, (0, 0), b"#!/bin/sh\necho tool $BASE\n"));
    world.load("base", &base);
    let project = world.project("FROM base\nRUN tool >out; pwd >>out; id -u >>out; echo \"$-\" >>out\n");
    world.build(&project, ["-t", "a"]).ok();
    let text = world.image("a").text_of("/tmp/out");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..3], ["tool 1", "/tmp", "65534"]);
    assert!(lines[3].contains('e') && lines[3].contains('x'), "{text}");
}

#[test]
fn hard_links_sparse_files_and_odd_names_survive() {
    let (_world, image) = built(
        "FROM busybox\nWORKDIR /d\nRUN echo one >a && ln a b && mkfifo p && truncate -s 5M sparse && printf x >>sparse \
         && touch \"$(printf 'new\\\\nline')\" 'a b' ü && chmod 6755 a\n",
    );
    let tree = image.tree();
    assert_eq!(tree.get("/d/p").kind, 'p');
    assert_eq!(tree.get("/d/sparse").size, (5 << 20) + 1);
    assert!(tree.has("/d/a b") && tree.has("/d/ü"));
    assert_eq!(tree.get("/d/b").mode, 0o6755);
    assert_eq!(image.text_of("/d/b"), "one\n");
    if let Some(mounted) = image.mount() {
        use std::os::unix::fs::MetadataExt;
        let (a, b) = (mounted.path("/d/a").metadata().unwrap(), mounted.path("/d/b").metadata().unwrap());
        assert_eq!((a.ino(), a.nlink()), (b.ino(), 2));
    }
}
