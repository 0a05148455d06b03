//! A minimal KVM virtual machine monitor for one-shot sandboxes.
//!
//! Of the monitor itself nothing is here yet. What is here tells whether this machine has a KVM that it could use:
//!
//! ```
//! match hypr_vmm::probe() {
//!     Ok(kvm) => println!("KVM with up to {} processors a guest", kvm.max_vcpus),
//!     Err(error) => println!("no KVM: {error}"),
//! }
//! ```

mod probe;

pub use probe::{Error, Support, probe};
