//! Manifests: `images/<name>/_tags/<tag>.json`, or `images/_ids/<sha256>.json` for an image without a name.
//!
//! They are plain JSON, for everyone to read. No part of an image's name starts with `_`, so that the two kinds and
//! nested names never meet.

use std::{
    fs::{self, DirBuilder},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    Digest,
    image::{Manifest, Reference, Sha256Digest},
    store::{Store, StoreError, sync_folder},
};

/// A manifest and the name that points at it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredImage {
    /// The name with its tag; `None` for an image without a name.
    pub name: Option<Reference>,
    /// The manifest.
    pub manifest: Manifest,
    path: PathBuf,
}

/// What removing an image removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that no longer exist.
    pub untagged: Vec<Reference>,
    /// Ids of images that no longer exist.
    pub deleted: Vec<Sha256Digest>,
}

/// All manifests of a store.
struct Manifests {
    images: Vec<StoredImage>,
    /// Whether there are others, which cannot be read.
    incomplete: bool,
}

impl Manifests {
    /// Whether one of them needs the squashfs file.
    fn names(&self, digest: &Digest) -> bool {
        self.images.iter().any(|image| image.manifest.squashfs.digest == *digest)
    }
}

impl Store {
    /// Lets a name point at an image and returns what it pointed at before.
    ///
    /// If that was the last name of another image, its squashfs file is no longer needed: see
    /// [`release_image`](Self::release_image).
    ///
    /// # Errors
    /// [`StoreError::NoImage`] when the image's squashfs file is not there, [`StoreError::NoTag`] when the name has
    /// a digest in place of a tag.
    pub fn tag(&self, name: &Reference, manifest: &Manifest) -> Result<Option<Manifest>, StoreError> {
        let path = self.tag_path(name).ok_or_else(|| StoreError::NoTag(name.clone()))?;
        let _lock = self.share_images()?;
        let before = read(&path)?.and_then(Result::ok);
        self.write_manifest(&path, manifest)?;
        // It has a name now.
        remove_if_there(&self.id_path(&manifest.id))?;
        Ok(before)
    }

    /// Keeps an image that has no name.
    ///
    /// # Errors
    /// As [`tag`](Self::tag).
    pub fn keep(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let _lock = self.share_images()?;
        self.write_manifest(&self.id_path(&manifest.id), manifest)
    }

    /// The manifest that a name points at, if it points at any.
    ///
    /// # Errors
    /// Fails when the manifest may not be read.
    pub fn resolve(&self, name: &Reference) -> Result<Option<Manifest>, StoreError> {
        let Some(path) = self.tag_path(name) else { return Ok(None) };
        Ok(read(&path)?.and_then(Result::ok))
    }

