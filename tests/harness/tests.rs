//! The harness on trial: what it writes is what other tools read, and what is left behind is found.

use std::{fs, time::Duration};

use tempfile::TempDir;

use super::{
    layer::Layer,
    layout::Layout,
    leaks::{adopt_orphans, left_behind},
    process::Run,
    registry::Registry,
};

#[test]
fn a_layout_goes_through_skopeo_and_a_registry_unchanged() {
    let folder = TempDir::new().unwrap();
    let registry = Registry::start(folder.path());
    for compression in ["gzip", "zstd", "none"] {
        let layer = Layer::new().file("etc/.wh.base", 0o644, (0, 0), b"").folder("new", 0o700);
        let layout = Layout::busybox().layer(layer).compression(compression).write(folder.path().join(compression));
        let name = registry.push(&layout, "team/base:1");
        let image = format!("docker://{name}");
        let found = Run::new("skopeo").args(["inspect", "--tls-verify=false", &image]).ok().json();
        assert_eq!(found["Layers"].as_array().map(Vec::len), Some(2), "{compression}");
        let copy = folder.path().join(format!("{compression}-copy"));
        let target = format!("dir:{}", copy.display());
        Run::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", &image, &target])
            .ok();
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(copy.join("manifest.json")).unwrap()).unwrap();
        let blob = manifest["layers"][1]["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).unwrap();
        let listing = Run::new("tar")
            .args(["--list", "--verbose", "--numeric-owner", "--file"])
            .args([copy.join(blob)])
            .ok()
            .out();
        assert!(listing.contains("etc/.wh.base") && listing.contains("drwx------ 0/0"), "{compression}: {listing}");
    }
    assert!(registry.blobs().len() > 4);
}

#[test]
fn orphans_and_files_that_stay_are_found() {
    adopt_orphans();
    let folder = TempDir::new().unwrap();
    assert_eq!(left_behind(folder.path(), &[folder.path().join("tmp")]), [] as [String; 0]);
    fs::create_dir(folder.path().join("tmp")).unwrap();
    fs::write(folder.path().join("tmp/file"), "").unwrap();
    // The shell ends at once and leaves the other process to whoever adopts it, its output closed.
    Run::new("sh").args(["-c", "sleep 8 >/dev/null 2>&1 </dev/null &"]).ok();
    let left = left_behind(folder.path(), &[folder.path().join("tmp")]);
    assert!(left.iter().any(|what| what.starts_with("process") && what.contains("(sleep)")), "{left:?}");
    assert!(left.iter().any(|what| what.starts_with("temporary file")), "{left:?}");
    std::thread::sleep(Duration::from_secs(4));
    fs::remove_file(folder.path().join("tmp/file")).unwrap();
    assert_eq!(left_behind(folder.path(), &[folder.path().join("tmp")]), [] as [String; 0]);
}
