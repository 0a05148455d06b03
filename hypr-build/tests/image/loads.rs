//! Images under names of the store.

use hypr_build::image::{ImageError, LayoutLocation, Reference, base_image, load};
use hypr_squash::Reader;

use crate::fixture::{Image, Packed, World, files, options, sha256, skopeo, tar};

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

fn location(path: &std::path::Path) -> LayoutLocation {
    LayoutLocation::parse(path.to_str().unwrap()).unwrap()
}

#[tokio::test]
async fn loaded_image_has_its_own_id_and_a_merged_file_and_serves_as_base() {
    let world = World::new();
    let layers =
        [(tar(&[("etc/a", "1"), ("etc/b", "2")]), Packed::Gzip), (tar(&[("etc/.wh.a", ""), ("c", "3")]), Packed::Gzip)];
    let image = Image::new(&layers);
    let layout = image.write(&world.path("layout"));
    let names = [name("base:1"), name("x.example/base")];
    let manifests = load(&world.store, location(&layout), &names, &options()).await.unwrap();
    let manifest = &manifests[0];
    assert_eq!(manifest.name.as_deref(), Some("docker.io/library/base:1"));
    assert_eq!(manifest.id.to_string(), sha256(image.config.to_string().as_bytes()));
    assert_eq!(manifest.created.as_deref(), Some("2024-01-02T03:04:05Z"));
    assert_eq!(manifest.history.len(), 1);
    assert_eq!(manifest.platform.to_string(), "linux/amd64");
    let reader = Reader::open(std::fs::File::open(&manifest.squashfs.path).unwrap()).unwrap();
    for (path, expected) in [(&b"etc/a"[..], false), (b"etc/b", true), (b"c", true), (b"etc/.wh.a", false)] {
        assert_eq!(reader.lookup(path).unwrap().is_some(), expected, "{}", path.escape_ascii());
    }
    assert_eq!(std::fs::metadata(&manifest.squashfs.path).unwrap().len(), manifest.squashfs.size);
    for name in &names {
        assert_eq!(world.store.resolve(name).unwrap().unwrap().id, manifest.id);
        let base = base_image(&world.store, name, None, &options()).await.unwrap();
        assert_eq!(base.id, manifest.id);
        assert_eq!(files(&world.store, &base.snapshot).keys().collect::<Vec<_>>(), ["c", "etc/b"]);
        assert!(base.layers[0].origin.is_some());
    }
    world.assert_no_work();
}

#[tokio::test]
async fn loading_again_moves_the_name_and_removes_what_nothing_names() {
    let world = World::new();
    let first = Image::small("1").write(&world.path("one"));
    let second = Image::small("2").write(&world.path("two"));
    let names = [name("app")];
    let before = load(&world.store, location(&first), &names, &options()).await.unwrap().remove(0);
    let after = load(&world.store, location(&second), &names, &options()).await.unwrap().remove(0);
    assert_eq!(world.store.resolve(&names[0]).unwrap().unwrap().id, after.id);
    assert!(!before.squashfs.path.exists() && after.squashfs.path.exists());
    let again = load(&world.store, location(&second), &names, &options()).await.unwrap().remove(0);
    assert_eq!(again, after);
    assert!(after.squashfs.path.exists());
}

#[tokio::test]
async fn archive_brings_its_names_along() {
    let world = World::new();
    let layout = Image::small("x").write(&world.path("layout"));
    let archive = world.path("image.tar");
    skopeo(
        &format!("oci:{}:latest", layout.display()),
        &format!("docker-archive:{}:team/app:7", archive.display()),
        &[],
    );
    let manifests = load(&world.store, location(&archive), &[], &options()).await.unwrap();
    assert_eq!(manifests[0].name.as_deref(), Some("docker.io/team/app:7"));
    // A layout has no whole names; the image is in the store without one.
    let manifests = load(&world.store, location(&layout), &[], &options()).await.unwrap();
    assert_eq!(manifests[0].name, None);
}

#[tokio::test]
async fn image_that_is_nowhere_says_where_it_was_looked_for() {
    let world = World::new();
    let error = base_image(&world.store, &name("nothing"), None, &options()).await.unwrap_err();
    assert!(matches!(error, ImageError::NotFound { .. }));
    let text = error.to_string();
    assert!(text.contains("docker.io/library/nothing:latest") && text.contains("hypr load"), "{text}");
}
