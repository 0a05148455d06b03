//! The registry that Debian has, with images that skopeo pushed.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use hypr_build::image::{Credentials, ImageError, Reference, RegistryClient, RegistrySource, base_image, pull};

use crate::fixture::{Image, Packed, World, files, options, sha256, skopeo, tar};

/// `docker-registry` until it is dropped.
struct Registry {
    child: Child,
    address: String,
    storage: PathBuf,
}

impl Registry {
    fn start(folder: &Path) -> Self {
        let storage = folder.join("registry");
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:0'}}\n",
            storage.display()
        );
        fs::write(&config, text).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is installed");
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = log.next().expect("a line that says where it listens").unwrap();
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split('"').next().unwrap().to_owned();
            }
        };
        // A full pipe would stop it.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, address, storage }
    }

    fn push(&self, layout: &Path, name: &str, flags: &[&str]) -> Reference {
        let full = format!("{}/{name}", self.address);
        let flags = [&["--dest-tls-verify=false"], flags].concat();
        skopeo(&format!("oci:{}:latest", layout.display()), &format!("docker://{full}"), &flags);
        full.parse().unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn pushed_images_are_pulled_by_tag_and_digest_in_both_forms() {
    let world = World::new();
    let registry = Registry::start(world.folder.path());
    let layers = [(tar(&[("etc/one", "1"), ("two", "2")]), Packed::Gzip), (tar(&[(".wh.two", "")]), Packed::Gzip)];
    let layout = Image::new(&layers).write(&world.path("layout"));
    let client = RegistryClient::new(Credentials::none());
    for (name, format) in [("base:1", "oci"), ("team/base:v2s2", "v2s2")] {
        let reference = registry.push(&layout, name, &["--format", format]);
        let image = base_image(&world.store, &reference, Some(&client), &options()).await.unwrap();
        assert_eq!(files(&world.store, &image.snapshot).keys().collect::<Vec<_>>(), ["etc/one"], "{format}");
        assert_eq!(image.name, reference.to_string());
        let by_digest = format!("{}@{}", reference.name(), image.manifest.unwrap()).parse().unwrap();
        let same = base_image(&world.store, &by_digest, Some(&client), &options()).await.unwrap();
        assert_eq!((same.id, same.snapshot), (image.id, image.snapshot));
    }
    let missing = format!("{}/base:2", registry.address).parse().unwrap();
    let error = base_image(&world.store, &missing, Some(&client), &options()).await.unwrap_err();
    assert!(matches!(error, ImageError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains(&registry.address), "{error}");
    world.assert_no_work();
}

#[tokio::test]
async fn blob_that_the_registry_damaged_is_refused() {
    let world = World::new();
    let registry = Registry::start(world.folder.path());
    let image = Image::small("x");
    let reference = registry.push(&image.write(&world.path("layout")), "base:1", &["--preserve-digests"]);
    let digest = sha256(&image.blobs()[1]);
    let hex = &digest[7..];
    let data = registry.storage.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    let mut bytes = fs::read(&data).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&data, bytes).unwrap();
    let source = RegistrySource::new(RegistryClient::new(Credentials::none()), reference);
    let error = pull(&source, &world.store, &options()).await.unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");
    assert!(error.to_string().contains(&digest), "{error}");
    world.assert_no_trace();
}
