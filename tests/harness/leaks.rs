//! What a build may not leave on the machine.
//!
//! The test process adopts the orphans of the programs that it starts, so a sandbox that outlives its build is a child
//! that nobody here started.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Once,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};

use super::process::started;

/// How long a killed process or a detached device may take to go.
const GRACE: Duration = Duration::from_secs(5);

/// Makes orphans children of this process, once.
pub(super) fn adopt_orphans() {
    static ADOPT: Once = Once::new();
    ADOPT.call_once(|| set_child_subreaper(Some(getpid())).expect("a process may adopt orphans"));
}

/// Waits until nothing is left of builds below `folder`; returns what still is when time is up.
pub(super) fn left_behind(folder: &Path, temporary: &[PathBuf]) -> Vec<String> {
    let since = Instant::now();
    loop {
        let mut left = mounts(folder);
        left.extend(loop_devices(folder));
        left.extend(orphans());
        for folder in temporary {
            left.extend(entries(folder).map(|path| format!("temporary file {}", path.display())));
        }
        if left.is_empty() || since.elapsed() > GRACE {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn mounts(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().expect("temporary folders have plain names");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    mounts.lines().filter(|line| line.contains(folder)).map(|line| format!("mount {line}")).collect()
}

fn loop_devices(folder: &Path) -> Vec<String> {
    let devices = entries(Path::new("/sys/block")).filter_map(|device| {
        let file = fs::read_to_string(device.join("loop/backing_file")).ok()?;
        Path::new(&file).starts_with(folder).then(|| format!("loop device {}: {file}", device.display()))
    });
    devices.collect()
}

/// Living children of this process that no test started. Dead ones are reaped.
fn orphans() -> Vec<String> {
    // Held throughout, so that no child is started between listing and looking.
    let started = started();
    let own = getpid().as_raw_nonzero().get().to_string();
    let mut found = Vec::new();
    for process in entries(Path::new("/proc")) {
        let Some(pid) = process.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(process.join("stat")) else { continue };
        // `PID (name) STATE PARENT ...`, where the name may hold anything.
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next(), fields.next());
        if parent != Some(&own) || u32::try_from(pid).is_ok_and(|pid| started.contains(&pid)) {
            continue;
        }
        match (state, Pid::from_raw(pid)) {
            (Some("Z"), Some(pid)) => drop(waitpid(Some(pid), WaitOptions::NOHANG)),
            _ => found.push(format!("process {stat}")),
        }
    }
    found
}

/// What is in a folder; nothing if it is not there.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}
