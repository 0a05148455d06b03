//! The manifest: the JSON document that hypr's store keeps of an image and that a name points at.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{History, ImageConfig, Platform, Sha256Digest};
use crate::{digest::Digest, snapshot::LayerId};

/// What hypr's store knows of one image under one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this document's form: [`Manifest::VERSION`].
    pub version: u32,
    /// The canonical name, such as `docker.io/library/app:1`. `None` for an image without one.
    #[serde(default)]
    pub name: Option<String>,
    /// The image's id: the SHA-256 of its configuration's bytes, which `blobs/sha256` keeps.
    pub id: Sha256Digest,
    /// When the image was made, RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// What the image runs on.
    pub platform: Platform,
    /// The whole OCI image configuration.
    pub config: ImageConfig,
    /// The layers that the image was merged from, lowest first.
    pub layers: Vec<ImageLayer>,
    /// One entry an instruction, those of the base first.
    pub history: Vec<History>,
    /// The merged image.
    pub squashfs: SquashfsFile,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    /// Digests and size of the layer in the store.
    #[serde(flatten)]
    pub id: LayerId,
    /// Where the layer came from, if not from a build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<LayerOrigin>,
}

/// The blob that a layer was converted from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerOrigin {
    /// Media type as in the image's manifest.
    pub media_type: String,
    /// Digest of the blob, compressed as it came.
    pub digest: Sha256Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: Sha256Digest,
    /// The image that brought it, without credentials: a reference, or a path with its scheme.
    pub source: String,
}

/// The merged image's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SquashfsFile {
    /// Where the store keeps it, absolute.
    pub path: PathBuf,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// BLAKE3 of the canonical tree.
    pub content: Digest,
    /// Bytes.
    pub size: u64,
}

impl Manifest {
    /// The version of the form that this hypr writes.
    pub const VERSION: u32 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_round_trips() -> Result<(), serde_json::Error> {
        let digest = Digest::of(b"x");
        let layer = LayerId { file: digest, content: digest, size: 7 };
        let origin = LayerOrigin {
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
            digest: Sha256Digest::of(b"blob"),
            size: 9,
            diff_id: Sha256Digest::of(b"tar"),
            source: "docker.io/library/base:1".into(),
        };
        let config = ImageConfig::new(&Platform::host());
        let manifest = Manifest {
            version: Manifest::VERSION,
            name: Some("docker.io/library/app:1".into()),
            id: config.id(),
            created: None,
            platform: Platform::host(),
            config,
            layers: vec![ImageLayer { id: layer, origin: Some(origin) }, ImageLayer { id: layer, origin: None }],
            history: vec![History { created_by: Some("COPY . .".into()), ..History::default() }],
            squashfs: SquashfsFile { path: "/r/images/x.squashfs".into(), digest, content: digest, size: 8 },
        };
        let text = serde_json::to_string(&manifest)?;
        assert_eq!(serde_json::from_str::<Manifest>(&text)?, manifest);
        Ok(())
    }
}
