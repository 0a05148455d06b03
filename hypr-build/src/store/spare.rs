//! Images that begin alike are not copied in full.
//!
//! An image of a big base and a small change begins with the base's data, as the image before it did. Where the file
//! system shares blocks between files, the earlier image's file is cloned. Elsewhere the file of an image that nothing
//! names any more is kept as a *spare*, and the next image is written into that, behind what both begin with.
//!
//! The image that a name points at is never written to, whatever happens. So the spare is the image before that one,
//! which costs its size on the disk. A file that anybody else has open, mapped, mounted or linked is left to them: that
//! nobody has is what a lease of the kernel tells. The spare is moved away from its name before it is changed, and gets a
//! name again when it is whole and durable; a killed build leaves it in `tmp/`.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use hypr_squash::Prefix;

use crate::{
    Digest,
    store::{
        PendingImage, Store, StoreError,
        lease::Leased,
        manifests::{entries, remove_if_there},
        sync_folder,
        work::PendingFile,
    },
};

/// Bytes that images must have in common to make it worth while.
pub(super) const SHORTEST_PREFIX: u64 = 8 << 20;

/// Spares that are kept; several projects may be worked on in turn.
const SPARES: usize = 2;

impl Store {
    /// A file that holds an earlier image, which begins like one of `layers` will, for it to be written over.
    pub(crate) fn image_like(
        &self,
        layers: &[Digest],
        earlier: &[Digest],
    ) -> Result<Option<(PendingImage, Prefix)>, StoreError> {
        for digest in earlier {
            if let Some(prefix) = begins_alike(&self.layout().image_prefix(digest), layers)
                && let Some(image) = self.cloned(digest)?
            {
                return Ok(Some((image, prefix)));
            }
        }
        let mut spares = Vec::new();
        for digest in self.spares()? {
            if let Some(prefix) = begins_alike(&self.layout().spare_prefix(&digest), layers) {
                spares.push((common(&prefix, layers), digest, prefix));
            }
        }
        spares.sort_by_key(|(common, ..)| std::cmp::Reverse(*common));
        for (_, digest, prefix) in spares {
            if let Some(image) = self.taken_over(&digest) {
                return Ok(Some((image, prefix)));
            }
        }
        Ok(None)
    }

    /// A new file that shares its blocks with the image; `None` when the image is gone or the file system shares none.
    fn cloned(&self, digest: &Digest) -> Result<Option<PendingImage>, StoreError> {
        let Ok(source) = File::open(self.layout().image(digest)) else { return Ok(None) };
        let image = self.new_image()?;
        Ok(rustix::fs::ioctl_ficlone(image.file(), source).is_ok().then_some(image))
    }

    /// The spare, taken out of its place, if nobody else uses it.
    fn taken_over(&self, digest: &Digest) -> Option<PendingImage> {
        let path = self.layout().spare(digest);
        let take = || -> io::Result<Option<PendingImage>> {
            let leased = Leased::take(OpenOptions::new().read(true).write(true).open(&path)?);
            let Some(leased) = leased.filter(|leased| leased.0.metadata().is_ok_and(|metadata| metadata.nlink() == 1))
            else {
                return Ok(None);
            };
            let held = leased.0.try_clone()?;
            let work = self.pending_folder().map_err(io::Error::other)?;
            let file = PendingFile::take(work, held, &path).map_err(io::Error::other)?;
            // From here on no name leads to it. Another build may have been quicker: then this is not that file.
            let is_it = fs::symlink_metadata(file.path())?.ino() == leased.0.metadata()?.ino();
            Ok((is_it && leased.is_unbroken()).then(|| PendingImage { store: self.clone(), file }))
        };
        let taken = take();
        // Who has it open keeps it. What is left of the spare is of no use to the next build either.
        let _ = fs::remove_file(&path);
        let _ = fs::remove_file(self.layout().spare_prefix(digest));
        taken.unwrap_or_else(|error| {
            tracing::info!(path = %path.display(), %error, "a spare cannot be taken over");
            None
        })
    }

    /// Makes a spare of an image's file that no manifest names; returns whether it did. Whoever calls owns the images.
    pub(super) fn make_spare(&self, digest: &Digest) -> Result<bool, StoreError> {
        let image = self.layout().image(digest);
        let Ok(size) = fs::metadata(&image).map(|metadata| metadata.len()) else { return Ok(false) };
        let is_long = read(&self.layout().image_prefix(digest)).is_some();
        if !is_long || !has_room(&image, size) || self.shares_blocks(&image) {
            return Ok(false);
        }
        super::rename(&image, &self.layout().spare(digest))?;
        super::rename(&self.layout().image_prefix(digest), &self.layout().spare_prefix(digest))?;
        let mut others = Vec::new();
        for other in self.spares()?.into_iter().filter(|other| other != digest) {
            let changed = fs::metadata(self.layout().spare(&other)).and_then(|metadata| metadata.modified());
            others.extend(changed.ok().map(|changed| (changed, other)));
        }
        others.sort();
        for (_, other) in others.iter().rev().skip(SPARES - 1) {
            self.remove_spare(other)?;
        }
        sync_folder(&self.layout().folder("images"))?;
        Ok(true)
    }

    /// The spares, by the digests of what they hold.
    pub(super) fn spares(&self) -> Result<Vec<Digest>, StoreError> {
        let names = entries(&self.layout().folder("spare"))?;
        Ok(names.iter().filter_map(|(name, _)| name.strip_suffix(".squashfs")?.parse().ok()).collect())
    }

    pub(super) fn remove_spare(&self, digest: &Digest) -> Result<(), StoreError> {
        remove_if_there(&self.layout().spare(digest))?;
        remove_if_there(&self.layout().spare_prefix(digest))
    }

    /// Whether the file system shares blocks between files, so that no spare is needed.
    fn shares_blocks(&self, image: &Path) -> bool {
        let cloned = || -> Result<bool, StoreError> {
            let Ok(source) = File::open(image) else { return Ok(false) };
            Ok(rustix::fs::ioctl_ficlone(self.new_image()?.file(), source).is_ok())
        };
        cloned().unwrap_or(false)
    }
}

/// The prefix in this file, if images of these layers begin alike for long enough.
fn begins_alike(path: &Path, layers: &[Digest]) -> Option<Prefix> {
    read(path).filter(|prefix| common(prefix, layers) >= SHORTEST_PREFIX)
}

fn common(prefix: &Prefix, layers: &[Digest]) -> u64 {
    let names: Vec<_> = layers.iter().map(|layer| hypr_squash::Digest::from_bytes(*layer.as_bytes())).collect();
    prefix.common(&names)
}

fn read(path: &Path) -> Option<Prefix> {
    let bytes = fs::read(path).ok()?;
    let prefix = Prefix::from_bytes(&bytes);
    prefix.inspect_err(|error| tracing::warn!(path = %path.display(), %error, "ignoring it")).ok()
}

/// Whether a file of this size may stay although nobody needs it.
fn has_room(path: &Path, size: u64) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|system| system.f_bavail.saturating_mul(system.f_frsize) / 2 > size)
}
