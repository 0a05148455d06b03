//! Whether there is a KVM to use, and if not, what is missing.

use std::io;

/// The only version of KVM's interface there has been since Linux 2.6.22 (KVM API, "KVM_GET_API_VERSION").
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const API_VERSION: i32 = 12;

/// What a KVM that answers, and has what a guest with an in-kernel interrupt controller needs, can do.
///
/// That it can run a kernel is not said: some interpret ordinary guests, and a guest has to be run to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Support {
    /// The most virtual processors that one guest may have.
    pub max_vcpus: usize,
}

/// Why KVM cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The monitor knows x86-64 on Linux alone.
    #[error("microVMs need Linux on x86-64")]
    Architecture,
    /// There is no `/dev/kvm`.
    #[error("there is no /dev/kvm: load the module kvm_intel or kvm_amd, or turn virtualization on in the firmware")]
    Missing,
    /// `/dev/kvm` may not be opened.
    #[error("/dev/kvm may not be opened: add the user to the group that it belongs to, usually kvm")]
    Denied,
    /// `/dev/kvm` cannot be opened.
    #[error("cannot open /dev/kvm")]
    Open(#[source] io::Error),
    /// KVM speaks another version of its interface.
    #[error("KVM has version {0} of its interface, which must be 12")]
    Version(i32),
    /// KVM lacks a capability.
    #[error("KVM lacks {0}")]
    Lacks(&'static str),
}

/// Opens KVM and asks for what a monitor needs.
///
/// # Errors
/// Says what is missing, and the way out where there is one.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub fn probe() -> Result<Support, Error> {
    use kvm_ioctls::Cap;
    let kvm = kvm_ioctls::Kvm::new().map_err(|error| {
        let error = io::Error::from_raw_os_error(error.errno());
        match error.kind() {
            io::ErrorKind::NotFound => Error::Missing,
            io::ErrorKind::PermissionDenied => Error::Denied,
            _ => Error::Open(error),
        }
    })?;
    match kvm.get_api_version() {
        API_VERSION => {}
        version => return Err(Error::Version(version)),
    }
    for (capability, name) in [
        (Cap::Irqchip, "an in-kernel interrupt controller"),
        (Cap::Ioeventfd, "ioeventfd"),
        (Cap::Irqfd, "irqfd"),
        (Cap::UserMemory, "guest memory of the monitor's own"),
    ] {
        if !kvm.check_extension(capability) {
            return Err(Error::Lacks(name));
        }
    }
    Ok(Support { max_vcpus: kvm.get_max_vcpus() })
}

/// Says that there is no monitor for this machine.
///
/// # Errors
/// Always [`Error::Architecture`].
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub fn probe() -> Result<Support, Error> {
    Err(Error::Architecture)
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_kvm_is_told_what_is_missing_and_one_with_it_has_processors() {
        match (probe(), std::path::Path::new("/dev/kvm").exists()) {
            (Ok(kvm), true) => assert!(kvm.max_vcpus >= 1),
            (Err(Error::Missing), exists) => assert!(!exists),
            (Err(error), true) => assert!(!error.to_string().is_empty()),
            (other, exists) => panic!("/dev/kvm exists: {exists}, and the probe says {other:?}"),
        }
    }
}
