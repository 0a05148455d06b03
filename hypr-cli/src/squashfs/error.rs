//! What can go wrong in `hypr squashfs`, with the file that it went wrong in.

use std::io;
use std::path::{Path, PathBuf};

/// Why a command on images failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SquashfsError {
    /// A file or directory of the user could not be opened.
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    /// The output could not be made.
    #[error("cannot write {}", path.display())]
    Output { path: PathBuf, source: io::Error },
    /// An image is not one, is damaged, or could not be made.
    #[error("cannot {action} {}", path.display())]
    Image { action: &'static str, path: PathBuf, source: hypr_squash::Error },
    /// The image does not hold what was asked for.
    #[error("{} has no file {}", image.display(), path.display())]
    Missing { image: PathBuf, path: PathBuf },
    /// A directory or device where a file was asked for.
    #[error("{} in {} is not a regular file", path.display(), image.display())]
    NotAFile { image: PathBuf, path: PathBuf },
    /// A file of the image could not be read.
    #[error("cannot read {} in {}", path.display(), image.display())]
    Content { image: PathBuf, path: PathBuf, source: io::Error },
    /// Standard output is gone or full.
    #[error(transparent)]
    Stdout(#[from] StdoutError),
}

/// Standard output could not be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(crate) struct StdoutError(#[source] pub(crate) io::Error);

impl SquashfsError {
    /// An error of the library about the image at `path`.
    pub(crate) fn image(action: &'static str, path: &Path) -> impl FnOnce(hypr_squash::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Image { action, path, source }
    }

    /// An error of the system about the file at `path`.
    pub(crate) fn open(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Open { path, source }
    }

    /// An error of the system about the output at `path`.
    pub(crate) fn output(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Output { path, source }
    }
}
