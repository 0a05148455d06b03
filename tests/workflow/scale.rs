//! What big builds cost, counted in bytes: how often a layer is written, and how much memory a build takes.

use std::{fs, time::Duration};

use hypr_tests::World;

/// Bytes without a pattern, so that they are as long in a layer.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// 500 layers on a large one: eight times eight times eight are more than that, so each may be written again three times,
/// but not once for every `RUN`.
#[test]
fn five_hundred_runs_on_a_large_layer_write_it_a_few_times() {
    const RUNS: usize = 500;
    const BIG: usize = 8 << 20;
    let world = World::with_busybox();
    let runs: String = (0..RUNS).map(|n| format!("RUN echo {n} >/n{n}\n")).collect();
    let project = world.project(&format!("FROM busybox\nCOPY big /big\n{runs}")).file("big", noise(1, BIG));
    world.build(&project, ["-t", "a"]).limit(Duration::from_secs(1200)).ok();

    let tag =
        fs::read(world.store().join("images/docker.io/library/a/_tags/latest.json")).expect("the image has a name");
    let manifest: serde_json::Value = serde_json::from_slice(&tag).expect("a manifest is JSON");
    let mut own: Vec<String> = manifest["layers"]
        .as_array()
        .expect("a manifest has layers")
        .iter()
        .map(|layer| format!("{}.squashfs", layer["file"].as_str().expect("a layer has a digest")))
        .collect();
    assert!(own.len() > RUNS, "each step has a layer: {}", own.len());
    own.sort();
    own.dedup();

    let (mut of_steps, mut of_groups, mut groups) = (0, 0, 0);
    for file in fs::read_dir(world.store().join("layers")).expect("there are layers").flatten() {
        let name = file.file_name().into_string().expect("names of layers are text");
        if !name.ends_with(".squashfs") {
            continue;
        }
        let length = file.metadata().expect("a layer is there").len();
        match own.binary_search(&name) {
            Ok(_) => of_steps += length,
            Err(_) => {
                of_groups += length;
                groups += 1;
            }
        }
    }
    assert!(groups > RUNS / 8 - 2 && groups < RUNS / 4, "{groups} groups were merged");
    assert!(of_steps > BIG as u64, "{of_steps} bytes in layers of steps");
    assert!(of_groups < 3 * of_steps, "{of_groups} bytes in groups of layers that have {of_steps}");
}

/// A context of more bytes than a build may take, in files of all sizes.
#[test]
fn a_build_takes_less_memory_than_its_context() {
    const LIMIT: u64 = 256 << 20;
    let world = World::with_busybox();
    let mut project = world.project("FROM busybox\nCOPY . /all\nCOPY --link small /again\n");
    for number in 0..20_000 {
        project = project.file(&format!("small/d{}/f{number}", number / 100), noise(number, 2000));
    }
    for number in 0..6 {
        project = project.file(&format!("big{number}"), noise(number + 100_000, 48 << 20));
    }
    let mut build = world.build(&project, ["-t", "a"]).limit(Duration::from_secs(1200)).start();
    let status = format!("/proc/{}/status", build.id());
    let mut highest = 0;
    // The kernel keeps the highest; it is looked at until the process is gone.
    while build.is_running() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        highest = highest.max(kibibytes.unwrap_or(0) << 10);
        std::thread::sleep(Duration::from_millis(2));
    }
    let finished = build.wait();
    assert!(finished.status.success(), "{finished}");
    assert!(highest > 0 && highest < LIMIT, "{highest} bytes of memory");
}
