//! What a machine tells of itself.

use serde::{Deserialize, Serialize};

/// How a machine ended, and what it did until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How.
    pub end: End,
    /// What it did.
    pub activity: Activity,
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum End {
    /// [`Vm::stop`](crate::Vm::stop) was called.
    Stopped,
    /// The guest reset or powered off its machine, as Linux does after a panic too.
    Reset,
    /// The guest faulted while it handled a fault while it handled a fault.
    TripleFault,
    /// The guest wanted what this KVM cannot emulate.
    Unemulated,
    /// KVM did not go on, for this reason.
    Refused(String),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stopped => f.write_str("it was stopped"),
            Self::Reset => f.write_str("it reset itself"),
            Self::TripleFault => f.write_str("it ended in a triple fault"),
            Self::Unemulated => f.write_str("it wanted what this KVM cannot emulate"),
            Self::Refused(reason) => write!(f, "KVM does not go on: {reason}"),
        }
    }
}

/// What a machine did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// How often the guest had to be left.
    pub exits: Exits,
    /// Bytes that the guest wrote to its disks.
    pub bytes_written: u64,
    /// Requests to disks that the host could not carry out, such as for want of space.
    pub disk_errors: u64,
}

/// How often a guest was left, by what for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exits {
    /// To read from a port.
    pub port_reads: u64,
    /// To write to a port.
    pub port_writes: u64,
    /// To read a device's register.
    pub register_reads: u64,
    /// To write a device's register.
    pub register_writes: u64,
    /// For signals and the like.
    pub others: u64,
    /// All exits, including those that KVM answers by itself, where the kernel counts them (Linux 5.14 and later).
    pub all: Option<u64>,
}

impl Exits {
    /// Exits to the monitor.
    pub fn to_monitor(&self) -> u64 {
        let all = [self.port_writes, self.register_reads, self.register_writes, self.others];
        // The numbers come from the monitor's process, which a guest may have taken over.
        all.into_iter().fold(self.port_reads, u64::saturating_add)
    }
}

/// Which parts of the monitor's jail are closed. What the host's kernel lacks stays open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jail {
    /// The monitor has no privileged user: it is `nobody`, or whoever started it.
    pub user: bool,
    /// It has no capabilities, and can get none.
    pub capabilities: bool,
    /// Programs give it no privileges (`no_new_privs`).
    pub no_new_privileges: bool,
    /// It can open, make and remove no file (Landlock).
    pub landlock: bool,
    /// Landlock forbids it the rest as well: renames between folders, truncation, requests to devices. Linux 6.10 and
    /// later can.
    pub all_of_landlock: bool,
    /// It can make no core dump and no file larger than its disk.
    pub limits: bool,
    /// Each of its threads can make a few system calls alone (seccomp).
    pub seccomp: bool,
}

impl Jail {
    /// Each part's name, and whether it is closed.
    pub fn parts(&self) -> [(&'static str, bool); 7] {
        [
            ("unprivileged user", self.user),
            ("no capabilities", self.capabilities),
            ("no_new_privs", self.no_new_privileges),
            ("landlock", self.landlock),
            ("all of landlock", self.all_of_landlock),
            ("limits", self.limits),
            ("seccomp", self.seccomp),
        ]
    }
}
