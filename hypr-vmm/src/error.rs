//! What goes wrong with machines.

use std::io;

use crate::Ended;

/// Why a machine could not be started, or was lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The monitor knows x86-64 on Linux alone.
    #[error("microVMs need Linux on x86-64")]
    Architecture,
    /// The library was built without the monitor.
    #[error("built without the monitor: {0}")]
    NotBuilt(&'static str),
    /// There is no `/dev/kvm`, or nothing behind it.
    #[error(
        "there is no KVM behind /dev/kvm: load the module kvm_intel or kvm_amd, or turn virtualization on in the firmware"
    )]
    Missing,
    /// `/dev/kvm` may not be opened.
    #[error("/dev/kvm may not be opened: add the user to its group, {group}")]
    Denied {
        /// The group that it belongs to, by name or number.
        group: String,
    },
    /// `/dev/kvm` cannot be opened.
    #[error("cannot open /dev/kvm")]
    Open(#[source] io::Error),
    /// KVM does not do what a kernel needs.
    #[error("this machine's KVM is of no use: {0}")]
    Unfit(String),
    /// The system lets no program be started from memory, which the monitor is.
    #[error("programs may not be started from memory, which the monitor is; see the sysctl vm.memfd_noexec")]
    FromMemory(#[source] io::Error),
    /// The monitor's process could not be started or talked to.
    #[error("cannot {action}")]
    Monitor {
        /// What was being done.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The machine could not be built or its kernel not be loaded.
    #[error("cannot {action}: {reason}")]
    Setup {
        /// A verb and its object.
        action: String,
        /// Why not.
        reason: String,
    },
    /// Extents cannot be shown on a disk. The machine goes on as before.
    #[error("cannot show these extents on disk {disk}: {reason}")]
    Extents {
        /// The disk's number.
        disk: usize,
        /// Why not.
        reason: String,
    },
    /// The machine ended by itself.
    #[error("the machine is gone: {}{}", ended.end, last_words(console))]
    Ended {
        /// How.
        ended: Box<Ended>,
        /// The end of what the kernel printed.
        console: String,
    },
    /// The monitor did not answer in time, and was killed.
    #[error("the monitor did not answer in time, and was killed{}", last_words(console))]
    Silent {
        /// The end of what the kernel printed.
        console: String,
    },
    /// The monitor said what it may not say, which it does when a guest has taken it over, and was killed.
    #[error("the monitor said what it may not say ({what}), and was killed{}", last_words(console))]
    Unruly {
        /// What is wrong with it.
        what: String,
        /// The end of what the kernel printed.
        console: String,
    },
    /// The monitor's process ended, or was killed, without a word.
    #[error("the monitor was lost ({status}){}", last_words(console))]
    Lost {
        /// How its process ended.
        status: String,
        /// The end of what the kernel printed.
        console: String,
    },
}

/// The end of a console, on lines of its own and without what would confuse a terminal.
fn last_words(console: &str) -> String {
    let lines: Vec<String> = console.lines().map(one_line).filter(|line| !line.trim().is_empty()).collect();
    let newest = &lines[lines.len().saturating_sub(12)..];
    newest.iter().fold(String::new(), |text, line| text + "\n  | " + line)
}

/// Text of a length and kind that fits into an error, whoever wrote it.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}
