//! Builds that are stopped: by the user, or by anything at all.

use std::{
    fs,
    time::{Duration, Instant},
};

use hypr_tests::World;
use rustix::process::Signal;

/// Waits until a step sleeps for this many seconds.
#[track_caller]
fn wait_for_sleep(seconds: &str) {
    let since = Instant::now();
    let command = format!("sleep {seconds}");
    let runs = || {
        fs::read_dir("/proc").expect("/proc is mounted").flatten().any(|process| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ").contains(&command)
        })
    };
    while !runs() {
        assert!(since.elapsed() < Duration::from_secs(120), "no step with `{command}` came to run");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_interrupt_ends_the_build_at_once_and_leaves_nothing() {
    for (signal, seconds) in [(Signal::INT, "98761"), (Signal::TERM, "98762")] {
        let world = World::with_busybox();
        let project = world.project(&format!("FROM busybox\nRUN sleep {seconds}\n"));
        let running = world.build(&project, ["-t", "a"]).start();
        wait_for_sleep(seconds);
        running.signal(signal);
        let since = Instant::now();
        let finished = running.wait();
        assert!(!finished.status.success() && finished.status.code() != Some(2), "{finished}");
        assert!(since.elapsed() < Duration::from_secs(10), "{finished}");
        world.nothing_is_left();
        world.hypr(["image", "inspect", "a"]).fails(1);
    }
}

#[test]
fn a_killed_build_takes_its_sandbox_along_and_the_next_one_is_right() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN echo one >/one\nRUN sleep 9.876; echo two >/two\n");
    let running = world.build(&project, ["-t", "a"]).start();
    wait_for_sleep("9.876");
    running.signal(Signal::KILL);
    assert!(!running.wait().status.success());
    let work = || fs::read_dir(world.store().join("tmp")).expect("the store's tmp").count();
    assert!(work() > 0, "the killed build was in the middle of something");
    world.build(&project, ["-t", "a"]).ok();
    assert_eq!(work(), 0);
    let image = world.image("a");
    assert_eq!((image.text_of("/one"), image.text_of("/two")), ("one\n".into(), "two\n".into()));
    world.nothing_is_left();
}

#[test]
fn killed_at_any_time_the_build_comes_to_the_same_image() {
    let world = World::with_busybox();
    let dockerfile = "FROM busybox AS one\nCOPY . /context\nRUN seq 1 10000 >/numbers\n\
                      FROM busybox\nCOPY --from=one /numbers /context /all/\nRUN rm /all/numbers && echo end >/end\n";
    let fresh = |world: &World| {
        (0..40).fold(world.project(dockerfile), |p, n| p.file(&format!("file{n}"), format!("{n}\n").repeat(5000)))
    };
    let project = fresh(&world);
    let mut killed = 0;
    for milliseconds in (0..).map(|n| 10 + 35 * n).take(14) {
        let mut running = world.build(&project, ["-t", "a"]).start();
        std::thread::sleep(Duration::from_millis(milliseconds));
        killed += usize::from(running.is_running());
        running.signal(Signal::KILL);
        drop(running);
        // The next kill is to come upon more work.
        if milliseconds % 3 == 0 {
            let _ = fs::remove_dir_all(world.store().join("cache/steps"));
            world.load("busybox", &hypr_tests::Layout::busybox());
        }
    }
    assert!(killed > 0, "every build was over before it could be killed");
    world.build(&project, ["-t", "a"]).env("SOURCE_DATE_EPOCH", "0").ok();
    let other = World::with_busybox();
    other.build(&project, ["-t", "a"]).env("SOURCE_DATE_EPOCH", "0").ok();
    assert_eq!(world.image("a").squashfs_digest(), other.image("a").squashfs_digest());
    world.nothing_is_left();
}
