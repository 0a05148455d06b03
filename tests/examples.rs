//! The projects of `examples/`, built from base images made of Debian's packages and then run.

use hypr_tests::{Image, World, bases, repository};
use serde_json::json;

/// Builds an example and returns its image.
#[track_caller]
fn build(world: &World, example: &str, base: &str, flags: &[&str]) -> Image {
    let context = format!("{base}=oci-layout://{}", bases().join(base).display());
    let path = repository().join("examples").join(example);
    world.hypr(["build", "--tag", example, "--build-context", &context]).args(flags).args([path]).ok();
    world.image(example)
}

#[test]
fn a_c_program_is_compiled_and_shipped_alone() {
    let world = World::new();
    let image = build(&world, "c-static", "debian-gcc", &[]);
    let tree = image.tree();
    assert_eq!(
        tree.paths(),
        ["/usr", "/usr/share", "/usr/share/wordfreq", "/usr/share/wordfreq/sample.txt", "/wordfreq"]
    );
    assert_eq!((tree.get("/wordfreq").mode, tree.get("/usr/share/wordfreq/sample.txt").mode), (0o755, 0o644));
    assert_eq!((image.config("User"), image.config("Entrypoint")), (&json!("65534:65534"), &json!(["/wordfreq"])));
    if let Some(mounted) = image.mount() {
        let out = mounted.chroot("65534:65534", ["/wordfreq", "/usr/share/wordfreq/sample.txt"]).ok().out();
        assert!(out.starts_with("4 the\n3 layer\n"), "{out}");
    }
    let id = image.id().to_owned();
    assert_eq!(build(&world, "c-static", "debian-gcc", &[]).id(), id, "the second build is all cached");
}

#[test]
fn a_python_application_has_its_packages_from_the_context() {
    let world = World::new();
    let image = build(&world, "python-app", "debian-python", &[]);
    let tree = image.tree();
    assert!(tree.has("/opt/inventory/columns/__init__.py") && tree.has("/opt/inventory/money-1.0.dist-info/METADATA"));
    assert!(!tree.has("/tmp/wheels"), "what a step deletes is gone");
    let stock = tree.get("/data/stock.csv");
    assert_eq!(
        (stock.uid, stock.gid, tree.get("/data").uid),
        (1000, 1000, 1000),
        "made for a copy, a folder is its too"
    );
    if let Some(mounted) = image.mount() {
        let program = ["/usr/bin/env", "PYTHONPATH=/opt/inventory", "python3", "-m", "inventory", "/data/stock.csv"];
        let out = mounted.chroot("1000:1000", program).ok().out();
        assert!(out.contains("827.80"), "{out}");
    }
}

#[test]
fn a_site_is_made_of_several_stages() {
    let world = World::new();
    let image = build(&world, "multi-stage", "busybox", &["--build-arg", "VERSION=1.2"]);
    let tree = image.tree();
    let site: Vec<_> = tree.paths().into_iter().filter(|path| path.starts_with("/srv/site/")).collect();
    assert_eq!(site, ["/srv/site/about.html", "/srv/site/index.html", "/srv/site/style.css", "/srv/site/version"]);
    let page = tree.get("/srv/site/index.html");
    assert_eq!((page.mode, page.uid, page.gid), (0o444, 101, 101));
    for deleted in ["/bin/vi", "/bin/su", "/var/spool"] {
        assert!(!tree.has(deleted), "{deleted} was deleted");
    }
    assert_eq!(image.text_of("/srv/site/version"), "1.2\n");
    let labels = image.config("Labels");
    assert_eq!(labels["org.opencontainers.image.version"], "1.2");
    assert_eq!(labels["org.example.site.base"], "/srv/site", "the trigger of the first stage ran");
    assert_eq!(image.config("User"), "site");
    assert_eq!(image.config("Healthcheck")["Retries"], 2);
    assert!(image.config("OnBuild").is_null() || image.config("OnBuild") == &json!([]));
    build(&world, "multi-stage", "busybox", &["--target", "test"]);
    let debug = build(&world, "multi-stage", "busybox", &["--target", "debug"]);
    assert_eq!((debug.env("TRACE"), debug.config("Cmd")), (Some("1"), &json!(["sh"])));
}

#[test]
fn the_bases_are_what_other_tools_take_for_oci_layouts() {
    for base in ["busybox", "debian-gcc", "debian-python"] {
        let layout = format!("oci:{}:latest", bases().join(base).display());
        let found = hypr_tests::Run::new("skopeo").args(["inspect", &layout]).ok().json();
        assert_eq!(
            (found["Os"].as_str(), found["Layers"].as_array().map(Vec::len)),
            (Some("linux"), Some(1)),
            "{base}"
        );
    }
}
