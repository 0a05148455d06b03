//! Where base images come from.

use std::fs;

use hypr_tests::{Layer, Layout, Run, World};
use serde_json::json;

#[test]
fn an_oci_layout_serves_as_a_build_context() {
    let world = World::new();
    let layout = Layout::busybox().config("Cmd", json!(["base"])).write(world.path("layout"));
    let project = world.project("FROM base\nRUN echo hi >/hi\n");
    for suffix in ["", ":latest"] {
        let context = format!("base=oci-layout://{}{suffix}", layout.display());
        world.build(&project, ["-t", "a", "--build-context", &context]).ok();
        assert_eq!(world.image("a").text_of("/hi"), "hi\n");
        assert_eq!(world.image("a").config("Cmd"), &json!(["base"]));
    }
    let context = format!("base=oci-layout://{}:other", layout.display());
    let error = world.build(&project, ["--build-context", &context]).fails(1).error();
    assert!(error.contains("other"), "{error}");
}

#[test]
fn archives_and_layouts_are_loaded_under_a_name() {
    let world = World::new();
    let layout = Layout::busybox().config("Labels", json!({ "from": "tests" })).write(world.path("layout"));
    let source = format!("oci:{}:latest", layout.display());
    for (name, kind) in [("docker", "docker-archive"), ("oci", "oci-archive")] {
        let archive = world.path(&format!("{name}.tar"));
        let target = format!("{kind}:{}:inside:1", archive.display());
        Run::new("skopeo").args(["--insecure-policy", "copy", "--quiet", &source, &target]).ok();
        world.hypr(["load"]).args([&archive]).args(["-t", name]).ok();
        let project = world.project(&format!("FROM {name}\nRUN cat /etc/base >/copied\n"));
        world.build(&project, ["-t", &format!("{name}-result")]).ok();
        let image = world.image(&format!("{name}-result"));
        assert_eq!(image.text_of("/copied"), "of the base\n");
        assert_eq!(image.config("Labels"), &json!({ "from": "tests" }));
    }
    let image = world.image("oci");
    assert_eq!(image.tree().get("/etc/base").time, "2024-01-02 03:04", "times of the base are kept");
}

#[test]
fn a_built_image_is_a_base() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN echo one >/one\nENV ONE=1\n");
    world.build(&project, ["-t", "team/one:v1"]).ok();
    let project = world.project("FROM team/one:v1\nRUN echo $ONE$(cat /one) >/two\n");
    world.build(&project, ["-t", "two"]).ok();
    assert_eq!(world.image("two").text_of("/two"), "1one\n");
}

#[test]
fn a_base_comes_from_a_registry() {
    let world = World::new();
    let registry = world.registry();
    let layout = Layout::busybox().layer(Layer::new().file("etc/.wh.base", 0o644, (0, 0), b"")).compression("zstd");
    let name = registry.push(&layout.write(world.path("layout")), "team/base:1");
    let project = world.project(&format!("FROM {name}\nRUN test ! -e /etc/base && echo hi >/hi\n"));
    world.build(&project, ["-t", "a"]).ok();
    assert_eq!(world.image("a").text_of("/hi"), "hi\n");
    let digest = Run::new("skopeo")
        .args([
            "--insecure-policy",
            "inspect",
            "--tls-verify=false",
            "--format",
            "{{.Digest}}",
            &format!("docker://{name}"),
        ])
        .ok()
        .out();
    let pinned = name.replace(":1", &format!("@{}", digest.trim()));
    world.build(&world.project(&format!("FROM {pinned}\n")), ["-t", "b"]).ok();
    assert!(world.image("b").tree().has("/bin/busybox"));
}

#[test]
fn a_registry_that_is_down_or_has_no_such_image_is_an_error() {
    let world = World::new();
    let registry = world.registry();
    let name = registry.push(&Layout::busybox().write(world.path("layout")), "base:1");
    let missing = name.replace("base:1", "base:2");
    let error = world.build(&world.project(&format!("FROM {missing}\n")), ["-t", "a"]).fails(1).error();
    assert!(error.contains(&missing), "{error}");
    drop(registry);
    let finished = world.build(&world.project(&format!("FROM {name}\n")), ["-t", "a"]).fails(1);
    assert!(finished.error().contains(&name), "{finished}");
    assert!(finished.took.as_secs() < 120, "{finished}");
}

#[test]
fn a_registry_that_sends_other_bytes_is_not_believed() {
    let world = World::new();
    let registry = world.registry();
    let name = registry.push(&Layout::busybox().write(world.path("layout")), "base:1");
    let blobs = registry.blobs();
    let layer = blobs.iter().max_by_key(|path| path.metadata().expect("a blob").len()).expect("a layer");
    let mut bytes = fs::read(layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(layer, bytes).unwrap();
    let error = world.build(&world.project(&format!("FROM {name}\n")), ["-t", "a"]).fails(1).error();
    assert!(error.contains("sha256:") || error.contains("digest"), "{error}");
    world.hypr(["image", "inspect", "a"]).fails(1);
}

#[test]
fn a_layout_with_a_wrong_or_missing_blob_is_refused() {
    let world = World::new();
    let layout = Layout::busybox().write(world.path("layout"));
    let blobs: Vec<_> =
        fs::read_dir(layout.join("blobs/sha256")).unwrap().flatten().map(|entry| entry.path()).collect();
    let context = format!("base=oci-layout://{}", layout.display());
    let project = world.project("FROM base\n");
    for blob in blobs {
        let good = fs::read(&blob).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().expect("blobs are not empty") ^= 1;
        fs::write(&blob, bad).unwrap();
        let hex = blob.file_name().unwrap().to_str().unwrap();
        let error = world.build(&project, ["--build-context", &context]).fails(1).error();
        assert!(error.contains(&hex[..12]), "{hex} is not named: {error}");
        fs::remove_file(&blob).unwrap();
        let error = world.build(&project, ["--build-context", &context]).fails(1).error();
        assert!(error.contains(&hex[..12]), "{hex} is not named: {error}");
        fs::write(&blob, good).unwrap();
    }
    world.build(&project, ["--build-context", &context]).ok();
}

#[test]
fn layers_that_reach_outside_are_refused() {
    use tar::EntryType::{Char, Link, Regular, Symlink};
    for (what, layer) in [
        ("..", Layer::new().raw("../outside", Regular, "", b"x")),
        ("..", Layer::new().raw("a/../../outside", Regular, "", b"x")),
        ("a hard link", Layer::new().raw("link", Link, "../../etc/passwd", b"")),
        ("a hard link to nothing", Layer::new().raw("link", Link, "nothing", b"")),
        ("below a link", Layer::new().raw("way", Symlink, "/etc", b"").raw("way/file", Regular, "", b"x")),
        ("a device that is a whiteout", Layer::new().raw("device", Char, "", b"")),
    ] {
        let world = World::new();
        let path = Layout::new().layer(layer).write(world.path("layout"));
        let finished = world.hypr(["load"]).args([&path]).args(["-t", "a"]).run();
        if finished.status.success() {
            // Harmless where it stays inside: nothing of the host may be in it or have changed.
            let tree = world.image("a").tree();
            assert!(tree.paths().iter().all(|path| !path.contains("..")), "{what}: {:?}", tree.paths());
            assert!(!world.path("outside").exists() && !world.store().join("outside").exists(), "{what}");
            assert_ne!(what, "a device that is a whiteout");
        } else {
            assert_eq!(finished.status.code(), Some(1), "{what}\n{finished}");
            finished.error();
        }
    }
}
