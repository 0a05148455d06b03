//! Images from files on this machine, under names of the store: `hypr load`.

use super::{
    ArchiveSource, BaseImage, ImageError, ImageSource, LayoutLocation, LayoutSource, Manifest, Platform, PullOptions,
    Reference, merged::merge_image, pull, source::blocking,
};
use crate::store::{Store, StoreError, WorkDir};

/// An image on this machine that is open for reading.
#[derive(Debug)]
pub struct LocalSource {
    /// The image.
    pub source: Box<dyn ImageSource>,
    /// The names that its archive has for it, as written there.
    pub names: Vec<String>,
    _work: Option<WorkDir>,
}

/// Opens an OCI layout directory, or an archive of Docker or OCI, whichever is at `location`.
///
/// An archive is read into the store's work folder, where it stays as long as the source.
///
/// # Errors
/// Fails when there is nothing at the path or it is none of these.
pub async fn open_local(store: &Store, location: LayoutLocation) -> Result<LocalSource, ImageError> {
    if location.path.is_dir() {
        let source = blocking(move || LayoutSource::open(location)).await??;
        return Ok(LocalSource { source: Box::new(source), names: Vec::new(), _work: None });
    }
    let store = store.clone();
    let opened = blocking(move || -> Result<_, StoreError> {
        let work = store.work_dir()?;
        let spool = work.unnamed_file()?;
        Ok((work, spool))
    });
    let (work, spool) = opened.await??;
    let (source, names) = ArchiveSource::open(location, spool).await?;
    Ok(LocalSource { source: Box::new(source), names, _work: Some(work) })
}

/// Imports an image into the store under `names`, or, if there are none, under those that its archive has for it.
///
/// Returns one manifest a name; a single one without a name for an image that nobody has a name for.
///
/// # Errors
/// Fails when the image cannot be read or is not what its digests promise. No name changes then.
pub async fn load(
    store: &Store,
    location: LayoutLocation,
    names: &[Reference],
    options: &PullOptions,
) -> Result<Vec<Manifest>, ImageError> {
    let LocalSource { source, names: saved, _work } = open_local(store, location).await?;
    let image = pull(&*source, store, options).await?;
    let names = match names {
        [] => saved.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
        names => names.to_vec(),
    };
    keep(store, &image, names, options).await
}

/// Merges an image as it is, and lets `names` point at it.
async fn keep(
    store: &Store,
    image: &BaseImage,
    names: Vec<Reference>,
    options: &PullOptions,
) -> Result<Vec<Manifest>, ImageError> {
    let merged = merge_image(store, &image.name, &image.snapshot, &options.encoder, &[]).await?;
    let manifest = Manifest {
        version: Manifest::VERSION,
        name: None,
        id: image.id,
        created: image.config.created.clone(),
        platform: platform(image, &options.platform),
        config: image.config.clone(),
        layers: image.layers.clone(),
        history: image.config.history.clone(),
        squashfs: merged.squashfs.clone(),
    };
    let store = store.clone();
    blocking(move || {
        if names.is_empty() {
            store.keep(&manifest)?;
            return Ok(vec![manifest]);
        }
        let mut replaced = Vec::new();
        let mut manifests = Vec::new();
        for name in names {
            let manifest = Manifest { name: Some(name.to_string()), ..manifest.clone() };
            replaced.extend(store.tag(&name, &manifest)?.map(|before| before.squashfs.digest));
            manifests.push(manifest);
        }
        drop(merged);
        for digest in replaced {
            store.release_image(&digest)?;
        }
        Ok(manifests)
    })
    .await?
}

/// What the image says that it runs on, and what it was asked for where it says nothing.
fn platform(image: &BaseImage, wanted: &Platform) -> Platform {
    let said = image.config.platform();
    if said.os().is_empty() || said.architecture().is_empty() { wanted.clone() } else { said }
}
