//! Manifests and indexes as OCI and Docker write them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image::{ImageError, Platform, Sha256Digest};

/// A manifest or index as it was fetched.
#[derive(Debug, Clone)]
pub struct Document {
    /// Exactly the bytes.
    pub bytes: Vec<u8>,
    /// What the source says that it is, for documents that do not say so themselves.
    pub media_type: Option<String>,
}

/// Points at content: what it is, its digest and its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Sha256Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Remarks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// In an index, what the image runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<DescriptorPlatform>,
}

/// The platform in an index, as written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DescriptorPlatform {
    /// Operating system.
    pub os: String,
    /// Processor.
    pub architecture: String,
    /// Variant of the processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Descriptor {
    /// A descriptor without remarks.
    pub fn new(media_type: impl Into<String>, digest: Sha256Digest, size: u64) -> Self {
        Self { media_type: media_type.into(), digest, size, annotations: None, platform: None }
    }

    /// The annotation `name`.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// The platform, if there is one that says anything.
    pub(crate) fn known_platform(&self) -> Option<Platform> {
        let platform = self.platform.as_ref()?;
        let is_unknown = |part: &str| part.is_empty() || part == "unknown";
        if is_unknown(&platform.os) && is_unknown(&platform.architecture) {
            return None;
        }
        let variant = platform.variant.as_deref().unwrap_or_default();
        Some(Platform::from_parts(&platform.os, &platform.architecture, variant))
    }

    /// Whether this is a statement about an image and not an image.
    pub(crate) fn is_attestation(&self) -> bool {
        self.annotation("vnd.docker.reference.type").is_some()
    }
}

/// What a document turned out to be.
#[derive(Debug)]
pub(crate) enum Parsed {
    Index(Vec<Descriptor>),
    Manifest { config: Descriptor, layers: Vec<Descriptor> },
}

/// The fields of both, because a document may come without saying which it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    schema_version: Option<u32>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
    signatures: Option<serde::de::IgnoredAny>,
}

const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

const CONFIGS: [&str; 3] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    // Seen in layouts made by hand.
    "application/json",
];

/// What a client accepts as the document of an image.
pub(crate) fn accepted() -> String {
    [INDEXES, MANIFESTS].concat().join(", ")
}

impl Document {
    /// Reads a document of the image that is called `image`.
    pub(crate) fn parse(&self, image: &str) -> Result<Parsed, ImageError> {
        let malformed =
            |reason: String| ImageError::Malformed { image: image.into(), what: "the manifest".into(), reason };
        let unsupported = |reason: String| ImageError::Unsupported { image: image.into(), reason };
        let fields: Fields = serde_json::from_slice(&self.bytes).map_err(|error| malformed(error.to_string()))?;
        if fields.schema_version == Some(1) || fields.fs_layers.is_some() || fields.signatures.is_some() {
            return Err(unsupported(
                "its manifest is of Docker's schema 1; push it again with a newer client".to_owned(),
            ));
        }
        if fields.schema_version.is_some_and(|version| version != 2) {
            return Err(unsupported("its manifest has an unknown schema version".to_owned()));
        }
        let media_type = fields.media_type.as_deref().or(self.media_type.as_deref()).unwrap_or_default();
        let says_index = INDEXES.contains(&media_type);
        let says_manifest = MANIFESTS.contains(&media_type);
        match (fields.manifests, fields.config, fields.layers) {
            // A document that can be read in two ways could be checked as the one and used as the other.
            (Some(_), config, layers) if config.is_some() || layers.is_some() => {
                Err(malformed("it is an index and a manifest at once".to_owned()))
            }
            (Some(_), ..) if says_manifest => Err(malformed("it says that it is no index".to_owned())),
            (Some(manifests), ..) => Ok(Parsed::Index(manifests)),
            (None, Some(_), _) if says_index => Err(malformed("it says that it is an index".to_owned())),
            (None, Some(config), layers) => {
                if let Some(kind) = fields.artifact_type.filter(|kind| !kind.is_empty()) {
                    return Err(unsupported(format!("it is an artifact of type {kind:?}, not a container image")));
                }
                if !CONFIGS.contains(&config.media_type.as_str()) {
                    let kind = &config.media_type;
                    return Err(unsupported(format!("its configuration is of type {kind:?}, not a container image's")));
                }
                Ok(Parsed::Manifest { config, layers: layers.unwrap_or_default() })
            }
            (None, None, _) => Err(malformed("it is neither a manifest nor an index".to_owned())),
        }
    }
}

