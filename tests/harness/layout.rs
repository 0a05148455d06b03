//! A base image as an OCI layout.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::layer::Layer;

/// An image to be written as an OCI layout.
#[derive(Debug)]
#[must_use]
pub struct Layout {
    layers: Vec<Layer>,
    compression: &'static str,
    config: Map<String, Value>,
}

impl Layout {
    /// An image of no layer, with the usual `PATH`.
    pub fn new() -> Self {
        let mut config = Map::new();
        config.insert("Env".into(), json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]));
        Self { layers: Vec::new(), compression: "gzip", config }
    }

    /// An image of one layer with busybox in it.
    pub fn busybox() -> Self {
        Self::new().layer(Layer::busybox())
    }

    /// Puts a layer on top.
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Sets a field of the configuration's `config`, such as `Env` or `OnBuild`.
    pub fn config(mut self, field: &str, value: Value) -> Self {
        self.config.insert(field.into(), value);
        self
    }

    /// How layers are compressed: `gzip` (the default), `zstd`, or `none`.
    pub fn compression(mut self, name: &'static str) -> Self {
        self.compression = name;
        self
    }

    /// Writes the layout, the image under the tag `latest`. Returns the path as it was given.
    pub fn write(&self, to: impl Into<PathBuf>) -> PathBuf {
        let to = to.into();
        fs::create_dir_all(to.join("blobs/sha256")).expect("a new folder");
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for layer in &self.layers {
            let tar = layer.tar();
            diff_ids.push(json!(sha256(&tar)));
            let (suffix, blob) = match self.compression {
                "gzip" => {
                    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    gzip.write_all(&tar).expect("memory can be written");
                    ("+gzip", gzip.finish().expect("memory can be written"))
                }
                "zstd" => ("+zstd", zstd::encode_all(&tar[..], 1).expect("memory can be written")),
                "none" => ("", tar),
                other => panic!("no compression is called {other}"),
            };
            layers.push(descriptor(&to, &format!("application/vnd.oci.image.layer.v1.tar{suffix}"), &blob));
        }
        let config = json!({
            "created": "2024-01-02T03:04:05Z",
            "architecture": "amd64",
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": diff_ids.iter().map(|_| json!({ "created_by": "tests" })).collect::<Vec<_>>(),
        });
        let config = config.to_string();
        let config = descriptor(&to, "application/vnd.oci.image.config.v1+json", config.as_bytes());
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
        let mut manifest = descriptor(&to, media_type, manifest.to_string().as_bytes());
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(to.join("index.json"), index.to_string()).expect("a file in the layout");
        fs::write(to.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file in the layout");
        to
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes a blob and describes it.
fn descriptor(layout: &Path, media_type: &str, blob: &[u8]) -> Value {
    let digest = sha256(blob);
    fs::write(layout.join("blobs").join(digest.replace(':', "/")), blob).expect("a file in the layout");
    json!({ "mediaType": media_type, "digest": digest, "size": blob.len() })
}

fn sha256(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}
