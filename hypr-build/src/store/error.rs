//! What can go wrong in a store.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    Digest,
    image::{Reference, Sha256Digest},
};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no home folder to keep a store in.
    #[error("cannot tell where the store is: HOME is not set; name a folder with --root or HYPR_ROOT")]
    NoRoot,
    /// The root cannot be created or written to.
    #[error("cannot use {} as the store; name another folder with --root or HYPR_ROOT", root.display())]
    Unusable {
        /// The root as it was resolved.
        root: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The store was made by a version of hypr with another layout.
    #[error("the store {} has layout {found:?}, this version of hypr reads {expected:?}; name another folder with --root", root.display())]
    Version {
        /// The root.
        root: PathBuf,
        /// What the store's lock file says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// Other processes use the store, which this operation wants for itself.
    #[error("the store {} is in use by other builds", root.display())]
    Busy {
        /// The root.
        root: PathBuf,
    },
    /// The file system that holds the store is full, or a quota is reached.
    #[error("no space left for {}; free some or name another folder with --root", path.display())]
    Full {
        /// What was being written; nothing of it is left behind.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file or folder of the store could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// A verb.
        action: &'static str,
        /// Its object.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A value could not be written as JSON.
    #[error("cannot encode {}", path.display())]
    Encode {
        /// The file it was meant for.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// A layer's file is not a squashfs image.
    #[error("cannot read the layer {}", path.display())]
    Layer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: hypr_squash::Error,
    },
    /// A blob's bytes are not those that its digest promises.
    #[error("the blob {expected} has the digest {found}")]
    BlobDigest {
        /// The promised digest.
        expected: Sha256Digest,
        /// The digest of what came.
        found: Sha256Digest,
    },
    /// A blob is shorter or longer than promised.
    #[error("the blob {digest} should have {expected} bytes and has {found}")]
    BlobSize {
        /// The promised digest.
        digest: Sha256Digest,
        /// The promised size in bytes.
        expected: u64,
        /// Bytes that came, up to one chunk more than promised.
        found: u64,
    },
    /// The squashfs file of an image is not in the store (any more).
    #[error("the store has no image file {0}")]
    NoImage(Digest),
    /// An image can be kept under a tag only, not under a digest that it may not have.
    #[error("cannot name an image {0}: the name has no tag")]
    NoTag(Reference),
    /// Several images have ids that start so.
    #[error("the id {prefix} is ambiguous: {}", ids.iter().map(Sha256Digest::to_string).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// The beginning that was given.
        prefix: String,
        /// The ids that begin so, sorted.
        ids: Vec<Sha256Digest>,
    },
    /// An image asked for by id has several names, so that deleting it must be forced.
    #[error("the image {id} has several names ({}); remove them one by one or use --force", names.join(", "))]
    SeveralNames {
        /// The image's id.
        id: Sha256Digest,
        /// Its names, sorted.
        names: Vec<String>,
    },
}

impl StoreError {
    /// An [`Io`](Self::Io), or [`Full`](Self::Full) if that is what the system says.
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.as_ref().to_owned(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, source },
            _ => Self::Io { action, path, source },
        }
    }
}

/// Whether an error comes of a full file system or a reached quota.
pub(crate) fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_full = |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    std::iter::successors(Some(error), |error| (*error).source())
        .any(|error| error.downcast_ref::<io::Error>().is_some_and(is_full))
}