/// Refuses layers that are something other than a tar that can be had, by their media type.
pub(crate) fn check_layer(layer: &Descriptor, image: &str) -> Result<(), ImageError> {
    let kind = layer.media_type.as_str();
    let unsupported = |reason: String| Err(ImageError::Unsupported { image: image.into(), reason });
    if kind.contains("foreign") || kind.contains("nondistributable") {
        return unsupported(format!("its layer {} may not be distributed (media type {kind:?})", layer.digest));
    }
    let known = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.layer.v2.tar",
        "application/x-tar",
    ];
    let suffix = known.iter().find_map(|known| kind.strip_prefix(known));
    // The compression is told from the bytes: media types are wrong about it often enough, and the diff id decides.
    match suffix {
        Some("" | "+gzip" | ".gzip" | "+zstd" | ".zstd") => Ok(()),
        Some(suffix) if suffix.contains("encrypted") => unsupported(format!("its layer {} is encrypted", layer.digest)),
        _ => unsupported(format!("its layer {} is of the unknown media type {kind:?}", layer.digest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str, media_type: Option<&str>) -> Result<Parsed, ImageError> {
        Document { bytes: text.replace("SHA", SHA).into_bytes(), media_type: media_type.map(Into::into) }.parse("x")
    }

    #[test]
    fn manifests_and_indexes_are_told_apart_by_their_fields() {
        let config = r#""config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"SHA","size":2}"#;
        let manifest = format!(r#"{{"schemaVersion":2,{config},"layers":[]}}"#);
        assert!(matches!(parse(&manifest, None), Ok(Parsed::Manifest { .. })));
        assert!(matches!(parse(&manifest, Some(MANIFESTS[1])), Ok(Parsed::Manifest { .. })));
        let index = r#"{"schemaVersion":2,"manifests":[{"digest":"SHA","size":1}]}"#;
        assert!(matches!(parse(index, Some(INDEXES[0])), Ok(Parsed::Index(entries)) if entries.len() == 1));
        for (text, media_type) in [
            (manifest.as_str(), Some(INDEXES[0])),
            (index, Some(MANIFESTS[0])),
            (&format!(r#"{{"manifests":[],{config}}}"#), None),
            (r#"{"manifests":[],"layers":[]}"#, None),
            ("{}", None),
            ("[]", None),
            ("", None),
            (r#"{"manifests":[{"digest":"sha256:00","size":1}]}"#, None),
            (r#"{"manifests":[{"digest":"SHA","size":-1}]}"#, None),
        ] {
            assert!(matches!(parse(text, media_type), Err(ImageError::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn what_is_no_container_image_is_named() {
        let artifact = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json",
            "digest":"SHA","size":2},"layers":[]}"#;
        assert!(parse(artifact, None).unwrap_err().to_string().contains("helm"));
        let schema1 = r#"{"schemaVersion":1,"fsLayers":[{"blobSum":"SHA"}],"history":[],"signatures":[]}"#;
        assert!(parse(schema1, None).unwrap_err().to_string().contains("schema 1"));
        let sha512 = r#"{"manifests":[{"digest":"sha512:00","size":1}]}"#;
        assert!(parse(sha512, None).unwrap_err().to_string().contains("only sha256"));
    }

    #[test]
    fn layers_of_other_kinds_are_refused() {
        for (kind, part) in [
            ("application/vnd.oci.image.layer.v1.tar", None),
            ("application/vnd.oci.image.layer.v1.tar+gzip", None),
            ("application/vnd.oci.image.layer.v1.tar+zstd", None),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", None),
            ("application/vnd.docker.image.rootfs.diff.tar.zstd", None),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Some("distributed")),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Some("distributed")),
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", Some("encrypted")),
            ("text/plain", Some("text/plain")),
        ] {
            let result = check_layer(&Descriptor::new(kind, Sha256Digest::of(b""), 0), "x");
            match part {
                None => assert!(result.is_ok(), "{kind}"),
                Some(part) => assert!(result.unwrap_err().to_string().contains(part), "{kind}"),
            }
        }
    }
}
