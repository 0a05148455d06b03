//! A minimal KVM virtual machine monitor for one-shot sandboxes.
//!
//! A [`Vm`] boots a kernel with disks and a channel, runs until it is stopped, and leaves nothing. Each runs in a
//! process of its own, which the library starts from memory and which is in a jail before the guest's first
//! instruction; the program that uses the library need not know.
//!
//! ```no_run
//! use std::{fs::File, io::Read};
//! use hypr_vmm::{Disk, Vm};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut vm = Vm::builder(hypr_vmm::kernel::open("vmlinux")?)
//!     .initramfs(File::open("initramfs.cpio")?)
//!     .memory(256)
//!     .disk(Disk::read_only(File::open("root.squashfs")?)?)
//!     .start()?;
//! let mut said = String::new();
//! vm.channel().read_to_string(&mut said)?;
//! println!("the guest said {said:?} after {} exits", vm.stop()?.activity.exits.to_monitor());
//! # Ok(())
//! # }
//! ```
//!
//! The guest finds its disks as `/dev/vda`, `/dev/vdb` and so on, and the channel as `/dev/vport0p0`. It needs a kernel
//! for x86-64 with virtio over memory-mapped registers, found through ACPI; stock kernels of distributions have that.

#[cfg(feature = "library")]
mod config;
#[cfg(feature = "library")]
mod error;
#[cfg(feature = "library")]
pub mod kernel;
#[cfg(all(any(test, feature = "monitor"), target_os = "linux", target_arch = "x86_64"))]
#[doc(hidden)]
#[cfg_attr(
    not(feature = "monitor"),
    allow(dead_code, unreachable_pub, reason = "the monitor's program uses all of it")
)]
pub mod monitor;
mod outcome;
#[cfg(feature = "library")]
mod probe;
#[cfg(feature = "library")]
mod program;
#[cfg(feature = "library")]
mod vm;
mod wire;

pub use self::outcome::{Activity, End, Ended, Exits, Jail};
#[cfg(feature = "library")]
pub use self::{
    config::{Disk, Extent, VmBuilder},
    error::Error,
    probe::{Support, probe},
    vm::Vm,
};
