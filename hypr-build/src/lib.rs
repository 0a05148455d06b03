//! Builds container images from Dockerfiles, every `RUN` in a sandbox of its own.

#[cfg(feature = "build")]
mod builder;
#[cfg(feature = "build")]
mod context;
#[cfg(feature = "build")]
mod digest;
pub mod dockerfile;
#[cfg(feature = "build")]
mod error;
#[cfg(feature = "build")]
pub mod executor;
#[cfg(feature = "build")]
mod http;
#[cfg(feature = "build")]
pub mod image;
#[cfg(feature = "build")]
pub mod kernel;
pub mod lint;
#[cfg(feature = "build")]
mod plan;
#[cfg(feature = "build")]
pub mod progress;
#[cfg(feature = "build")]
mod remote;
#[cfg(feature = "build")]
mod secret;
#[cfg(feature = "build")]
mod session;
#[cfg(feature = "build")]
mod snapshot;
#[cfg(feature = "build")]
mod solve;
#[cfg(feature = "build")]
mod ssh;
#[cfg(feature = "build")]
pub mod store;

/// Whether this machine's KVM runs kernels; see [`hypr_vmm::probe`].
#[cfg(feature = "build")]
pub use hypr_vmm::probe as probe_kvm;

#[cfg(feature = "build")]
pub use self::{
    builder::{Builder, Isolation},
    context::{BadPattern, ContextError, Ignore},
    digest::{Digest, InvalidDigest},
    error::{Error, Location},
    executor::{Executor, Limits, Network},
    plan::{Outline, OutlineArg, OutlineMount, PlanError, Problem},
    progress::{Event, ProgressSink, StepInfo},
    remote::RemoteError,
    secret::Secret,
    session::{BuiltImage, Change, CheckReport, PathDifference, Target, Targets, Verified, prune},
    snapshot::{Layer, LayerId, Snapshot},
    solve::{StepError, UserError},
    ssh::SshAgent,
};
