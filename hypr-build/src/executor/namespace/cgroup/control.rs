//! The files of a control group, in both versions of the interface.

use std::{fs, io, path::Path, time::Duration};

use super::hierarchy::Version;

/// Reads a count of events from the group at a path.
pub(crate) type ReadCount = fn(Version, &Path) -> Option<u64>;

/// Microseconds in which a limited group may use a processor's worth of as many microseconds, times the limit.
const CPU_PERIOD: u64 = 100_000;

/// Limits memory, page cache included, to `bytes`; swap adds nothing to it.
pub(crate) fn limit_memory(version: Version, group: &Path, bytes: u64) -> io::Result<()> {
    match version {
        Version::V1 => {
            write(group, "memory.limit_in_bytes", bytes)?;
            optional(write(group, "memory.memsw.limit_in_bytes", bytes))
        }
        Version::V2 => {
            write(group, "memory.max", bytes)?;
            optional(write(group, "memory.swap.max", 0))
        }
    }
}

/// Limits processor time to that of `count` processors.
pub(crate) fn limit_cpus(version: Version, group: &Path, count: u32) -> io::Result<()> {
    let quota = CPU_PERIOD * u64::from(count);
    match version {
        Version::V1 => {
            write(group, "cpu.cfs_period_us", CPU_PERIOD)?;
            write(group, "cpu.cfs_quota_us", quota)
        }
        Version::V2 => fs::write(group.join("cpu.max"), format!("{quota} {CPU_PERIOD}")),
    }
}

/// Limits the number of processes and threads.
pub(crate) fn limit_pids(_: Version, group: &Path, count: u32) -> io::Result<()> {
    write(group, "pids.max", count.into())
}

/// How often the kernel killed a process of the group because its memory was used up.
pub(crate) fn out_of_memory_kills(version: Version, group: &Path) -> Option<u64> {
    match version {
        Version::V1 => field(group, "memory.oom_control", "oom_kill"),
        Version::V2 => field(group, "memory.events", "oom_kill"),
    }
}

/// How often a process or thread was refused because there were too many.
pub(crate) fn refused_forks(_: Version, group: &Path) -> Option<u64> {
    field(group, "pids.events", "max")
}

/// User and system time of all that ran in the group.
pub(crate) fn cpu_time(version: Version, group: &Path) -> Option<Duration> {
    match version {
        Version::V1 => number(group, "cpuacct.usage").map(Duration::from_nanos),
        Version::V2 => field(group, "cpu.stat", "usage_usec").map(Duration::from_micros),
    }
}

/// Bytes of memory at the highest; kernels before 5.19 do not tell in version 2.
pub(crate) fn peak_memory(version: Version, group: &Path) -> Option<u64> {
    match version {
        Version::V1 => number(group, "memory.max_usage_in_bytes"),
        Version::V2 => number(group, "memory.peak"),
    }
}

fn write(group: &Path, file: &str, value: u64) -> io::Result<()> {
    fs::write(group.join(file), value.to_string())
}

/// Passes over a file that kernels without swap accounting do not have.
fn optional(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(()),
        other => other,
    }
}

fn number(group: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()
}

/// The number after `name` in a file of lines `name number`.
fn field(group: &Path, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(group.join(file)).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
