//! What can go wrong with the files that a build reads.

use std::{io, path::PathBuf};

/// Why files of a build context, or of whatever else a `COPY` reads, could not be had.
///
/// Paths are those within the tree, as text for people.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// The context's folder cannot be opened.
    #[error("cannot open the build context {}", path.display())]
    Open {
        /// The folder as it was given.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no such file.
    #[error("{path:?} not found")]
    NotFound {
        /// The source as it was written.
        path: String,
    },
    /// There is such a file, but the build must not see it.
    #[error("{path:?} not found: .dockerignore excludes it")]
    Ignored {
        /// The source as it was written.
        path: String,
    },
    /// A pattern of a source is malformed, such as a `[` that is never closed.
    #[error("invalid pattern {pattern:?}")]
    Pattern {
        /// The source as it was written.
        pattern: String,
    },
    /// Symbolic links lead to each other, or there are too many on one path.
    #[error("too many symbolic links in {path:?}")]
    Links {
        /// The path that was being resolved.
        path: String,
    },
    /// A file could not be read.
    #[error("cannot {action} {path:?}")]
    Io {
        /// A verb.
        action: &'static str,
        /// Its object.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A file is not what it was when the build looked at it first.
    #[error("{path:?} changed during the build; build again once nothing writes to it")]
    Changed {
        /// The file.
        path: String,
    },
    /// A file is larger than files of its purpose may be.
    #[error("{path:?} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// The bound.
        limit: u64,
    },
    /// A device that means a deletion in a layer, and so cannot be copied into one.
    #[error("{path:?} is a character device 0:0, which no image can hold")]
    Whiteout {
        /// The device.
        path: String,
    },
    /// A directory or something else is where a file should be.
    #[error("{path:?} is not a regular file")]
    NotAFile {
        /// Where.
        path: String,
    },
    /// The stream that was given as context broke off.
    #[error("cannot read the build context from the stream")]
    Stream {
        /// Why.
        source: io::Error,
    },
    /// The tar stream that was given as context cannot be used.
    #[error("cannot read the build context from the tar stream")]
    Tar(#[source] hypr_squash::Error),
    /// What was given as context is compressed in a way that is not supported.
    #[error("the build context is compressed with {0}; send it plain, or with gzip, bzip2, xz or zstd")]
    Compression(&'static str),
    /// A layer that is copied from cannot be read.
    #[error("cannot read {path:?} of the image")]
    Layer {
        /// The file.
        path: String,
        /// What is wrong.
        source: hypr_squash::Error,
    },
    /// The store failed while the context was taken in.
    #[error("cannot keep the build context")]
    Store(#[source] crate::store::StoreError),
}

impl ContextError {
    pub(crate) fn io(action: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: text(path), source: source.into() }
    }
}

/// A path for people.
pub(super) fn text(path: &[u8]) -> String {
    if path.is_empty() { "/".to_owned() } else { String::from_utf8_lossy(path).into_owned() }
}
