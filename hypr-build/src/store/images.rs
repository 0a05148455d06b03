//! The squashfs files of images: `images/<blake3>.squashfs`, shared by all manifests that name them.
//!
//! Giving such a file a name and removing those that nothing names keep each other out by a lock on `images/`.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use hypr_squash::Prefix;

use crate::{
    Digest,
    store::{Store, StoreError, lock::FileLock, spare::SHORTEST_PREFIX, work::PendingFile},
};

/// The squashfs file of an image. While one is held, nobody can remove files of images; drop it before asking to.
#[derive(Debug)]
pub struct ImageFile {
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    _lock: FileLock,
}

/// The squashfs file of an image that is being written. It vanishes when dropped unpublished.
#[derive(Debug)]
pub struct PendingImage {
    pub(super) store: Store,
    pub(super) file: PendingFile,
}

impl Store {
    /// Starts the squashfs file of an image.
    ///
    /// # Errors
    /// Fails when the store cannot be written to.
    pub fn new_image(&self) -> Result<PendingImage, StoreError> {
        Ok(PendingImage { store: self.clone(), file: self.pending_file()? })
    }

    /// The squashfs file with this digest, if it is there.
    ///
    /// # Errors
    /// Fails when the folder of images cannot be locked.
    pub fn image_file(&self, digest: &Digest) -> Result<Option<ImageFile>, StoreError> {
        let lock = self.share_images()?;
        let path = self.layout().image(digest);
        let size = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len());
        Ok(size.map(|size| ImageFile { digest: *digest, path, size, _lock: lock }))
    }

    /// Waits, blocking, until nobody removes files of images.
    pub(super) fn share_images(&self) -> Result<FileLock, StoreError> {
        let (file, path) = self.open_images()?;
        FileLock::shared(file, &path)
    }

    /// Waits, blocking, until nobody needs files of images to stay.
    pub(super) fn own_images(&self) -> Result<FileLock, StoreError> {
        let (file, path) = self.open_images()?;
        FileLock::exclusive(file, &path)
    }

    fn open_images(&self) -> Result<(File, PathBuf), StoreError> {
        let path = self.folder("images")?;
        match File::open(&path) {
            Ok(file) => Ok((file, path)),
            Err(error) => Err(StoreError::io("open", path, error)),
        }
    }
}

impl PendingImage {
    /// The file, open for reading and writing.
    pub fn file(&self) -> &File {
        self.file.file()
    }

    /// Where the file is until it is published, for those who fill it by name.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Makes the file durable and gives it its name, the digest of its bytes, which is durable with the next manifest.
    /// One that is there already is used instead. `prefix` is what is known of how it begins.
    ///
    /// # Errors
    /// Fails when the disk is full; nothing half-written is left then.
    pub fn publish(self, digest: Digest, prefix: Option<&Prefix>) -> Result<ImageFile, StoreError> {
        let Self { store, file } = self;
        let metadata = file.file().metadata();
        let size = metadata.map_err(|error| StoreError::io("inspect", file.path(), error))?.len();
        if let Some(image) = store.image_file(&digest)?
            && image.size == size
        {
            return Ok(image);
        }
        file.sync()?;
        if let Some(prefix) = prefix.filter(|prefix| prefix.bytes() >= SHORTEST_PREFIX) {
            // It has a digest of its own, and an image without it is only written in full: no sync.
            let sidecar = store.pending_file()?;
            let written = sidecar.file().write_all(&prefix.to_bytes());
            written.map_err(|error| StoreError::io("write", sidecar.path(), error))?;
            sidecar.rename(&store.layout().image_prefix(&digest))?;
        }
        let lock = store.share_images()?;
        let path = store.layout().image(&digest);
        file.rename(&path)?;
        Ok(ImageFile { digest, path, size, _lock: lock })
    }
}
