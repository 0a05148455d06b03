//! Whether there is a KVM to use, and if not, what is missing.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    time::{Duration, Instant},
};

use rustix::io::Errno;

use crate::{
    Error, Jail,
    error::one_line,
    program::{Monitor, PATIENCE, Unheard},
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
    ask(Monitor::start()?, kvm.as_fd(), PATIENCE)
}

fn ask(mut monitor: Monitor, kvm: BorrowedFd<'_>, patience: Duration) -> Result<Support, Error> {
    let deadline = Instant::now() + patience;
    // If it cannot be told any more, it has told why, or ended.
    let _ = monitor.send(&Request::Probe, &[kvm], deadline);
    match monitor.receive(Some(deadline)) {
        Ok(Report::Works { max_vcpus, jail }) => Ok(Support { max_vcpus, jail }),
        Ok(Report::Unfit(reason)) => Err(Error::Unfit(one_line(&reason))),
        Ok(Report::Failed { action, reason }) => Err(Error::Unfit(one_line(&format!("cannot {action}: {reason}")))),
        Ok(_) => Err(monitor.unruly("it spoke out of order").into_error(String::new())),
        // All that takes long is the guest's program, which takes no time at all.
        Err(Unheard::Silent) => Err(Error::Unfit("it does not come back from the guest".to_owned())),
        Err(unheard) => Err(unheard.into_error(String::new())),
    }
}

/// Opens KVM.
pub(crate) fn open() -> Result<File, Error> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Error::Architecture);
    }
    File::options().read(true).write(true).open(DEVICE).map_err(not_opened)
}

fn not_opened(error: io::Error) -> Error {
    match Errno::from_io_error(&error) {
        // A node may be there without a driver: the module is not loaded, or found virtualization turned off.
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => Error::Missing,
        Some(Errno::ACCESS) => Error::Denied { group: group_of(Path::new(DEVICE)) },
        // A container forbids the device itself (`EPERM`), which no group helps against.
        _ => Error::Open(error),
    }
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
            (Err(Error::Missing), exists) => assert!(!exists || File::open(DEVICE).is_err()),
            (Err(Error::Unfit(reason)), true) => assert!(!reason.is_empty()),
            (Err(Error::Denied { group }), true) => assert!(!group.is_empty()),
            (other, exists) => panic!("/dev/kvm exists: {exists}, and the probe says {other:?}"),
        }
    }

    #[test]
    fn a_node_without_a_driver_is_as_good_as_none() {
        for error in [Errno::NOENT, Errno::NODEV, Errno::NXIO] {
            assert!(matches!(not_opened(error.into()), Error::Missing), "{error}");
        }
        assert!(matches!(not_opened(Errno::ACCESS.into()), Error::Denied { .. }));
        assert!(matches!(not_opened(Errno::PERM.into()), Error::Open(_)));
        assert!(matches!(not_opened(Errno::MFILE.into()), Error::Open(_)));
    }

    #[test]
    fn a_kvm_that_does_not_come_back_is_unfit_and_a_monitor_that_ends_is_lost() {
        let null = File::open("/dev/null").unwrap();
        let (monitor, theirs) = Monitor::puppet();
        match ask(monitor, null.as_fd(), Duration::from_millis(50)) {
            Err(Error::Unfit(reason)) => assert_eq!(reason, "it does not come back from the guest"),
            other => panic!("{other:?}"),
        }
        drop(theirs);
        let (monitor, theirs) = Monitor::puppet();
        drop(theirs);
        assert!(matches!(ask(monitor, null.as_fd(), PATIENCE), Err(Error::Lost { .. })));
        let (monitor, theirs) = Monitor::puppet();
        crate::wire::send(&theirs, &Report::Bound, &[], None).unwrap();
        assert!(matches!(ask(monitor, null.as_fd(), PATIENCE), Err(Error::Unruly { .. })));
    }
}
