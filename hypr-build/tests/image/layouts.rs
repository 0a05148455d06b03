//! OCI layout directories.

use std::{fs, os::unix::fs::symlink, process::Command, time::Duration};

use hypr_build::image::{GrowthLimit, ImageError, LayoutLocation, LayoutSource, PullOptions, PullProgress, pull};
use serde_json::json;

use crate::fixture::{
    INDEX, Image, Packed, World, blob_path, chain, descriptor, files, named, options, put, recording, sha256, skopeo,
    tar, write_index,
};

#[tokio::test]
async fn layers_of_every_compression_make_a_snapshot() {
    let world = World::new();
    let layers = [
        (tar(&[("etc/one", "1"), ("etc/two", "2")]), Packed::Gzip),
        (tar(&[("etc/one", "changed"), ("big", &"b".repeat(1 << 20))]), Packed::Zstd),
        (tar(&[("etc/.wh.two", ""), ("last", "")]), Packed::Plain),
    ];
    let image = world.pull(&Image::new(&layers).write(&world.path("layout"))).await.unwrap();
    assert_eq!(image.layers.len(), 3);
    let found = files(&world.store, &image.snapshot);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["big", "etc/one", "last"]);
    assert_eq!(found["etc/one"], "changed");
    assert_eq!(image.config.config.env("PATH"), Some("/bin"));
    assert_eq!(image.config.config.on_build, ["RUN true"]);
    assert_eq!(image.config.config.shell, ["/bin/ash", "-c"]);
    for (layer, (tar, packed)) in image.layers.iter().zip(&layers) {
        let origin = layer.origin.as_ref().unwrap();
        assert_eq!(origin.diff_id.to_string(), sha256(tar));
        let blob = fs::read(world.store.blob(&origin.digest).expect("the blob is kept")).unwrap();
        assert_eq!((sha256(&blob), blob.len() as u64), (origin.digest.to_string(), origin.size));
        assert_eq!(*packed == Packed::Plain, origin.diff_id == origin.digest);
    }
    world.assert_no_work();
}

#[tokio::test]
async fn image_without_layers_is_one() {
    let world = World::new();
    let image = world.pull(&Image::new(&[]).write(&world.path("layout"))).await.unwrap();
    assert!(image.snapshot.layers().is_empty());
}

#[tokio::test]
async fn known_layer_is_not_read_again() {
    let world = World::new();
    let image = Image::small("x");
    let layout = image.write(&world.path("layout"));
    let first = world.pull(&layout).await.unwrap();
    fs::remove_file(blob_path(&layout, &image.blobs()[1])).unwrap();
    let (options, events) = recording();
    let source = LayoutSource::open(LayoutLocation::parse(layout.to_str().unwrap()).unwrap()).unwrap();
    let second = pull(&source, &world.store, &options).await.unwrap();
    assert_eq!((second.id, second.snapshot), (first.id, first.snapshot));
    assert!(matches!(events.lock().unwrap()[..], [PullProgress::Cached { .. }]));
}

#[tokio::test]
async fn layer_that_the_store_lost_is_made_again_from_the_kept_blob() {
    let world = World::new();
    let image = Image::small("x");
    let layout = image.write(&world.path("layout"));
    let first = world.pull(&layout).await.unwrap();
    fs::remove_file(first.snapshot.layers()[0].path()).unwrap();
    fs::remove_file(blob_path(&layout, &image.blobs()[1])).unwrap();
    let second = world.pull(&layout).await.unwrap();
    assert_eq!(second.snapshot, first.snapshot);
    assert!(second.snapshot.layers()[0].path().exists());
}

#[tokio::test]
async fn same_layer_wanted_at_once_is_converted_once() {
    let world = World::new();
    let layer = (tar(&[("file", &"x".repeat(100_000))]), Packed::Gzip);
    let layout = Image::new(&[layer.clone(), layer]).write(&world.path("layout"));
    let (options, events) = recording();
    let source = LayoutSource::open(LayoutLocation::parse(layout.to_str().unwrap()).unwrap()).unwrap();
    let (one, two) = tokio::join!(pull(&source, &world.store, &options), pull(&source, &world.store, &options));
    assert_eq!(one.unwrap().snapshot, two.unwrap().snapshot);
    let events = events.lock().unwrap();
    let count = |wanted: fn(&PullProgress) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, PullProgress::Started { .. })), 1);
    assert_eq!(count(|event| matches!(event, PullProgress::Finished { .. })), 1);
    assert_eq!(count(|event| matches!(event, PullProgress::Cached { .. })), 3);
}

