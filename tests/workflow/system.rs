//! `hypr system df` and `hypr system prune`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hypr_tests::World;
use rustix::process::Signal;
use serde_json::Value;

const RANDOM: &str = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid >/random\n";

fn files(folder: PathBuf) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// Rows of `hypr system df` by kind: count, size, reclaimable.
#[track_caller]
fn usage(world: &World, kind: &str) -> [u64; 3] {
    let rows = world.hypr(["system", "df", "--format", "json"]).ok().json();
    let row = rows.as_array().unwrap().iter().find(|row| row["kind"] == kind).cloned().unwrap_or_default();
    ["count", "size", "reclaimable"].map(|field| row.get(field).and_then(Value::as_u64).unwrap_or(0))
}

/// Lets the records of the cache look as if they were used last a while ago.
fn age(world: &World, hours: u64) {
    for record in files(world.store().join("cache/steps")) {
        set_age(&record, hours);
    }
}

fn set_age(path: &Path, hours: u64) {
    let time = SystemTime::now() - Duration::from_secs(hours * 3600);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn prune_removes_the_cache_and_keeps_what_images_with_names_need() {
    let world = World::with_busybox();
    let named = world.project(RANDOM);
    world.build(&named, ["-t", "named"]).ok();
    let other = world.project("FROM busybox\nRUN seq 1 50000 >/numbers\nCOPY . /\n").file("file", "f");
    world.build(&other, ["--iidfile", "id"]).ok();
    let random = world.image("named").text_of("/random");
    let [count, size, reclaimable] = usage(&world, "images");
    assert!(count == 3 && size > reclaimable && reclaimable > 0, "{size} {reclaimable}");
    let table = String::from_utf8(world.hypr(["system", "df"]).ok().stdout().to_vec()).unwrap();
    assert!(table.contains("RECLAIMABLE") && table.contains("Build cache"), "{table}");
    // Who does not confirm keeps everything.
    world.hypr(["system", "prune"]).stdin("n\n").fails(1).says("nothing was removed");
    world.hypr(["system", "prune"]).fails(1);
    let pruned = world.hypr(["system", "prune"]).stdin("y\n").ok();
    assert!(String::from_utf8_lossy(pruned.stdout()).contains("Total reclaimed space: "), "{pruned}");
    assert_eq!(usage(&world, "images")[2], 0);
    assert_eq!(usage(&world, "image-layers")[2], 0);
    assert_eq!(usage(&world, "build-cache"), [0; 3]);
    assert_eq!(world.image("named").text_of("/random"), random);
    let text = "FROM named\nRUN test -s /random\n";
    world.build(&world.project(text), ["-t", "on-it"]).ok();
    world.hypr(["system", "prune", "--all", "--force"]).ok();
    for folder in ["layers", "cache/steps", "cache/context", "cache/mounts", "blobs/sha256", "spare", "unpacked"] {
        assert_eq!(files(world.store().join(folder)), Vec::<PathBuf>::new(), "{folder}");
    }
    assert!(!files(world.store().join("images")).iter().any(|path| path.is_file()));
    assert_eq!(world.hypr(["images", "--quiet"]).ok().stdout(), b"");
}

#[test]
fn until_and_keep_storage_remove_the_longest_unused_first() {
    let world = World::with_busybox();
    let old = world.project("FROM busybox\nCOPY big /old\n").file("big", noise(1, 300_000));
    let new = world.project("FROM busybox\nCOPY big /new\n").file("big", noise(2, 300_000));
    let is_cached = |project| {
        let finished = world.build(project, ["--output", "none", "--progress", "plain"]).ok();
        finished.err().contains("CACHED")
    };
    assert!(!is_cached(&old));
    age(&world, 48);
    assert!(!is_cached(&new));
    world.hypr(["system", "prune", "--force", "--filter", "until=72h"]).ok();
    assert!(is_cached(&new));
    // A use counts: the old layer was used just now.
    assert!(is_cached(&old));
    world.hypr(["system", "prune", "--force", "--filter", "until=24h"]).ok();
    assert!(is_cached(&old) && is_cached(&new));
    let layers = || files(world.store().join("layers")).len();
    let before = layers();
    for record in files(world.store().join("cache/steps")) {
        let text = fs::read_to_string(&record).unwrap();
        let key = text.contains("\"kind\":\"copy\"") || text.contains("\"kind\":\"lender\"");
        if key && fs::metadata(&record).unwrap().is_file() {
            set_age(&record, 30);
        }
    }
    // One of the two layers of 300 kB fits.
    assert!(is_cached(&new), "which is now the one used last");
    world.hypr(["system", "prune", "--force", "--keep-storage", "450k"]).ok();
    assert!(layers() < before);
    assert!(is_cached(&new));
    assert!(!is_cached(&old));
    for flags in [["--filter", "label=a"], ["--filter", "until=soon"], ["--keep-storage", "much"]] {
        world.hypr(["system", "prune", "--force"]).args(flags).fails(2);
    }
}

/// Bytes that no compressor makes smaller.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn layers_that_a_cache_mount_no_longer_has_are_removed() {
    let world = World::with_busybox();
    for number in 0..12 {
        let text = format!("FROM busybox\nRUN --mount=type=cache,target=/c echo {number} >>/c/log # {number}\n");
        world.build(&world.project(&text), ["--output", "none"]).ok();
    }
    age(&world, 48);
    for record in files(world.store().join("layers")) {
        set_age(&record, 48);
    }
    let before = files(world.store().join("layers")).len();
    world.hypr(["system", "prune", "--force", "--filter", "until=24h"]).ok();
    assert!(files(world.store().join("layers")).len() < before);
    let text = "FROM busybox\nRUN --mount=type=cache,target=/c cat /c/log >/log\n";
    world.build(&world.project(text), ["-t", "a"]).ok();
    let log = world.image("a").text_of("/log");
    assert_eq!(log.lines().count(), 12, "what the cache holds stays: {log}");
}

#[test]
fn a_prune_waits_for_no_build_and_harms_none() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN echo one >/one\nRUN while ! test -e /one/x; do sleep 0.1; done\n");
    let layers = || files(world.store().join("layers")).len();
    let before = layers();
    let running = world.build(&project, ["-t", "a"]).start();
    let started = std::time::Instant::now();
    // The first step's layer with its index: the second step runs then, and does not end.
    while layers() < before + 2 && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    world.hypr(["system", "prune", "--force"]).fails(1).says("in use");
    running.signal(Signal::TERM);
    running.wait();
    world.hypr(["system", "prune", "--force"]).ok();
}

#[test]
fn a_killed_prune_leaves_a_store_that_works() {
    let world = World::with_busybox();
    for round in 0..6_u64 {
        let projects: Vec<_> = (0..6)
            .map(|number| {
                world.project(&format!("FROM busybox\nCOPY . /{number}\n")).file("file", format!("{number} {round}"))
            })
            .collect();
        projects.iter().for_each(|project| drop(world.build(project, ["--output", "none"]).ok()));
        let running = world.hypr(["system", "prune", "--force"]).start();
        std::thread::sleep(Duration::from_millis(4 + 5 * round));
        running.signal(Signal::KILL);
        drop(running);
        world.build(&projects[0], ["-t", "a"]).ok();
        assert_eq!(world.image("a").text_of("/0/file"), format!("0 {round}"));
    }
    world.hypr(["system", "prune", "--force", "--all"]).ok();
    assert_eq!(files(world.store().join("layers")), Vec::<PathBuf>::new());
}
