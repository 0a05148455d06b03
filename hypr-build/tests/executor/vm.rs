//! The contract with microVMs, and what is theirs alone.
//!
//! Where KVM does not run kernels, or there is no guest kernel, these are skipped; `tests/lab` has a machine with both.

use hypr_build::{
    executor::VmExecutor,
    kernel::{KernelSource, Kernels},
};

use crate::{layers::Workshop, run::chain};

/// An executor, or `None` where microVMs cannot be used.
async fn executor(workshop: &Workshop) -> Option<VmExecutor> {
    let skip = |reason: String| {
        assert!(std::env::var_os("HYPR_TEST_NEEDS_VM").is_none(), "{reason}");
        eprintln!("skipped: {reason}");
        None
    };
    if let Err(error) = hypr_vmm::probe() {
        return skip(chain(&error));
    }
    // One folder for all tests, so that the kernel is made ready once.
    let kernels = Kernels::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/kernels"));
    match kernels.find(&KernelSource::from_environment()) {
        Ok(kernel) => Some(VmExecutor::new(kernel, workshop.scratch())),
        Err(error) => skip(chain(&error)),
    }
}

crate::contract! { super::super::vm::executor }
