//! What a step may leave behind: nothing.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::layers::Workshop;

/// Waits until no process and no scratch directory of `workshop` is left.
///
/// What was abandoned is removed a moment later, but it is removed.
pub(crate) async fn wait_until_gone(workshop: &Workshop) {
    wait_until("processes and scratch directories are left", || {
        let mut left: Vec<_> = processes_in(workshop.path());
        left.extend(fs::read_dir(workshop.scratch()).unwrap().map(|entry| entry.unwrap().path().display().to_string()));
        left
    })
    .await;
}

/// Waits until no loop device has a file in `directory` and no mount is there.
pub(crate) async fn wait_until_unmounted(directory: &Path) {
    wait_until("mounts and loop devices are left", || {
        let mut left = loop_devices_of(directory);
        let directory = directory.to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(directory)).map(str::to_owned));
        left
    })
    .await;
}

/// The processes whose working directory is in `directory`, as an agent's is.
pub(crate) fn processes_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let inside =
        entries.filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory)));
    inside.map(|entry| entry.path().display().to_string()).collect()
}

fn loop_devices_of(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir("/sys/block").unwrap().flatten();
    let backing = entries.filter_map(|entry| fs::read_to_string(entry.path().join("loop/backing_file")).ok());
    backing.filter(|file| Path::new(file.trim()).starts_with(directory)).collect()
}

pub(crate) async fn wait_until(what: &str, mut left: impl FnMut() -> Vec<String>) {
    let begin = Instant::now();
    loop {
        let found = left();
        if found.is_empty() {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}: {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
