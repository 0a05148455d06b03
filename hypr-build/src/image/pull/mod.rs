//! From an image's layers, wherever they are, to layers of the store.
//!
//! Each layer is one stream: fetched, checked, decompressed, checked again, taken apart and written as squashfs, while
//! the blob itself is kept beside. Several layers go at once, and one that the store has is not touched at all.

mod layer;

use std::{fmt, sync::Arc};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{
    GrowthLimit, ImageConfig, ImageError, ImageLayer, ImageSource, LayerOrigin, Platform, ResolvedImage, ResolvedLayer,
    Sha256Digest, source::resolve,
};
use crate::{
    snapshot::{Layer, Snapshot},
    store::Store,
};

/// An image in the store that others can be built on.
#[derive(Debug, Clone)]
pub struct BaseImage {
    /// Its name in its source: a reference, or a path with its scheme.
    pub name: String,
    /// Its id: the digest of its configuration as it came.
    pub id: Sha256Digest,
    /// Its configuration. [`ImageConfig::into_base`] is what a child begins with.
    pub config: ImageConfig,
    /// Its layers, to be mounted or merged.
    pub snapshot: Snapshot,
    /// The same layers with their origins, for the manifest.
    pub layers: Vec<ImageLayer>,
    /// Digest of its manifest, if it came with one.
    pub manifest: Option<Sha256Digest>,
    /// What is odd about the image but no reason to refuse it.
    pub warnings: Vec<String>,
}

/// How images are brought into the store.
#[derive(Clone)]
pub struct PullOptions {
    /// Which variant of an image is wanted.
    pub platform: Platform,
    /// How layers are written.
    pub encoder: hypr_squash::Options,
    /// How much layers may grow.
    pub growth: GrowthLimit,
    /// Layers that are fetched at once.
    pub parallel: usize,
    /// Is told how it goes, on whatever thread.
    pub progress: Option<Arc<dyn Fn(PullProgress) + Send + Sync>>,
}

/// What happens to one layer. The digest is that of its blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PullProgress {
    /// The store has the layer.
    Cached {
        /// The layer.
        layer: Sha256Digest,
    },
    /// The transfer begins.
    Started {
        /// The layer.
        layer: Sha256Digest,
        /// Bytes of its blob.
        size: u64,
    },
    /// Some more of the blob is there.
    Advanced {
        /// The layer.
        layer: Sha256Digest,
        /// Bytes so far.
        received: u64,
    },
    /// The layer is in the store.
    Finished {
        /// The layer.
        layer: Sha256Digest,
    },
}

impl PullOptions {
    /// For `platform`, with four layers at once and default limits.
    pub fn new(platform: Platform) -> Self {
        let encoder = hypr_squash::Options::default();
        Self { platform, encoder, growth: GrowthLimit::default(), parallel: 4, progress: None }
    }

    fn report(&self, event: PullProgress) {
        if let Some(progress) = &self.progress {
            progress(event);
        }
    }
}

impl fmt::Debug for PullOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullOptions").field("platform", &self.platform).finish_non_exhaustive()
    }
}

/// Brings an image into the store.
///
/// Dropping the future ends all transfers and leaves nothing but layers that are complete.
///
/// # Errors
/// Fails when the image cannot be found or read, or is not what its digests promise.
pub async fn pull(source: &dyn ImageSource, store: &Store, options: &PullOptions) -> Result<BaseImage, ImageError> {
    let resolved = resolve(source, &options.platform, store).await?;
    pull_resolved(source, resolved, store, options).await
}

/// Brings the layers of an image into the store that was resolved before, by the same source.
///
/// # Errors
/// As [`pull`].
pub async fn pull_resolved(
    source: &dyn ImageSource,
    resolved: ResolvedImage,
    store: &Store,
    options: &PullOptions,
) -> Result<BaseImage, ImageError> {
    let ResolvedImage { manifest, id, config, layers, mut warnings } = resolved;
    let pulls = layers.into_iter().map(|layer| layer::pull(source, layer, store, options));
    let pulled: Vec<Pulled> = stream::iter(pulls).buffered(options.parallel.max(1)).try_collect().await?;
    warnings.extend(pulled.iter().flat_map(|pulled| pulled.warnings.iter().cloned()));
    let snapshot = pulled.iter().map(|pulled| pulled.layer.clone()).collect();
    let layers = pulled
        .into_iter()
        .map(|Pulled { layer, resolved, .. }| ImageLayer { id: layer.id, origin: Some(origin(source, resolved)) })
        .collect();
    let name = source.name().to_owned();
    Ok(BaseImage { name, id, config, snapshot, layers, manifest: Some(manifest), warnings })
}

/// A layer that is in the store.
struct Pulled {
    layer: Layer,
    resolved: ResolvedLayer,
    warnings: Vec<String>,
}

fn origin(source: &dyn ImageSource, layer: ResolvedLayer) -> LayerOrigin {
    let ResolvedLayer { descriptor, diff_id } = layer;
    LayerOrigin {
        media_type: descriptor.media_type,
        digest: descriptor.digest,
        size: descriptor.size,
        diff_id,
        source: source.name().to_owned(),
    }
}
