//! Images: one squashfs file each, shared by all manifests that name it.
//!
//! A manifest is `images/<name>/_tags/<tag>.json`, or `images/_ids/<sha256>.json` for an image without a name. No part
//! of an image's name starts with `_`, so these never meet. Naming an image and removing what nothing names keep each
//! other out by a lock on `images/`.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Digest,
    store::{Store, StoreError, lock::FileLock, sync_folder, work::PendingFile},
};

/// What the store must know of an image's manifest, which it keeps as plain JSON.
pub trait ImageRecord: Serialize + DeserializeOwned {
    /// The sha256 of the image's configuration: `sha256:` and 64 hexadecimal digits.
    fn id(&self) -> &str;

    /// The digest of the image's squashfs file.
    fn squashfs(&self) -> Digest;
}

/// The squashfs file of an image. While one is held, nobody removes files of images.
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
    store: Store,
    file: PendingFile,
}

/// A manifest and the name that points at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged<M> {
    /// The name without tag in canonical form, such as `docker.io/library/app`; `None` for an image without a name.
    pub repository: Option<String>,
    /// The tag; `None` for an image without a name.
    pub tag: Option<String>,
    /// The manifest.
    pub manifest: M,
}

impl<M> Tagged<M> {
    /// `repository:tag`, or `None` for an image without a name.
    pub fn name(&self) -> Option<String> {
        Some(format!("{}:{}", self.repository.as_ref()?, self.tag.as_ref()?))
    }
}

