//! Images made by hand, and what of them is in a store.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use hypr_build::{
    Snapshot,
    image::{
        BaseImage, ImageError, LayoutLocation, LayoutSource, Platform, PullOptions, PullProgress, Sha256Digest, pull,
    },
    store::Store,
};
use hypr_squash::{Kind, Overlay};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A folder with a store in it.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) store: Store,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Pulls from a layout.
    pub(crate) async fn pull(&self, layout: &Path) -> Result<BaseImage, ImageError> {
        self.pull_at(&layout.display().to_string()).await
    }

    pub(crate) async fn pull_at(&self, location: &str) -> Result<BaseImage, ImageError> {
        let source = LayoutSource::open(LayoutLocation::parse(location)?)?;
        pull(&source, &self.store, &options()).await
    }

    /// What a failed pull must not leave behind: layers, and work in progress.
    pub(crate) fn assert_no_trace(&self) {
        let layers = fs::read_dir(self.store.root().join("layers")).unwrap();
        assert_eq!(
            layers.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(),
            Vec::<std::ffi::OsString>::new()
        );
        self.assert_no_work();
    }

    pub(crate) fn assert_no_work(&self) {
        let left: Vec<_> = fs::read_dir(self.store.root().join("tmp"))
            .unwrap()
            .flat_map(|entry| {
                let path = entry.unwrap().path();
                // The folder itself stays as long as the store is open.
                if path.is_dir() {
                    fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect()
                } else {
                    vec![path]
                }
            })
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }
}

pub(crate) fn options() -> PullOptions {
    PullOptions::new("linux/amd64".parse::<Platform>().unwrap())
}

/// Options that write down what happens.
pub(crate) fn recording() -> (PullOptions, Arc<Mutex<Vec<PullProgress>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let progress = move |event| sink.lock().unwrap().push(event);
    (PullOptions { progress: Some(Arc::new(progress)), ..options() }, events)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packed {
    Gzip,
    Zstd,
    Plain,
}

/// An image to be written as a layout.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) layers: Vec<(Vec<u8>, Packed)>,
    pub(crate) config: Value,
}

impl Image {
    pub(crate) fn new(layers: &[(Vec<u8>, Packed)]) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|(tar, _)| sha256(tar)).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z",
            "config": { "Env": ["PATH=/bin"], "OnBuild": ["RUN true"], "Shell": ["/bin/ash", "-c"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": [{ "created_by": "COPY . ." }],
        });
        Self { layers: layers.to_vec(), config }
    }

    /// One gzip layer with one file.
    pub(crate) fn small(content: &str) -> Self {
        Self::new(&[(tar(&[("file", content)]), Packed::Gzip)])
    }

    /// The blobs: configuration, layers in order, manifest.
    pub(crate) fn blobs(&self) -> Vec<Vec<u8>> {
        let config = self.config.to_string().into_bytes();
        let layers: Vec<_> = self.layers.iter().map(|(tar, packed)| pack(tar, *packed)).collect();
        let descriptors: Vec<_> = self
            .layers
            .iter()
            .zip(&layers)
            .map(|((_, packed), blob)| {
                let suffix = match packed {
                    Packed::Gzip => "+gzip",
                    Packed::Zstd => "+zstd",
                    Packed::Plain => "",
                };
                descriptor(&format!("application/vnd.oci.image.layer.v1.tar{suffix}"), blob)
            })
            .collect();
        let config_descriptor = descriptor("application/vnd.oci.image.config.v1+json", &config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config_descriptor, "layers": descriptors,
        });
        [vec![config], layers, vec![manifest.to_string().into_bytes()]].concat()
    }

    /// Writes a layout with this image alone, under the name `latest`.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let manifest = self.add_to(folder);
        write_index(folder, &[named(manifest, "latest")]);
        folder.to_owned()
    }

    /// Adds the blobs to a layout and returns the manifest's descriptor.
    pub(crate) fn add_to(&self, folder: &Path) -> Value {
        let blobs = self.blobs();
        for blob in &blobs {
            put(folder, blob);
        }
        descriptor(MANIFEST, blobs.last().unwrap())
    }
}

pub(crate) fn write_index(folder: &Path, manifests: &[Value]) {
    fs::write(folder.join("index.json"), json!({ "schemaVersion": 2, "manifests": manifests }).to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

pub(crate) fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({ REF_NAME: name });
    descriptor
}

pub(crate) fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": sha256(blob), "size": blob.len() })
}

/// Writes a blob into a layout.
pub(crate) fn put(folder: &Path, blob: &[u8]) -> PathBuf {
    let path = blob_path(folder, blob);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, blob).unwrap();
    path
}

pub(crate) fn blob_path(folder: &Path, blob: &[u8]) -> PathBuf {
    folder.join("blobs/sha256").join(Sha256Digest::of(blob).hex())
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256Digest::of(bytes).to_string()
}

/// A tar of regular files.
pub(crate) fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(crate) fn pack(tar: &[u8], packed: Packed) -> Vec<u8> {
    match packed {
        Packed::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(tar).unwrap();
            gzip.finish().unwrap()
        }
        Packed::Zstd => zstd::encode_all(tar, 1).unwrap(),
        Packed::Plain => tar.to_vec(),
    }
}

/// The regular files of a snapshot: path to content.
pub(crate) fn files(store: &Store, snapshot: &Snapshot) -> BTreeMap<String, String> {
    let layers = snapshot.layers().iter().map(|layer| Arc::new(store.open_layer(layer).unwrap())).collect();
    let mut found = BTreeMap::new();
    for visit in Overlay::new(layers).walk() {
        let (path, node) = visit.unwrap();
        if matches!(node.kind().unwrap(), Kind::File { .. }) {
            let mut content = String::new();
            node.open().unwrap().read_to_string(&mut content).unwrap();
            found.insert(String::from_utf8(path).unwrap(), content);
        }
    }
    found
}

/// Runs `skopeo copy`, which answers for the forms that others write.
pub(crate) fn skopeo(from: &str, to: &str, flags: &[&str]) {
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet"])
        .args(flags)
        .args([from, to])
        .output()
        .expect("skopeo is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The error and its causes, one behind the other.
pub(crate) fn chain(error: &ImageError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}
