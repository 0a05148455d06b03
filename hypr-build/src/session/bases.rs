//! Base images, as the plan asks for them.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::try_join_all;

use super::inputs::{NamedContext, NamedContexts};
use crate::{
    digest::Digest,
    error::{Error, Location},
    image::{
        self, BaseImage, Credentials, ImageConfig, ImageError, LayerOrigin, LayoutSource, Platform, PullOptions,
        PullProgress, RegistryClient,
    },
    plan::ImageRequest,
    progress::{Event, ProgressSink, PullState},
    snapshot::Snapshot,
    store::Store,
};

/// The images that are known so far.
pub(super) struct Bases<'a> {
    store: &'a Store,
    contexts: &'a NamedContexts,
    sink: &'a Arc<dyn ProgressSink>,
    images: BTreeMap<ImageRequest, BaseImage>,
    configs: BTreeMap<ImageRequest, ImageConfig>,
    /// Made when the first image may have to come from a registry.
    registry: tokio::sync::OnceCell<Arc<RegistryClient>>,
}

impl<'a> Bases<'a> {
    pub(super) fn new(store: &'a Store, contexts: &'a NamedContexts, sink: &'a Arc<dyn ProgressSink>) -> Self {
        let (images, configs) = (BTreeMap::new(), BTreeMap::new());
        Self { store, contexts, sink, images, configs, registry: tokio::sync::OnceCell::new() }
    }

    pub(super) fn configs(&self) -> &BTreeMap<ImageRequest, ImageConfig> {
        &self.configs
    }

    pub(super) fn snapshots(&self) -> BTreeMap<ImageRequest, Snapshot> {
        self.images.iter().map(|(request, image)| (request.clone(), image.snapshot.clone())).collect()
    }

    /// Where the layers came from, by the digest of their files.
    pub(super) fn origins(&self) -> BTreeMap<Digest, LayerOrigin> {
        let layers = self.images.values().flat_map(|image| &image.layers);
        layers.filter_map(|layer| Some((layer.id.file, layer.origin.clone()?))).collect()
    }

    /// Fetches images side by side, each named by a line of the Dockerfile `file`.
    /// `stages` are the names that one of them may have been meant to be.
    pub(super) async fn fetch(
        &mut self,
        wanted: BTreeMap<ImageRequest, usize>,
        file: &str,
        stages: &[String],
    ) -> Result<(), Error> {
        let this = &*self;
        let fetched = try_join_all(wanted.into_iter().map(|(request, line)| async move {
            let image = this.one(&request).await.map_err(|source| Error::Base {
                at: Location { file: file.to_owned(), line },
                name: match request.platform == Platform::host() {
                    true => request.name.clone(),
                    false => format!("{} for {}", request.name, request.platform),
                },
                stages: match request.name.contains(['/', ':', '@']) {
                    true => Vec::new(),
                    // A stage that is based on an image of its own name is not what was meant.
                    false => {
                        stages.iter().filter(|stage| !stage.eq_ignore_ascii_case(&request.name)).cloned().collect()
                    }
                },
                source: Box::new(source),
            })?;
            Ok::<_, Error>((request, image))
        }))
        .await?;
        for (request, image) in fetched {
            for message in &image.warnings {
                self.sink.event(Event::Warning { line: None, message: message.clone() });
            }
            self.configs.insert(request.clone(), image.config.clone());
            self.images.insert(request, image);
        }
        Ok(())
    }

    /// The configuration of an image that the store or a context has; nothing is fetched for it.
    pub(super) async fn at_hand(&self, request: &ImageRequest) -> Option<ImageConfig> {
        let name = match self.contexts.0.get(&request.name) {
            Some(NamedContext::Layout(_)) => return self.one(request).await.ok().map(|image| image.config),
            Some(NamedContext::Directory(_)) => return None,
            Some(NamedContext::Image(name)) => name,
            None => &request.name,
        };
        let image = image::base_image(self.store, &name.parse().ok()?, None, &self.options(request)).await;
        image.ok().map(|image| image.config)
    }

    async fn one(&self, request: &ImageRequest) -> Result<BaseImage, ImageError> {
        let options = self.options(request);
        match self.contexts.0.get(&request.name) {
            Some(NamedContext::Layout(location)) => {
                image::pull(&LayoutSource::open(location.clone())?, self.store, &options).await
            }
            Some(NamedContext::Image(name)) => self.named(name, &options).await,
            Some(NamedContext::Directory(_)) => Err(ImageError::NotFound {
                image: request.name.clone(),
                tried: vec!["the build context of that name is a directory, not an image".to_owned()],
            }),
            None => self.named(&request.name, &options).await,
        }
    }

    async fn named(&self, name: &str, options: &PullOptions) -> Result<BaseImage, ImageError> {
        let registry =
            self.registry.get_or_init(|| async { RegistryClient::new(Credentials::from_environment()) }).await;
        image::base_image(self.store, &name.parse()?, Some(registry), options).await
    }

    fn options(&self, request: &ImageRequest) -> PullOptions {
        let mut options = PullOptions::new(request.platform.clone());
        let (sink, image) = (self.sink.clone(), request.name.clone());
        options.progress = Some(Arc::new(move |progress| {
            let (layer, state) = match progress {
                PullProgress::Started { layer, size } => (layer, PullState::Started { size }),
                PullProgress::Advanced { layer, received } => (layer, PullState::Received { bytes: received }),
                PullProgress::Finished { layer } => (layer, PullState::Finished),
                _ => return,
            };
            sink.event(Event::Pulling { image: image.clone(), layer: layer.to_string(), state });
        }));
        options
    }
}