/// What removing an image removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that no longer exist, as `repository:tag`.
    pub untagged: Vec<String>,
    /// Ids of images that no longer exist.
    pub deleted: Vec<String>,
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

    /// Lets a name point at an image and returns what it pointed at before.
    ///
    /// If that was the last name of another image, its squashfs file is no longer needed: see
    /// [`release_image`](Self::release_image).
    ///
    /// # Errors
    /// [`StoreError::NoImage`] when the image's squashfs file is not there, [`StoreError::InvalidName`] when a part of
    /// the name cannot be a file name.
    pub fn tag<M: ImageRecord>(&self, repository: &str, tag: &str, manifest: &M) -> Result<Option<M>, StoreError> {
        let path = self.tag_path(repository, tag)?;
        let _lock = self.share_images()?;
        let before = read(&path)?.flatten();
        self.write_manifest(&path, manifest)?;
        // It has a name now.
        remove_if_there(&self.id_path(manifest.id())?)?;
        Ok(before)
    }

    /// Keeps an image that has no name.
    ///
    /// # Errors
    /// As [`tag`](Self::tag).
    pub fn keep<M: ImageRecord>(&self, manifest: &M) -> Result<(), StoreError> {
        let path = self.id_path(manifest.id())?;
        let _lock = self.share_images()?;
        self.write_manifest(&path, manifest)
    }

    /// The manifest that a name points at, if it points at any.
    ///
    /// # Errors
    /// Fails when the name is not valid or the manifest may not be read.
    pub fn resolve<M: ImageRecord>(&self, repository: &str, tag: &str) -> Result<Option<M>, StoreError> {
        Ok(read(&self.tag_path(repository, tag)?)?.flatten())
    }

    /// The image whose id starts with `prefix`, hexadecimal digits with or without `sha256:` before them.
    ///
    /// # Errors
    /// [`StoreError::Ambiguous`] when that holds for several.
    pub fn image_by_id<M: ImageRecord>(&self, prefix: &str) -> Result<Option<M>, StoreError> {
        let digits = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if digits.is_empty() || digits.bytes().any(|byte| !byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut found = self.images::<M>()?;
        found.retain(|image| hex(image.manifest.id()).starts_with(digits));
        found.sort_by(|a, b| a.manifest.id().cmp(b.manifest.id()));
        found.dedup_by(|a, b| a.manifest.id() == b.manifest.id());
        if found.len() > 1 {
            let ids = found.iter().map(|image| image.manifest.id().to_owned()).collect();
            return Err(StoreError::Ambiguous { prefix: prefix.to_owned(), ids });
        }
        Ok(found.pop().map(|image| image.manifest))
    }

    /// All images by name and tag, those without a name last. Manifests that cannot be read are left out.
    ///
    /// # Errors
    /// Fails when a folder cannot be read.
    pub fn images<M: ImageRecord>(&self) -> Result<Vec<Tagged<M>>, StoreError> {
        Ok(self.manifests()?.0)
    }

    /// Removes a name, and the image with it if it was its last. `None` if there is no such name.
    ///
    /// # Errors
    /// Fails when the name is not valid or a file cannot be removed.
    pub fn untag<M: ImageRecord>(&self, repository: &str, tag: &str) -> Result<Option<Removed>, StoreError> {
        let path = self.tag_path(repository, tag)?;
        let _lock = self.own_images()?;
        let Some(manifest) = read::<M>(&path)? else { return Ok(None) };
        self.remove_tag(&path)?;
        let mut removed = Removed { untagged: vec![format!("{repository}:{tag}")], deleted: Vec::new() };
        let (images, _) = self.manifests::<M>()?;
        if let Some(manifest) = manifest {
            if !images.iter().any(|image| image.manifest.id() == manifest.id()) {
                removed.deleted.push(manifest.id().to_owned());
            }
            self.remove_unnamed::<M>(Some(&manifest.squashfs()))?;
        }
        Ok(Some(removed))
    }

    /// Removes the image `id` and its name, if it has not more than one.
    ///
    /// # Errors
    /// [`StoreError::SeveralNames`] when it has.
    pub fn remove_image<M: ImageRecord>(&self, id: &str) -> Result<Removed, StoreError> {
        let _lock = self.own_images()?;
        let (images, _) = self.manifests::<M>()?;
        let names: Vec<String> =
            images.iter().filter(|image| image.manifest.id() == id).filter_map(Tagged::name).collect();
        match names.len() {
            0 | 1 => self.remove_locked::<M>(id, images),
            _ => Err(StoreError::SeveralNames { id: id.to_owned(), names }),
        }
    }

    /// Removes the image `id` and all its names.
    ///
    /// # Errors
    /// Fails when a file cannot be removed.
    pub fn remove_image_and_names<M: ImageRecord>(&self, id: &str) -> Result<Removed, StoreError> {
        let _lock = self.own_images()?;
        let (images, _) = self.manifests::<M>()?;
        self.remove_locked::<M>(id, images)
    }

    /// Removes the squashfs file if no manifest names it (any more), and returns whether it did.
    ///
    /// # Errors
    /// Fails when the file cannot be removed.
    pub fn release_image<M: ImageRecord>(&self, digest: &Digest) -> Result<bool, StoreError> {
        let _lock = self.own_images()?;
        Ok(!self.remove_unnamed::<M>(Some(digest))?.is_empty())
    }

    /// Removes all squashfs files that no manifest names and returns their digests.
    ///
    /// # Errors
    /// Fails when a file cannot be removed.
    pub fn release_images<M: ImageRecord>(&self) -> Result<Vec<Digest>, StoreError> {
        let _lock = self.own_images()?;
        self.remove_unnamed::<M>(None)
    }

    fn remove_locked<M: ImageRecord>(&self, id: &str, images: Vec<Tagged<M>>) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        for image in images.into_iter().filter(|image| image.manifest.id() == id) {
            match (&image.repository, &image.tag) {
                (Some(repository), Some(tag)) => self.remove_tag(&self.tag_path(repository, tag)?)?,
                _ => remove_if_there(&self.id_path(id)?)?,
            }
            removed.untagged.extend(image.name());
            removed.deleted = vec![id.to_owned()];
            self.remove_unnamed::<M>(Some(&image.manifest.squashfs()))?;
        }
        Ok(removed)
    }

    /// Removes squashfs files that nothing names, of all or only the one.
    fn remove_unnamed<M: ImageRecord>(&self, only: Option<&Digest>) -> Result<Vec<Digest>, StoreError> {
        let (images, unreadable) = self.manifests::<M>()?;
        if unreadable {
            // What they name is not known.
            tracing::warn!("keeping the files of all images, because some manifests cannot be read");
            return Ok(Vec::new());
        }
        let mut files = match only {
            Some(digest) => vec![*digest],
            None => self.image_files()?,
        };
        files.retain(|digest| !images.iter().any(|image| image.manifest.squashfs() == *digest));
        for digest in &files {
            remove_if_there(&self.layout().image(digest))?;
        }
        Ok(files)
    }

    fn image_files(&self) -> Result<Vec<Digest>, StoreError> {
        let names = entries(&self.layout().folder("images"))?;
        Ok(names.iter().filter_map(|(name, _)| name.strip_suffix(".squashfs")?.parse().ok()).collect())
    }

    /// All manifests, and whether there are some that cannot be read.
    fn manifests<M: ImageRecord>(&self) -> Result<(Vec<Tagged<M>>, bool), StoreError> {
        let mut images = Vec::new();
        let mut unreadable = false;
        let mut folders = vec![(String::new(), self.layout().folder("images"))];
        while let Some((repository, folder)) = folders.pop() {
            for (name, path) in entries(&folder)? {
                match name.as_str() {
                    "_tags" | "_ids" => {
                        for (file, path) in entries(&path)? {
                            let Some(stem) = file.strip_suffix(".json") else { continue };
                            match read(&path)? {
                                Some(Some(manifest)) => {
                                    let named = (name == "_tags").then(|| (repository.clone(), stem.to_owned()));
                                    let (repository, tag) = named.unzip();
                                    images.push(Tagged { repository, tag, manifest });
                                }
                                Some(None) => unreadable = true,
                                None => {}
                            }
                        }
                    }
                    _ if path.is_dir() => {
                        let separator = if repository.is_empty() { "" } else { "/" };
                        folders.push((format!("{repository}{separator}{name}"), path));
                    }
                    _ => {}
                }
            }
        }
        let key = |image: &Tagged<M>| (image.repository.is_none(), image.repository.clone(), image.tag.clone());
        images.sort_by_cached_key(|image| (key(image), image.manifest.id().to_owned()));
        Ok((images, unreadable))
    }

    fn write_manifest<M: ImageRecord>(&self, path: &Path, manifest: &M) -> Result<(), StoreError> {
        let digest = manifest.squashfs();
        if !self.layout().image(&digest).is_file() {
            return Err(StoreError::NoImage(digest));
        }
        let encode = |source| StoreError::Encode { path: path.to_owned(), source };
        let mut bytes = serde_json::to_vec_pretty(manifest).map_err(encode)?;
        bytes.push(b'\n');
        let pending = self.pending_file()?;
        pending.file().write_all(&bytes).map_err(|error| StoreError::io("write", path, error))?;
        pending.sync()?;
        let made = make_folders(path)?;
        pending.rename(path)?;
        for folder in made.iter().map(PathBuf::as_path).chain(path.parent()) {
            sync_folder(folder)?;
        }
        Ok(())
    }

    /// Removes a manifest, and the folders of its name that are empty then.
    fn remove_tag(&self, path: &Path) -> Result<(), StoreError> {
        remove_if_there(path)?;
        let images = self.layout().folder("images");
        for folder in path.ancestors().skip(1).take_while(|folder| *folder != images) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn tag_path(&self, repository: &str, tag: &str) -> Result<PathBuf, StoreError> {
        let valid = |part: &str, first: &[u8]| {
            let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:[]".contains(&byte);
            part.len() <= 240
                && part.bytes().all(byte)
                && part.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || first.contains(&byte))
        };
        if !(repository.split('/').all(|part| valid(part, b"[")) && valid(tag, b"_")) {
            return Err(StoreError::InvalidName(format!("{repository}:{tag}")));
        }
        Ok(self.layout().folder("images").join(repository).join("_tags").join(format!("{tag}.json")))
    }

    fn id_path(&self, id: &str) -> Result<PathBuf, StoreError> {
        let digits = hex(id);
        if digits.len() != 64 || digits.bytes().any(|byte| !byte.is_ascii_hexdigit()) {
            return Err(StoreError::InvalidName(id.to_owned()));
        }
        Ok(self.layout().folder("images/_ids").join(format!("{digits}.json")))
    }

    fn share_images(&self) -> Result<FileLock, StoreError> {
        let (file, path) = self.open_images()?;
        FileLock::shared(file, &path)
    }

    fn own_images(&self) -> Result<FileLock, StoreError> {
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

    /// Makes the file durable and gives it its name, the digest of its bytes. One that is there already is used
    /// instead.
    ///
    /// # Errors
    /// Fails when the disk is full; nothing half-written is left then.
    pub fn publish(self, digest: Digest) -> Result<ImageFile, StoreError> {
        let Self { store, file } = self;
        let error = |error| StoreError::io("inspect", file.path(), error);
        let size = file.file().metadata().map_err(error)?.len();
        if let Some(image) = store.image_file(&digest)?
            && image.size == size
        {
            return Ok(image);
        }
        file.sync()?;
        let lock = store.share_images()?;
        let path = store.layout().image(&digest);
        file.rename(&path)?;
        sync_folder(&store.layout().folder("images"))?;
        Ok(ImageFile { digest, path, size, _lock: lock })
    }
}

/// Reads a manifest: `None` if there is none, `Some(None)` if it is not one.
fn read<M: ImageRecord>(path: &Path) -> Result<Option<Option<M>>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(StoreError::io("read", path, error)),
    };
    match serde_json::from_slice(&bytes) {
        Ok(manifest) => Ok(Some(Some(manifest))),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "ignoring an unreadable manifest");
            Ok(Some(None))
        }
    }
}

/// Names and paths in a folder, which need not be there. Names that are not text are none of ours.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let error = |error| StoreError::io("read", folder, error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // A concurrent removal may take an empty folder away.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(error(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(error)?;
        found.extend(entry.file_name().into_string().ok().map(|name| (name, entry.path())));
    }
    Ok(found)
}

/// Makes the folders above `path` and returns those in which a new name appeared.
fn make_folders(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
    if let Some(folder) = missing.first() {
        let made = DirBuilder::new().recursive(true).create(folder);
        made.map_err(|error| StoreError::io("create", folder, error))?;
    }
    Ok(missing.iter().filter_map(|folder| Some(folder.parent()?.to_owned())).collect())
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
        _ => Ok(()),
    }
}

fn hex(id: &str) -> &str {
    id.strip_prefix("sha256:").unwrap_or(id)
}
