//! What of `/proc` and `/sys` a process must not see or not write: the lists of Docker's default.

use std::{
    ffi::{CStr, CString},
    fs, io,
};

use crate::{
    failure::{Context, Failed},
    sys::mount::{self, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY, RECURSIVE},
};

/// Replaced by nothing.
const MASKED: [&CStr; 12] = [
    c"/proc/acpi",
    c"/proc/asound",
    c"/proc/interrupts",
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/latency_stats",
    c"/proc/sched_debug",
    c"/proc/scsi",
    c"/proc/timer_list",
    c"/proc/timer_stats",
    c"/sys/devices/virtual/powercap",
    c"/sys/firmware",
];

/// Where each processor has a directory, which may hold one that tells how hot it is, and so what neighbours do.
const PROCESSORS: &str = "/sys/devices/system/cpu";

/// Made read-only.
const READ_ONLY_PATHS: [&CStr; 5] = [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"];

/// Applies both lists to the root that this process is in. What a kernel does not have is passed over.
pub(crate) fn apply() -> Result<(), Failed> {
    for path in MASKED {
        mask(path).context(&format!("mask {}", path.to_string_lossy()))?;
    }
    for path in thermal_histories() {
        mask(&path).context(&format!("mask {}", path.to_string_lossy()))?;
    }
    for path in READ_ONLY_PATHS {
        make_read_only(path).context(&format!("make {} read-only", path.to_string_lossy()))?;
    }
    Ok(())
}

/// The directories of all processors that tell about their temperature. A kernel without them has none to mask.
fn thermal_histories() -> Vec<CString> {
    let entries = fs::read_dir(PROCESSORS).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path().join("thermal_throttle")).filter(|path| path.is_dir());
    paths.filter_map(|path| CString::new(path.into_os_string().into_encoded_bytes()).ok()).collect()
}

fn mask(path: &CStr) -> io::Result<()> {
    match kind(path)? {
        None => Ok(()),
        Some(Kind::Directory) => {
            mount::mount(c"tmpfs", path, c"tmpfs", READ_ONLY | NO_SUID | NO_DEV | NO_EXEC, c"size=0,mode=555")
        }
        Some(Kind::Other) => mount::bind(c"/dev/null", path, 0),
    }
}

fn make_read_only(path: &CStr) -> io::Result<()> {
    if kind(path)?.is_none() {
        return Ok(());
    }
    mount::bind(path, path, RECURSIVE)?;
    mount::remount_bind(path, READ_ONLY | NO_SUID | NO_DEV | NO_EXEC)
}

enum Kind {
    Directory,
    Other,
}

fn kind(path: &CStr) -> io::Result<Option<Kind>> {
    match fs::symlink_metadata(&*path.to_string_lossy()) {
        Ok(metadata) => Ok(Some(if metadata.is_dir() { Kind::Directory } else { Kind::Other })),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(None),
        Err(error) => Err(error),
    }
}
