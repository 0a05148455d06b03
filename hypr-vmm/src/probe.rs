//! Whether there is a KVM to use, and if not, what is missing.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
};

use crate::{
    Error, Jail,
    error::one_line,
    program::{Monitor, PATIENCE},
    wire::{Report, Request},
};

const DEVICE: &str = "/dev/kvm";

/// What a KVM that runs kernels can do, and what the monitor would be confined by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Support {
    /// The most virtual processors that one guest may have.
    pub max_vcpus: usize,
    /// Which parts of the jail this machine has.
    pub jail: Jail,
}

/// Finds out whether KVM runs kernels, by running a program of ten instructions that those need.
///
/// # Errors
/// Says what is missing, and the way out where there is one.
pub fn probe() -> Result<Support, Error> {
    let kvm = open()?;
    if Path::new("/sys/module/kvm_pvm").exists() {
        let reason = "it is the module kvm_pvm, which interprets guests and cannot run a kernel";
        return Err(Error::Unfit(reason.to_owned()));
    }
    let mut monitor = Monitor::start()?;
    let failed = |source| Error::Monitor { action: "ask the monitor", source };
    monitor.send(&Request::Probe, &[kvm.as_fd()]).map_err(failed)?;
    match monitor.receive(Some(PATIENCE)) {
        Ok(Some(Report::Works { max_vcpus, jail })) => Ok(Support { max_vcpus, jail }),
        Ok(Some(Report::Unfit(reason))) => Err(Error::Unfit(one_line(&reason))),
        Ok(Some(Report::Failed { action, reason })) => {
            Err(Error::Unfit(one_line(&format!("cannot {action}: {reason}"))))
        }
        Ok(Some(_)) => Err(failed(io::Error::other("it spoke out of order"))),
        // A KVM that never leaves the guest is of as little use as one that fails.
        Ok(None) | Err(_) => Err(Error::Lost { status: monitor.end(), console: String::new() }),
    }
}

/// Opens KVM.
pub(crate) fn open() -> Result<File, Error> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Error::Architecture);
    }
    File::options().read(true).write(true).open(DEVICE).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing,
        // A container forbids the device itself, which no group helps against.
        io::ErrorKind::PermissionDenied if error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()) => {
            Error::Open(error)
        }
        io::ErrorKind::PermissionDenied => Error::Denied { group: group_of(Path::new(DEVICE)) },
        _ => Error::Open(error),
    })
}

/// The name of the group that `path` belongs to, or its number.
fn group_of(path: &Path) -> String {
    let Ok(metadata) = fs::metadata(path) else { return "kvm".to_owned() };
    let number = metadata.gid().to_string();
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&number)).then(|| name.to_owned())
    });
    name.unwrap_or(number)
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_kvm_is_told_what_is_missing_and_one_with_it_has_processors() {
        match (probe(), Path::new(DEVICE).exists()) {
            (Ok(kvm), true) => assert!(kvm.max_vcpus >= 1),
            (Err(Error::Missing), exists) => assert!(!exists),
            (Err(Error::Unfit(reason)), true) => assert!(!reason.is_empty()),
            (Err(Error::Denied { group }), true) => assert!(!group.is_empty()),
            (other, exists) => panic!("/dev/kvm exists: {exists}, and the probe says {other:?}"),
        }
    }
}
