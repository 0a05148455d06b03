//! Where images come from: registries, OCI layouts, archives.
//!
//! Every source gives away the same two things, documents and blobs, by their descriptors; what they mean is worked
//! out in one place, [`resolve`]. Nothing that a source says is trusted: documents are bounded and checked here, blobs
//! by whoever reads them.

mod archive;
mod document;
mod files;
mod layout;
mod registry;
mod resolve;

use std::{fmt, io::Read};

use async_trait::async_trait;

pub(crate) use self::resolve::{blocking, resolve};
pub use self::{
    archive::ArchiveSource,
    document::{Descriptor, DescriptorPlatform, Document},
    layout::{LayoutLocation, LayoutSource},
    registry::{Credentials, RegistryClient, RegistrySource},
    resolve::{ResolvedImage, ResolvedLayer},
};
use super::ImageError;

/// Bytes that a manifest or an index may have.
pub(crate) const MANIFEST_LIMIT: u64 = 4 << 20;

/// Bytes that an image configuration may have.
pub(crate) const CONFIG_LIMIT: u64 = 8 << 20;

/// One image of a registry, a layout or an archive.
///
/// A source fetches; it neither interprets nor verifies. Its methods may be called several times at once. Dropping a
/// future or a reader ends the transfer.
#[async_trait]
pub trait ImageSource: Send + Sync + fmt::Debug {
    /// The image's name in messages and records, without credentials: a reference, or a path with its scheme.
    fn name(&self) -> &str;

    /// Whether fetching is slow, so that it pays to look for documents in the store first.
    fn is_remote(&self) -> bool;

    /// Fetches the manifest or index that the image's name points at, or the one that an index pointed to. At most
    /// `MANIFEST_LIMIT` bytes, 4 MiB, are read.
    ///
    /// # Errors
    /// Fails when there is no such document, it is too large, or the source cannot be read.
    async fn document(&self, descriptor: Option<&Descriptor>) -> Result<Document, ImageError>;

    /// Opens a blob for reading on a thread that may block.
    ///
    /// # Errors
    /// Fails when there is no such blob or the source cannot be read.
    async fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, ImageError>;
}

/// The bytes of a blob, unverified. Reading blocks, so it is nothing for an async worker. An [`ImageError`] may be
/// inside of its errors.
pub type BlobReader = Box<dyn Read + Send>;
