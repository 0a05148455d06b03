//! What a process is given, and how its end is told.

use hypr_build::executor::{Executor, ExecutorError};

use crate::{layers::Workshop, run::Step};

pub(crate) async fn exit_status_is_an_outcome(executor: &dyn Executor, workshop: &Workshop) {
    let busybox = workshop.busybox();
    for (script, status) in
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
    {
        let (outcome, recording) = Step::shell(&busybox, script).run(executor).await;
        assert_eq!(outcome.unwrap().status, status, "{script}\n{recording}");
    }
}

pub(crate) async fn output_and_errors_are_apart(executor: &dyn Executor, workshop: &Workshop) {
    let recording = Step::shell(&workshop.busybox(), "echo out; echo error >&2").succeed(executor).await;
    assert_eq!((&recording.stdout[..], &recording.stderr[..]), (&b"out\n"[..], &b"error\n"[..]));
}

pub(crate) async fn much_output_arrives_whole(executor: &dyn Executor, workshop: &Workshop) {
    let script = "seq 1 300000; seq 1 300000 >&2";
    let recording = Step::shell(&workshop.busybox(), script).succeed(executor).await;
    let expected: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert!(recording.stdout == expected.as_bytes(), "{} bytes of output", recording.stdout.len());
    assert!(recording.stderr == expected.as_bytes(), "{} bytes of errors", recording.stderr.len());
}

pub(crate) async fn the_environment_is_what_was_given(executor: &dyn Executor, workshop: &Workshop) {
    let step = Step::program(&workshop.busybox(), &["/bin/env"]).env(&["A=1", "EMPTY=", "TEXT=a b\nc"]);
    assert_eq!(step.succeed(executor).await.text(), "PATH=/bin:/usr/bin\nA=1\nEMPTY=\nTEXT=a b\nc\n");
}

pub(crate) async fn the_working_directory_must_exist(executor: &dyn Executor, workshop: &Workshop) {
    let busybox = workshop.busybox();
    let recording = Step::program(&busybox, &["pwd"]).cwd("/usr/bin").succeed(executor).await;
    assert_eq!(recording.text(), "/usr/bin\n");
    for directory in ["/nowhere", "/etc/passwd"] {
        let (outcome, _) = Step::program(&busybox, &["pwd"]).cwd(directory).run(executor).await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, ExecutorError::Start { .. }), "{error:?}");
        assert!(error.to_string().contains(directory), "{error}");
    }
}

pub(crate) async fn user_and_groups_are_what_was_given(executor: &dyn Executor, workshop: &Workshop) {
    let busybox = workshop.busybox_and(|layer| {
        layer.directory("mine", 0o777);
    });
    let script = "id -u; id -g; id -G; touch /mine/file; cat /mine/file";
    let recording = Step::shell(&busybox, script).user(1000, 1001, &[1002, 7]).succeed(executor).await;
    assert_eq!(recording.text(), "1000\n1001\n1001 7 1002\n".to_owned(), "{recording}");
    assert_eq!(recording.changes().last().unwrap().owner, (1000, 1001));
}

pub(crate) async fn the_mask_of_new_files_is_022(executor: &dyn Executor, workshop: &Workshop) {
    let recording = Step::shell(&workshop.busybox(), "umask; touch /file").succeed(executor).await;
    assert_eq!(recording.text(), "0022\n");
    assert_eq!(recording.changes().last().unwrap().mode, 0o644);
}

pub(crate) async fn standard_input_is_empty(executor: &dyn Executor, workshop: &Workshop) {
    let recording = Step::shell(&workshop.busybox(), "wc -c; readlink /proc/self/fd/0").succeed(executor).await;
    assert_eq!(recording.text(), "0\n/dev/null\n");
}

pub(crate) async fn programs_are_found_in_the_path(executor: &dyn Executor, workshop: &Workshop) {
    let busybox = workshop.busybox_and(|layer| {
        layer.file("opt/tool", 0o755, b"#!/bin/sh\necho found\n").file("opt/sub/tool", 0o644, b"not executable");
    });
    let step = Step::program(&busybox, &["tool"]).env(&[]);
    for path in ["PATH=/nowhere:/opt/sub:/opt", "PATH=:/nowhere"] {
        let mut step = step.clone().cwd("/opt");
        step.process.set_env(Some(vec![path.to_owned()]));
        assert_eq!(step.succeed(executor).await.text(), "found\n", "{path}");
    }
}

pub(crate) async fn what_cannot_be_executed_says_why(executor: &dyn Executor, workshop: &Workshop) {
    let busybox = workshop.busybox_and(|layer| {
        layer.file("data", 0o755, b"\0\0no program\0").file("plain", 0o644, b"#!/bin/sh\n").file(
            "lost",
            0o755,
            b"#!/no/interpreter\n",
        );
    });
    for (program, reason) in [
        ("nothing", "not found"),
        ("/bin/nothing", "not found"),
        ("/plain", "permission denied"),
        ("/tmp", "permission denied"),
        ("/data", "exec format error"),
        ("/lost", "interpreter"),
        ("", "empty"),
    ] {
        let (outcome, recording) = Step::program(&busybox, &[program]).run(executor).await;
        let Err(ExecutorError::Start { program: named, reason: told }) = outcome else {
            panic!("{program}: {outcome:?}\n{recording}");
        };
        assert_eq!(named, program);
        assert!(told.contains(reason), "{program}: {told}");
    }
}

pub(crate) async fn a_script_of_the_dockerfile_is_found(executor: &dyn Executor, workshop: &Workshop) {
    let mut step = Step::program(&workshop.busybox(), &["/dev/pipes/EOF", "argument"]);
    step.script = Some(("/dev/pipes/EOF".to_owned(), b"#!/bin/sh\necho \"$0 $1\"\n".to_vec()));
    let recording = step.succeed(executor).await;
    assert_eq!(recording.text(), "/dev/pipes/EOF argument\n");
    assert_eq!(recording.paths(), [""; 0]);
}

pub(crate) async fn every_user_may_open_standard_output(executor: &dyn Executor, workshop: &Workshop) {
    let script = "echo out >/dev/stdout; echo error >/dev/stderr";
    let recording = Step::shell(&workshop.busybox(), script).user(1000, 1000, &[]).succeed(executor).await;
    assert_eq!((&recording.stdout[..], &recording.stderr[..]), (&b"out\n"[..], &b"error\n"[..]));
}
