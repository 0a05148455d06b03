//! Why an image could not be had.

use std::{io, path::PathBuf};

use super::{InvalidReference, Platform, Sha256Digest};
use crate::store::StoreError;

/// Why an image could not be found, fetched or taken into the store.
///
/// `image` is the name of the image as its source has it: `docker.io/library/debian:12`, or a path with its scheme.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The name is not one.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// There is no such image where it was looked for.
    #[error("image {image} not found: {}", tried.join(", "))]
    NotFound {
        /// The image.
        image: String,
        /// Where it is not, and the way out.
        tried: Vec<String>,
    },
    /// The registry wants credentials, or others.
    #[error("registry {registry} does not give {image} away ({reason}); `docker login {registry}` may help")]
    Unauthorized {
        /// The image.
        image: String,
        /// The registry's domain.
        registry: String,
        /// What it said.
        reason: String,
    },
    /// The docker configuration or one of its credential helpers is of no use.
    #[error("cannot get credentials for registry {registry}: {reason}")]
    Credentials {
        /// The registry's domain.
        registry: String,
        /// Why not. Never holds a secret.
        reason: String,
    },
    /// No connection to the registry.
    #[error("cannot reach registry {registry} for {image}")]
    Unreachable {
        /// The image.
        image: String,
        /// The registry's domain.
        registry: String,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry answered with an error.
    #[error("registry {registry} answered {status} when asked for {what} of {image}{}", colon(message))]
    Answer {
        /// The image.
        image: String,
        /// The registry's domain.
        registry: String,
        /// What it was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The connection broke in the middle of a blob, again and again.
    #[error("the transfer of {what} of {image} was cut off after {received} bytes")]
    CutOff {
        /// The image.
        image: String,
        /// What was transferred.
        what: String,
        /// Bytes that came.
        received: u64,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something that has to be read as a whole is too large for that.
    #[error("{what} of {image} is larger than {limit} bytes")]
    TooLarge {
        /// The image.
        image: String,
        /// A manifest, a configuration, ...
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Content is not what its digest promises.
    #[error("{what} of {image} has the digest {found} instead of {expected}: it was changed or damaged on the way")]
    Digest {
        /// The image.
        image: String,
        /// A manifest, a layer, ...
        what: String,
        /// The digest that names it.
        expected: Sha256Digest,
        /// The digest of what came.
        found: Sha256Digest,
    },
    /// Content is shorter or longer than promised.
    #[error("{what} of {image} should have {expected} bytes and has {}", at_least(*found, *expected))]
    Size {
        /// The image.
        image: String,
        /// A manifest, a layer, ...
        what: String,
        /// The size that the descriptor gives.
        expected: u64,
        /// What came; if that is more than promised, the rest was not read.
        found: u64,
    },
    /// A layer decompresses to something other than the configuration says.
    #[error("layer {digest} of {image} has the diff id {found}, but the image's configuration says {expected}")]
    DiffId {
        /// The image.
        image: String,
        /// The layer's blob.
        digest: Sha256Digest,
        /// The diff id in the configuration.
        expected: Sha256Digest,
        /// The digest of the layer's tar.
        found: Sha256Digest,
    },
    /// The image is for other platforms.
    #[error("image {image} has no variant for {platform}, only for {}", available.join(", "))]
    Platform {
        /// The image.
        image: String,
        /// The platform asked for.
        platform: Platform,
        /// What there is.
        available: Vec<String>,
    },
    /// A document or archive is not well formed.
    #[error("{what} of {image} is malformed: {reason}")]
    Malformed {
        /// The image.
        image: String,
        /// A manifest, an index, ...
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// An image of a kind that hypr does not take.
    #[error("image {image} is not supported: {reason}")]
    Unsupported {
        /// The image.
        image: String,
        /// Why not.
        reason: String,
    },
    /// A path does not hold what it should.
    #[error("{} is not usable as an image: {reason}", path.display())]
    Path {
        /// The path as given.
        path: PathBuf,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A layer's compressed data is damaged.
    #[error("cannot decompress layer {digest} of {image}")]
    Decompress {
        /// The image.
        image: String,
        /// The layer's blob.
        digest: Sha256Digest,
        /// What the decompressor said.
        source: io::Error,
    },
    /// A layer decompresses to more than allowed.
    #[error("layer {digest} of {image} decompresses to more than {limit} bytes, which is more than allowed")]
    Bomb {
        /// The image.
        image: String,
        /// The layer's blob.
        digest: Sha256Digest,
        /// The limit in bytes.
        limit: u64,
    },
    /// A layer's tar cannot be turned into squashfs.
    #[error("cannot convert layer {digest} of {image}")]
    Layer {
        /// The image.
        image: String,
        /// The layer's blob.
        digest: Sha256Digest,
        /// What is wrong with it.
        source: Box<hypr_squash::Error>,
    },
    /// The store's file system is full.
    #[error("no space left for {image}; free some, or name another store with --root")]
    Full {
        /// The image.
        image: String,
        /// What could not be written.
        source: Box<hypr_squash::Error>,
    },
    /// The layers cannot be merged into one image.
    #[error("cannot merge the layers of {image}")]
    Merge {
        /// The image.
        image: String,
        /// What is wrong.
        source: Box<hypr_squash::Error>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whoever asked for the image does not want it any more.
    #[error("cancelled")]
    Cancelled,
}

fn colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn at_least(found: u64, expected: u64) -> String {
    if found > expected { "more".to_owned() } else { found.to_string() }
}
