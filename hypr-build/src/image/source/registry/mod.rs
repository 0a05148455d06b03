//! Registries, by the pull half of the OCI distribution protocol.
//!
//! Three requests are all of it: a manifest, a blob, a token. They are made here on the HTTP client itself, because
//! whatever a registry sends has to be bounded, manifests and error texts and tokens included, and a transfer that
//! breaks has to go on where it broke.

mod auth;
mod blob;
mod client;
mod credentials;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::{client::RegistryClient, credentials::Credentials};
use super::{BlobReader, Descriptor, Document, ImageSource, document};
use crate::image::{ImageError, Reference};

/// An image in a registry.
#[derive(Debug)]
pub struct RegistrySource {
    client: Arc<RegistryClient>,
    reference: Reference,
    name: String,
}

impl RegistrySource {
    /// The image `reference`. Nothing is asked of the registry yet.
    pub fn new(client: Arc<RegistryClient>, reference: Reference) -> Self {
        let name = reference.to_string();
        Self { client, reference, name }
    }
}

#[async_trait]
impl ImageSource for RegistrySource {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_remote(&self) -> bool {
        true
    }

    async fn document(&self, descriptor: Option<&Descriptor>) -> Result<Document, ImageError> {
        let wanted = match descriptor {
            Some(descriptor) => descriptor.digest.to_string(),
            None => self.reference.tag_or_digest().to_owned(),
        };
        let document = self.client.manifest(&self.reference, &wanted, &document::accepted()).await?;
        // A digest that somebody wrote by hand has no descriptor that it would be checked against.
        if let (None, Some(digest)) = (descriptor, self.reference.digest()) {
            let image = || self.name.clone();
            let expected = digest.parse().map_err(|error: crate::image::InvalidSha256| ImageError::Unsupported {
                image: image(),
                reason: error.to_string(),
            })?;
            let found = crate::image::Sha256Digest::of(&document.bytes);
            if expected != found {
                return Err(ImageError::Digest { image: image(), what: "the manifest".to_owned(), expected, found });
            }
        }
        Ok(document)
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, ImageError> {
        blob::open(Arc::clone(&self.client), self.reference.clone(), descriptor).await
    }
}
