//! Building twice, to see whether the same comes out.
//!
//! The first build is the real one, in the store, with nothing taken from the cache. The second has a store of its own,
//! which knows the base images and nothing else. Names are given only when both came to the same.

mod compare;

use std::{
    fs::{self, File},
    io, mem,
    path::Path,
    sync::Arc,
};

pub use self::compare::{Change, PathDifference};
use super::{BuiltImage, blocking, export, solve};
use crate::{
    builder::{Builder, ContextSource},
    error::Error,
    image::{Manifest, Reference},
    plan::CacheUse,
    progress::{Event, ProgressSink},
    store::{Store, StoreError, resolve_root},
};

/// What building twice came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Verified {
    /// The image; `None` when the two differ, and so no name was given.
    pub image: Option<BuiltImage>,
    /// In what they differ, in the order of the paths.
    pub differences: Vec<PathDifference>,
}

/// Builds twice what `builder` describes and compares.
pub(crate) async fn verify(mut builder: Builder) -> Result<Verified, Error> {
    let root = builder.store.clone();
    let store = blocking(move || Ok(Store::open(&resolve_root(root.as_deref())?)?)).await?;
    let tags = mem::take(&mut builder.tags);
    let names = tags.iter().map(|tag| tag.parse()).collect::<Result<Vec<Reference>, _>>()?;
    let sink = builder.sink.clone();
    builder.cache = CacheUse::None;
    builder.store = Some(store.root().to_owned());
    builder.sink = Arc::new(Unfinished(sink.clone()));
    let work = store.work_dir()?;
    let path = work.path().to_owned();
    let (builder, twin, context) = blocking(move || {
        let context = spool(&mut builder, &path)?;
        let mut twin = builder.twin();
        if let Some(context) = &context {
            twin.context = tar(context)?;
        }
        Ok((builder, twin, context))
    })
    .await?;
    drop(context);

    let first = export::export(solve(builder).await?).await?;
    let second_root = work.path().join("second");
    let bases = (store.clone(), second_root.clone());
    blocking(move || Ok(know_bases(&bases.0, &bases.1)?)).await?;
    let second = export::export(solve(twin.store(&second_root)).await?).await?;

    let (one, two) = (first.manifest().clone(), second.manifest().clone());
    let differences = blocking(move || Ok(compare::images(&one, &two)?)).await?;
    let unnamed = first.manifest().clone();
    if !differences.is_empty() {
        blocking(move || {
            // Nobody asked for an image that cannot be had twice; one that has a name from before stays.
            let images = store.images()?;
            if !images.iter().any(|image| image.name.is_some() && image.manifest.id == unnamed.id) {
                store.remove_image(&unnamed.id)?;
            }
            Ok(())
        })
        .await?;
        return Ok(Verified { image: None, differences });
    }
    let image = blocking(move || {
        let mut manifest = unnamed;
        for name in &names {
            manifest.name = Some(name.to_string());
            if let Some(before) = store.tag(name, &manifest)?.filter(|before| before.squashfs != manifest.squashfs) {
                store.retire_image(&before.squashfs.digest)?;
            }
        }
        Ok(BuiltImage::new(manifest, &names))
    })
    .await?;
    let Manifest { squashfs, id, .. } = image.manifest();
    sink.event(Event::Exported {
        digest: squashfs.digest,
        size: squashfs.size,
        id: id.to_string(),
        names: image.names().to_vec(),
    });
    Ok(Verified { image: Some(image), differences })
}

/// Hands on what happens, but for the image: whether there is one is known after the second build.
struct Unfinished(Arc<dyn ProgressSink>);

impl ProgressSink for Unfinished {
    fn event(&self, event: Event) {
        if !matches!(event, Event::Exported { .. }) {
            self.0.event(event);
        }
    }
}

/// Keeps a context that can be read only once in a file, and lets the builder read that.
fn spool(builder: &mut Builder, work: &Path) -> Result<Option<std::path::PathBuf>, Error> {
    if !matches!(builder.context, ContextSource::Tar(_)) {
        return Ok(None);
    }
    let path = work.join("context");
    if let ContextSource::Tar(archive) = &mut builder.context {
        let written = File::create(&path).and_then(|mut file| io::copy(archive, &mut file));
        written.map_err(|error| StoreError::io("write", &path, error))?;
    }
    builder.context = tar(&path)?;
    Ok(Some(path))
}

fn tar(path: &Path) -> Result<ContextSource, Error> {
    let file = File::open(path).map_err(|error| StoreError::io("read", path, error))?;
    Ok(ContextSource::Tar(Box::new(file)))
}

/// Makes a store at `root` that has the images of `store`, by links to its files, and an empty cache.
fn know_bases(store: &Store, root: &Path) -> Result<(), StoreError> {
    Store::open(root)?;
    for folder in ["layers", "blobs/sha256", "images"] {
        let (from, to) = (store.root().join(folder), root.join(folder));
        link(&from, &to).map_err(|error| StoreError::io("link", to, error))?;
    }
    // What an ordinary user's sandboxes unpacked of the bases serves both.
    let (from, to) = (store.folder("unpacked")?, root.join("unpacked"));
    fs::remove_dir(&to)
        .and_then(|()| std::os::unix::fs::symlink(from, &to))
        .map_err(|error| StoreError::io("link", to, error))
}

fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, place) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            link(&path, &place)?;
        } else if path.parent().is_none_or(|parent| !parent.ends_with("images")) {
            // The files of images are not among what a build reads. Another process may remove a name meanwhile.
            match fs::hard_link(&path, &place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
    }
    Ok(())
}
