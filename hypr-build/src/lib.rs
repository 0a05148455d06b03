//! Builds container images from Dockerfiles, every `RUN` in a sandbox of its own.

#[cfg(feature = "build")]
mod context;
#[cfg(feature = "build")]
mod digest;
pub mod dockerfile;
#[cfg(feature = "build")]
pub mod executor;
#[cfg(feature = "build")]
pub mod image;
#[cfg(feature = "build")]
mod snapshot;
#[cfg(feature = "build")]
pub mod store;

#[cfg(feature = "build")]
pub use self::{
    digest::{Digest, InvalidDigest},
    snapshot::{Layer, LayerId, Snapshot},
};
