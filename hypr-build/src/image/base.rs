//! Where a `FROM` gets its image: names of the store first, then the registry that the name speaks of.

use std::sync::Arc;

use super::{
    BaseImage, ImageError, Manifest, PullOptions, Reference, RegistryClient, RegistrySource, pull, source::blocking,
};
use crate::{snapshot::Snapshot, store::Store};

/// Finds the image that `reference` names and brings it into the store if need be.
///
/// An image of the store that runs on another platform is passed over. Without a `registry` only the store is asked.
///
/// # Errors
/// Fails when the image is nowhere, and as [`pull`].
pub async fn base_image(
    store: &Store,
    reference: &Reference,
    registry: Option<&Arc<RegistryClient>>,
    options: &PullOptions,
) -> Result<BaseImage, ImageError> {
    let mut tried = Vec::new();
    match stored_image(store, reference).await? {
        Some(manifest) if options.platform.fit(&manifest.platform).is_some() => match from_manifest(store, &manifest) {
            Some(image) => return Ok(image),
            None => tried.push("the local store has lost layers of it; build or load it again".to_owned()),
        },
        Some(manifest) => tried.push(format!("the local store has it for {} only", manifest.platform)),
        None => tried.push("the local store does not have it; `hypr load PATH -t NAME` would import it".to_owned()),
    }
    let Some(client) = registry else {
        return Err(ImageError::NotFound { image: reference.to_string(), tried });
    };
    let source = RegistrySource::new(Arc::clone(client), reference.clone());
    match pull(&source, store, options).await {
        Err(ImageError::NotFound { image, tried: there }) => {
            tried.extend(there);
            Err(ImageError::NotFound { image, tried })
        }
        result => result,
    }
}

async fn stored_image(store: &Store, reference: &Reference) -> Result<Option<Manifest>, ImageError> {
    // A digest names a manifest of OCI, of which the store's images have none.
    if reference.digest().is_some() {
        return Ok(None);
    }
    let (store, reference) = (store.clone(), reference.clone());
    Ok(blocking(move || store.resolve(&reference)).await??)
}

/// An image of the store as a base, or `None` if a layer of it is gone.
pub fn from_manifest(store: &Store, manifest: &Manifest) -> Option<BaseImage> {
    let layers = manifest.layers.iter().map(|layer| store.layer(&layer.id)).collect::<Option<Vec<_>>>()?;
    Some(BaseImage {
        name: manifest.name.clone().unwrap_or_else(|| manifest.id.to_string()),
        id: manifest.id,
        config: manifest.config.clone(),
        snapshot: Snapshot::new(layers),
        layers: manifest.layers.clone(),
        manifest: None,
        warnings: Vec::new(),
    })
}
