//! Archives as Docker, skopeo and hands write them.

use std::{fs, path::Path};

use hypr_build::image::{ImageError, LayoutLocation, load, pull};
use serde_json::json;

use crate::fixture::{Image, Packed, World, chain, files, options, pack, sha256, skopeo, tar};

async fn content(world: &World, location: &str) -> Result<String, ImageError> {
    let local = hypr_build::image::open_local(&world.store, LayoutLocation::parse(location)?).await?;
    let image = pull(&*local.source, &world.store, &options()).await?;
    Ok(files(&world.store, &image.snapshot)["file"].clone())
}

fn skopeo_archive(world: &World, kind: &str, name: &str, image: &Image) -> String {
    let layout = image.write(&world.path(&format!("{name}.layout")));
    let archive = world.path(name);
    skopeo(&format!("oci:{}:latest", layout.display()), &format!("{kind}:{}:app:1", archive.display()), &[]);
    archive.display().to_string()
}

/// A docker archive by hand: `manifest.json` as given, and files.
fn docker_archive(path: &Path, manifest: &serde_json::Value, entries: &[(&str, &[u8])]) {
    let mut archive = tar::Builder::new(fs::File::create(path).unwrap());
    let manifest = manifest.to_string();
    for (name, content) in [("manifest.json", manifest.as_bytes())].iter().chain(entries) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *content).unwrap();
    }
    archive.into_inner().unwrap();
}

#[tokio::test]
async fn archives_of_skopeo_are_read_plain_and_compressed() {
    for kind in ["docker-archive", "oci-archive"] {
        let world = World::new();
        let archive = skopeo_archive(&world, kind, "image.tar", &Image::small(kind));
        assert_eq!(content(&world, &archive).await.unwrap(), kind);
        for packed in [Packed::Gzip, Packed::Zstd] {
            let packed = pack(&fs::read(&archive).unwrap(), packed);
            fs::write(world.path("packed"), packed).unwrap();
            assert_eq!(content(&World::new(), world.path("packed").to_str().unwrap()).await.unwrap(), kind);
        }
        world.assert_no_work();
    }
}

#[tokio::test]
async fn images_of_an_archive_are_told_apart_by_name() {
    let world = World::new();
    let (one, two) = (Image::small("one"), Image::small("two"));
    let hex = |bytes: &[u8]| sha256(bytes)[7..].to_owned();
    let configs = [one.config.to_string(), two.config.to_string()];
    let manifest = json!([
        { "Config": format!("{}.json", hex(configs[0].as_bytes())), "RepoTags": ["app:1"], "Layers": ["a/layer.tar"] },
        { "Config": format!("{}.json", hex(configs[1].as_bytes())), "RepoTags": ["x.example/app:2"], "Layers": ["b.tar"] },
    ]);
    let gzip = pack(&two.layers[0].0, Packed::Gzip);
    let names = [format!("{}.json", hex(configs[0].as_bytes())), format!("{}.json", hex(configs[1].as_bytes()))];
    let entries: [(&str, &[u8]); 4] = [
        (&names[0], configs[0].as_bytes()),
        (&names[1], configs[1].as_bytes()),
        ("a/layer.tar", &one.layers[0].0),
        // Some writers compress layers.
        ("b.tar", &gzip),
    ];
    let path = world.path("image.tar");
    docker_archive(&path, &manifest, &entries);
    let path = path.display();
    assert_eq!(
        content(&world, &format!("{path}:app:1")).await.map_err(|e| e.to_string()),
        Err(format!("{path}:app is not usable as an image: there is no such file or directory"))
    );
    assert_eq!(content(&world, &format!("{path}:1")).await.unwrap(), "one");
    assert_eq!(content(&world, &format!("{path}:2")).await.unwrap(), "two");
    for bad in [format!("{path}"), format!("{path}:3")] {
        let error = content(&world, &bad).await.unwrap_err().to_string();
        assert!(error.contains("app:1, x.example/app:2"), "{error}");
    }
    let manifests = load(&world.store, LayoutLocation::parse(&format!("{path}:2")).unwrap(), &[], &options()).await;
    assert_eq!(manifests.unwrap()[0].name.as_deref(), Some("x.example/app:2"));
}

#[tokio::test]
async fn layers_that_are_links_to_others_are_followed() {
    let world = World::new();
    let image = Image::small("linked");
    let path = world.path("image.tar");
    let mut archive = tar::Builder::new(fs::File::create(&path).unwrap());
    let manifest = json!([{ "Config": "c.json", "RepoTags": null, "Layers": ["b/layer.tar"] }]).to_string();
    let config = image.config.to_string();
    for (name, content) in
        [("manifest.json", manifest.as_bytes()), ("c.json", config.as_bytes()), ("a/layer.tar", &image.layers[0].0)]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, content).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    archive.append_link(&mut header, "b/layer.tar", "../a/layer.tar").unwrap();
    archive.into_inner().unwrap();
    assert_eq!(content(&world, path.to_str().unwrap()).await.unwrap(), "linked");
}

#[tokio::test]
async fn damaged_and_foreign_archives_say_what_is_wrong() {
    let world = World::new();
    let image = Image::small("x");
    let config = image.config.to_string();
    let wrong = format!("{}.json", &sha256(b"")[7..]);
    let entry = |config: &str, layer: &str| json!([{ "Config": config, "Layers": [layer] }]);
    let files: [(&str, &[u8]); 3] = [("c.json", config.as_bytes()), (&wrong, config.as_bytes()), ("l.tar", b"other")];
    for (name, manifest, part) in [
        ("digest", entry(&wrong, "l.tar"), "has the digest"),
        ("diff", entry("c.json", "l.tar"), "convert layer"),
        ("layer", entry("c.json", "gone.tar"), "gone.tar"),
        ("config", entry("gone.json", "l.tar"), "gone.json"),
        ("shape", json!({ "Config": 1 }), "manifest.json"),
        ("none", json!([]), "no image"),
    ] {
        let path = world.path(name);
        docker_archive(&path, &manifest, &files);
        let error = content(&world, path.to_str().unwrap()).await.unwrap_err();
        assert!(chain(&error).contains(part), "{name}: {}", chain(&error));
    }
    let whole = fs::read(world.path("diff")).unwrap();
    for (name, bytes, part) in [
        ("text", b"just some text, nothing else at all".repeat(50), "no image archive"),
        ("empty", Vec::new(), "neither index.json nor manifest.json"),
        ("cut", whole[..700].to_vec(), "no image archive"),
        ("xz", b"\xfd7zXZ\0....".to_vec(), "no image archive"),
        ("tar", tar(&[("file", "x")]), "neither index.json nor manifest.json"),
    ] {
        fs::write(world.path(name), bytes).unwrap();
        let error = content(&world, world.path(name).to_str().unwrap()).await.unwrap_err();
        assert!(chain(&error).contains(part), "{name}: {}", chain(&error));
    }
    world.assert_no_trace();
}