    /// The image whose id starts with `prefix`, hexadecimal digits with or without `sha256:` before them.
    ///
    /// # Errors
    /// [`StoreError::Ambiguous`] when that holds for several.
    pub fn image_by_id(&self, prefix: &str) -> Result<Option<Manifest>, StoreError> {
        let digits = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if digits.is_empty() || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(None);
        }
        let mut found: Vec<_> = self.images()?.into_iter().map(|image| image.manifest).collect();
        found.retain(|manifest| manifest.id.hex().starts_with(digits));
        found.sort_by_key(|manifest| manifest.id);
        found.dedup_by_key(|manifest| manifest.id);
        if found.len() > 1 {
            let ids = found.iter().map(|manifest| manifest.id).collect();
            return Err(StoreError::Ambiguous { prefix: prefix.to_owned(), ids });
        }
        Ok(found.pop())
    }

    /// All images by name, those without a name last. Manifests that cannot be read are left out.
    ///
    /// # Errors
    /// Fails when a folder cannot be read.
    pub fn images(&self) -> Result<Vec<StoredImage>, StoreError> {
        Ok(self.manifests()?.images)
    }

    /// Removes a name, and the image with it if it was its last. `None` if there is no such name.
    ///
    /// # Errors
    /// Fails when a file cannot be removed.
    pub fn untag(&self, name: &Reference) -> Result<Option<Removed>, StoreError> {
        let Some(path) = self.tag_path(name) else { return Ok(None) };
        let _lock = self.own_images()?;
        let Some(manifest) = read(&path)? else { return Ok(None) };
        self.remove_manifest(&path)?;
        let mut removed = Removed { untagged: vec![name.clone()], deleted: Vec::new() };
        // What an unreadable manifest named is found by pruning.
        if let Ok(manifest) = manifest {
            let rest = self.manifests()?;
            if !rest.images.iter().any(|image| image.manifest.id == manifest.id) {
                removed.deleted.push(manifest.id);
            }
            self.remove_unnamed(&rest, vec![manifest.squashfs.digest])?;
        }
        Ok(Some(removed))
    }

    /// Removes the image `id` with its name, unless it has several.
    ///
    /// # Errors
    /// [`StoreError::SeveralNames`] when it has.
    pub fn remove_image(&self, id: &Sha256Digest) -> Result<Removed, StoreError> {
        let _lock = self.own_images()?;
        let manifests = self.manifests()?;
        let of_image = manifests.images.iter().filter(|image| image.manifest.id == *id);
        let names: Vec<String> = of_image.filter_map(|image| Some(image.name.as_ref()?.familiar())).collect();
        if names.len() > 1 {
            return Err(StoreError::SeveralNames { id: *id, names });
        }
        self.remove_from(manifests, id)
    }

    /// Removes the image `id` and all its names.
    ///
    /// # Errors
    /// Fails when a file cannot be removed.
    pub fn remove_image_and_names(&self, id: &Sha256Digest) -> Result<Removed, StoreError> {
        let _lock = self.own_images()?;
        self.remove_from(self.manifests()?, id)
    }

    /// Removes the squashfs file if no manifest names it any more, and returns whether it did.
    ///
    /// # Errors
    /// Fails when the file cannot be removed.
    pub fn release_image(&self, digest: &Digest) -> Result<bool, StoreError> {
        let _lock = self.own_images()?;
        Ok(!self.remove_unnamed(&self.manifests()?, vec![*digest])?.is_empty())
    }

    /// As [`release_image`](Self::release_image), but may keep the file as a spare: the next image that begins alike is
    /// written into it, instead of being copied in full.
    ///
    /// # Errors
    /// Fails when the file cannot be moved or removed.
    pub fn retire_image(&self, digest: &Digest) -> Result<bool, StoreError> {
        let _lock = self.own_images()?;
        let manifests = self.manifests()?;
        if manifests.incomplete || manifests.names(digest) {
            return Ok(false);
        }
        if !self.make_spare(digest)? {
            self.remove_unnamed(&manifests, vec![*digest])?;
        }
        Ok(true)
    }

    /// Removes all squashfs files of images that no manifest names and returns their digests.
    ///
    /// # Errors
    /// Fails when a file cannot be removed.
    pub fn release_images(&self) -> Result<Vec<Digest>, StoreError> {
        let _lock = self.own_images()?;
        let names = entries(&self.layout().folder("images"))?;
        let files = names.iter().filter_map(|(name, _)| name.strip_suffix(".squashfs")?.parse().ok()).collect();
        self.remove_unnamed(&self.manifests()?, files)
    }

    fn remove_from(&self, mut manifests: Manifests, id: &Sha256Digest) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        let mut files = Vec::new();
        for image in manifests.images.extract_if(.., |image| image.manifest.id == *id) {
            self.remove_manifest(&image.path)?;
            removed.untagged.extend(image.name);
            removed.deleted = vec![*id];
            files.push(image.manifest.squashfs.digest);
        }
        self.remove_unnamed(&manifests, files)?;
        Ok(removed)
    }

    /// Removes those of the squashfs files that none of `manifests` names, and returns which.
    fn remove_unnamed(&self, manifests: &Manifests, mut files: Vec<Digest>) -> Result<Vec<Digest>, StoreError> {
        if manifests.incomplete {
            // What the unreadable ones name is not known.
            tracing::warn!("keeping the files of images, because some manifests cannot be read");
            return Ok(Vec::new());
        }
        files.retain(|digest| !manifests.names(digest));
        for digest in &files {
            remove_if_there(&self.layout().image(digest))?;
            remove_if_there(&self.layout().image_prefix(digest))?;
        }
        Ok(files)
    }

    /// Every manifest with its file, and whether there are others, which cannot be read.
    pub(super) fn all_manifests(&self) -> Result<(Vec<(PathBuf, StoredImage)>, bool), StoreError> {
        let Manifests { images, incomplete } = self.manifests()?;
        Ok((images.into_iter().map(|image| (image.path.clone(), image)).collect(), incomplete))
    }

    fn manifests(&self) -> Result<Manifests, StoreError> {
        let mut found = Manifests { images: Vec::new(), incomplete: false };
        let mut folders = vec![(String::new(), self.layout().folder("images"))];
        while let Some((repository, folder)) = folders.pop() {
            for (name, path) in entries(&folder)? {
                if name == "_tags" || name == "_ids" {
                    for (file, path) in entries(&path)? {
                        let Some(tag) = file.strip_suffix(".json") else { continue };
                        let name = (name == "_tags").then(|| format!("{repository}:{tag}").parse::<Reference>());
                        match (name.transpose(), read(&path)?) {
                            (Ok(name), Some(Ok(manifest))) => found.images.push(StoredImage { name, manifest, path }),
                            (_, None) => {}
                            _ => found.incomplete = true,
                        }
                    }
                } else if path.is_dir() {
                    let separator = if repository.is_empty() { "" } else { "/" };
                    folders.push((format!("{repository}{separator}{name}"), path));
                }
            }
        }
        let rank = |image: &StoredImage| (image.name.is_none(), image.name.clone(), image.manifest.id);
        found.images.sort_by_cached_key(rank);
        Ok(found)
    }

    fn write_manifest(&self, path: &Path, manifest: &Manifest) -> Result<(), StoreError> {
        let digest = manifest.squashfs.digest;
        if !self.layout().image(&digest).is_file() {
            return Err(StoreError::NoImage(digest));
        }
        let encode = |source| StoreError::Encode { path: path.to_owned(), source };
        let mut bytes = serde_json::to_vec_pretty(manifest).map_err(encode)?;
        bytes.push(b'\n');
        if let Some(folder) = path.parent()
            && fs::read(path).is_ok_and(|present| present == bytes)
        {
            // Whoever wrote it may have been killed before its name was durable, and what it points at may be new again.
            self.sync_parts()?;
            return sync_folder(folder);
        }
        let pending = self.pending_file()?;
        pending.file().write_all(&bytes).map_err(|error| StoreError::io("write", path, error))?;
        pending.sync()?;
        self.sync_parts()?;
        let made = make_folders(path)?;
        pending.rename(path)?;
        for folder in made.iter().map(PathBuf::as_path).chain(path.parent()) {
            sync_folder(folder)?;
        }
        Ok(())
    }

    /// Makes the names of all that manifests point at durable, at once: a journal that has the first has them all.
    fn sync_parts(&self) -> Result<(), StoreError> {
        ["layers", "blobs/sha256", "images"].iter().try_for_each(|folder| sync_folder(&self.layout().folder(folder)))
    }

    /// Removes a manifest, and the folders of its name that are empty then.
    pub(super) fn remove_manifest(&self, path: &Path) -> Result<(), StoreError> {
        remove_if_there(path)?;
        let images = self.layout().folder("images");
        for folder in path.ancestors().skip(1).take_while(|folder| *folder != images) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// `None` for a name that has no tag. The grammar of names allows no part that is not a file name.
    fn tag_path(&self, name: &Reference) -> Option<PathBuf> {
        let folder = self.layout().folder("images").join(name.name()).join("_tags");
        Some(folder.join(format!("{}.json", name.tag()?)))
    }

    fn id_path(&self, id: &Sha256Digest) -> PathBuf {
        self.layout().folder("images/_ids").join(format!("{}.json", id.hex()))
    }
}

/// Reads a manifest; `None` if there is none.
fn read(path: &Path) -> Result<Option<Result<Manifest, serde_json::Error>>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(StoreError::io("read", path, error)),
    };
    let manifest = serde_json::from_slice(&bytes).and_then(|manifest: Manifest| match manifest.version {
        Manifest::VERSION => Ok(manifest),
        version => Err(serde::de::Error::custom(format!("it has version {version}"))),
    });
    if let Err(error) = &manifest {
        tracing::warn!(path = %path.display(), %error, "ignoring an unreadable manifest");
    }
    Ok(Some(manifest))
}

/// Names and paths in a folder, which need not be there. Names that are not text are none of ours.
pub(super) fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
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

pub(super) fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
        _ => Ok(()),
    }
}