#[tokio::test]
async fn content_that_is_not_what_it_should_be_is_refused_and_leaves_nothing() {
    type Tamper = fn(&mut Vec<u8>);
    let flip: Tamper = |blob| {
        let middle = blob.len() / 2;
        blob[middle] ^= 1;
    };
    let cut: Tamper = |blob| blob.truncate(blob.len() / 2);
    let extend: Tamper = |blob| blob.extend_from_slice(&[0; 1000]);
    let replace: Tamper = |blob| blob.fill(0);
    for packed in [Packed::Gzip, Packed::Zstd, Packed::Plain] {
        for (what, tamper) in [("flipped", flip), ("cut", cut), ("extended", extend), ("replaced", replace)] {
            for (index, part) in [(0, "configuration"), (1, "layer"), (2, "manifest")] {
                let world = World::new();
                let image = Image::new(&[(tar(&[("file", "some content of a file")]), packed)]);
                let layout = image.write(&world.path("layout"));
                let path = blob_path(&layout, &image.blobs()[index]);
                let mut blob = fs::read(&path).unwrap();
                tamper(&mut blob);
                fs::write(&path, blob).unwrap();
                let error = world.pull(&layout).await.unwrap_err();
                let text = chain(&error);
                match what {
                    "cut" | "extended" => assert!(matches!(error, ImageError::Size { .. }), "{what} {part}: {text}"),
                    _ => assert!(matches!(error, ImageError::Digest { .. }), "{what} {part}: {text}"),
                }
                assert!(text.contains(part) && text.contains("oci-layout://"), "{what} {part}: {text}");
                world.assert_no_trace();
            }
        }
    }
}

#[tokio::test]
async fn wrong_diff_id_is_refused() {
    let world = World::new();
    let mut image = Image::small("x");
    image.config["rootfs"]["diff_ids"][0] = json!(sha256(b"another tar"));
    let error = world.pull(&image.write(&world.path("layout"))).await.unwrap_err();
    assert!(matches!(error, ImageError::DiffId { .. }), "{error}");
    assert!(error.to_string().contains(&sha256(b"another tar")));
    world.assert_no_trace();
}

#[tokio::test]
async fn documents_that_make_no_sense_are_refused() {
    type Spoil = fn(&mut Image);
    let cases: [(Spoil, &str); 5] = [
        (|image| image.config["rootfs"]["diff_ids"] = json!([]), "0 diff ids"),
        (|image| image.config["rootfs"]["diff_ids"][0] = json!("sha256:../../etc/passwd"), "sha256:"),
        (|image| image.config["config"]["Env"] = json!("A=b"), "configuration"),
        (|image| image.config["os"] = json!("windows"), "windows"),
        (|image| image.layers[0] = (b"this is no tar".repeat(100), Packed::Gzip), "convert layer"),
    ];
    for (spoil, part) in cases {
        let world = World::new();
        let mut image = Image::small("x");
        spoil(&mut image);
        if part == "convert layer" {
            image.config["rootfs"]["diff_ids"][0] = json!(sha256(&image.layers[0].0));
        }
        let error = world.pull(&image.write(&world.path("layout"))).await.unwrap_err();
        assert!(chain(&error).contains(part), "{part}: {}", chain(&error));
        world.assert_no_trace();
    }
}

#[tokio::test]
async fn missing_parts_are_named() {
    let world = World::new();
    let image = Image::small("x");
    for (index, blob) in image.blobs().iter().enumerate() {
        let layout = image.write(&world.path(&format!("layout{index}")));
        fs::remove_file(blob_path(&layout, blob)).unwrap();
        // A store of its own, since another one might have the blob.
        let error = World::new().pull(&layout).await.unwrap_err().to_string();
        assert!(error.contains(&sha256(blob)) && error.contains("does not hold it"), "{error}");
    }
    let error = world.pull_at("/no/where").await.unwrap_err().to_string();
    assert_eq!(error, "/no/where is not usable as an image: there is no such directory");
    fs::create_dir(world.path("empty")).unwrap();
    let error = world.pull(&world.path("empty")).await.unwrap_err().to_string();
    assert!(error.contains("index.json"), "{error}");
}

#[tokio::test]
async fn nothing_outside_of_the_layout_is_read_and_pipes_do_not_block() {
    let world = World::new();
    let image = Image::small("x");
    let outside = world.path("outside");
    let layout = image.write(&world.path("layout"));
    let path = blob_path(&layout, &image.blobs()[1]);
    fs::rename(&path, &outside).unwrap();
    for target in [outside.as_path(), std::path::Path::new("../../../outside")] {
        symlink(target, &path).unwrap();
        assert!(world.pull(&layout).await.is_err(), "{}", target.display());
        fs::remove_file(&path).unwrap();
    }
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let result = tokio::time::timeout(Duration::from_secs(20), world.pull(&layout)).await;
    let error = result.expect("no waiting for a writer").unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    fs::remove_file(&path).unwrap();
    fs::rename(&outside, layout.join("inside")).unwrap();
    symlink("../../inside", &path).unwrap();
    assert!(world.pull(&layout).await.is_ok(), "links within the layout are fine");
}

#[tokio::test]
async fn tags_and_digests_select_images() {
    let world = World::new();
    let layout = world.path("layout");
    let (one, two) = (Image::small("one").add_to(&layout), Image::small("two").add_to(&layout));
    let digest = two["digest"].as_str().unwrap().to_owned();
    write_index(&layout, &[named(one, "1"), named(two, "docker.io/library/app:2")]);
    let layout = layout.display().to_string();
    for (suffix, expected) in
        [(":1", "one"), (":2", "two"), (&format!("@{digest}"), "two"), (&format!(":1@{digest}"), "two")]
    {
        let image = world.pull_at(&format!("{layout}{suffix}")).await.unwrap();
        assert_eq!(files(&world.store, &image.snapshot)["file"], expected, "{suffix}");
    }
    for suffix in ["", ":3"] {
        let error = world.pull_at(&format!("{layout}{suffix}")).await.unwrap_err().to_string();
        assert!(error.contains("it has 1, docker.io/library/app:2"), "{suffix}: {error}");
    }
    let error = world.pull_at(&format!("{layout}@{}", sha256(b""))).await.unwrap_err().to_string();
    assert!(error.contains("does not hold it"), "{error}");
}

#[tokio::test]
async fn platform_is_found_in_nested_indexes() {
    let world = World::new();
    let layout = world.path("layout");
    let on = |mut entry: serde_json::Value, architecture: &str| {
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        entry
    };
    let mut arm = Image::small("arm");
    arm.config["architecture"] = json!("arm64");
    let entries = [on(arm.add_to(&layout), "arm64"), on(Image::small("amd").add_to(&layout), "amd64")];
    let inner = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries }).to_string();
    put(&layout, inner.as_bytes());
    write_index(&layout, &[named(descriptor(INDEX, inner.as_bytes()), "latest")]);
    let source = || LayoutSource::open(LayoutLocation::parse(layout.to_str().unwrap()).unwrap()).unwrap();
    for (platform, expected) in [("linux/amd64", "amd"), ("linux/arm64", "arm")] {
        let options = PullOptions::new(platform.parse().unwrap());
        let image = pull(&source(), &world.store, &options).await.unwrap();
        assert_eq!(files(&world.store, &image.snapshot)["file"], expected);
        assert!(image.warnings.is_empty());
    }
    let options = PullOptions::new("linux/s390x".parse().unwrap());
    let error = pull(&source(), &world.store, &options).await.unwrap_err().to_string();
    assert!(error.contains("no variant for linux/s390x, only for linux/arm64, linux/amd64"), "{error}");
    // Alone under its name it is taken, but not silently.
    write_index(&layout, &[arm.add_to(&layout)]);
    let image = world.pull(&layout).await.unwrap();
    assert!(image.warnings[0].contains("is for linux/arm64, not for linux/amd64"), "{:?}", image.warnings);
}

#[tokio::test]
async fn index_that_leads_to_itself_ends() {
    let world = World::new();
    let layout = world.path("layout");
    let mut entry = named(Image::small("x").add_to(&layout), "latest");
    for _ in 0..10 {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] }).to_string();
        put(&layout, index.as_bytes());
        entry = descriptor(INDEX, index.as_bytes());
    }
    write_index(&layout, &[entry]);
    let error = world.pull(&layout).await.unwrap_err().to_string();
    assert!(error.contains("within each other"), "{error}");
}

#[tokio::test]
async fn layer_that_grows_beyond_measure_is_refused() {
    let world = World::new();
    let layout = Image::new(&[(tar(&[("zeros", &"\0".repeat(4 << 20))]), Packed::Zstd)]).write(&world.path("layout"));
    let options = PullOptions { growth: GrowthLimit { floor: 1 << 20, ratio: 10 }, ..options() };
    let source = LayoutSource::open(LayoutLocation::parse(layout.to_str().unwrap()).unwrap()).unwrap();
    let error = pull(&source, &world.store, &options).await.unwrap_err();
    assert!(matches!(error, ImageError::Bomb { limit: 1_048_576, .. }), "{error}");
    world.assert_no_trace();
}

#[tokio::test]
async fn manifest_beyond_the_limit_is_refused() {
    let world = World::new();
    let layout = Image::small("x").write(&world.path("layout"));
    fs::write(layout.join("index.json"), " ".repeat(5 << 20)).unwrap();
    let error = world.pull(&layout).await.unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn layout_of_skopeo_is_read() {
    let world = World::new();
    let layers = [(tar(&[("a", "1")]), Packed::Gzip), (tar(&[("b", "2")]), Packed::Plain)];
    let layout = Image::new(&layers).write(&world.path("layout"));
    let copy = world.path("copy");
    skopeo(
        &format!("oci:{}:latest", layout.display()),
        &format!("oci:{}:v1", copy.display()),
        &["--dest-compress-format", "zstd", "--dest-compress"],
    );
    let image = world.pull_at(&format!("{}:v1", copy.display())).await.unwrap();
    assert_eq!(files(&world.store, &image.snapshot).len(), 2);
    assert!(image.layers[1].origin.as_ref().unwrap().media_type.ends_with("+zstd"));
    // The same content in another compression is the same layer.
    assert_eq!(world.pull(&layout).await.unwrap().snapshot, image.snapshot);
}
