//! The OCI configuration of an image.

use hypr_tests::{Layout, World};
use serde_json::json;

use crate::built;

#[test]
fn every_instruction_of_the_configuration_is_in_it() {
    let (_world, image) = built(
        r#"FROM busybox
LABEL a=1 "b c"="d e" multi="two \
lines"
MAINTAINER somebody
ENV GREETING="hello $UNSET world" PATH=/opt/bin:$PATH
EXPOSE 80 53/udp 8000-8001
VOLUME /data
VOLUME ["/var/log", "/var/db"]
USER 1:2
WORKDIR /srv
WORKDIR www
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5m --timeout=3s --start-period=1s --retries=4 CMD ["check", "it"]
SHELL ["/bin/sh", "-ec"]
ENTRYPOINT ["/entry", "point"]
CMD echo $GREETING
"#,
    );
    assert_eq!(image.config("Labels"), &json!({ "a": "1", "b c": "d e", "multi": "two lines" }));
    assert_eq!(image.env("GREETING"), Some("hello  world"));
    assert_eq!(image.env("PATH"), Some("/opt/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    assert_eq!(image.config("ExposedPorts"), &json!({ "80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {} }));
    assert_eq!(image.config("Volumes"), &json!({ "/data": {}, "/var/log": {}, "/var/db": {} }));
    assert_eq!(image.config("User"), "1:2");
    assert_eq!(image.config("WorkingDir"), "/srv/www");
    assert_eq!(image.config("StopSignal"), "SIGUSR1");
    assert_eq!(image.config("Entrypoint"), &json!(["/entry", "point"]));
    assert_eq!(image.config("Cmd"), &json!(["/bin/sh", "-ec", "echo $GREETING"]));
    assert_eq!(image.config("Shell"), &json!(["/bin/sh", "-ec"]));
    let check = image.config("Healthcheck");
    assert_eq!(check["Test"], json!(["CMD", "check", "it"]));
    let second = 1_000_000_000_u64;
    assert_eq!((&check["Interval"], &check["Timeout"]), (&json!(300 * second), &json!(3 * second)));
    assert_eq!((&check["StartPeriod"], &check["Retries"]), (&json!(second), &json!(4)));
    assert_eq!(image.manifest()["config"]["author"], "somebody");
    assert_eq!(image.manifest()["config"]["os"], "linux");
    assert!(image.tree().has("/srv/www"), "a working directory is made");
}

#[test]
fn the_configuration_of_the_base_is_inherited() {
    let world = World::new();
    let base = Layout::busybox()
        .config("Cmd", json!(["base"]))
        .config("Entrypoint", json!(["entry"]))
        .config("User", json!("nobody"))
        .config("Labels", json!({ "kept": "1", "replaced": "1" }))
        .config("ExposedPorts", json!({ "1/tcp": {} }))
        .config("Healthcheck", json!({ "Test": ["CMD", "ok"] }))
        .config("StopSignal", json!("SIGINT"));
    world.load("base", &base);
    world.build(&world.project("FROM base\nLABEL replaced=2\nEXPOSE 2\n"), ["-t", "a", "--label", "flag=3"]).ok();
    let image = world.image("a");
    assert_eq!(image.config("Labels"), &json!({ "kept": "1", "replaced": "2", "flag": "3" }));
    assert_eq!(image.config("ExposedPorts"), &json!({ "1/tcp": {}, "2/tcp": {} }));
    assert_eq!((image.config("Cmd"), image.config("Entrypoint")), (&json!(["base"]), &json!(["entry"])));
    assert_eq!((image.config("User"), image.config("StopSignal")), (&json!("nobody"), &json!("SIGINT")));
    assert_eq!(image.config("Healthcheck")["Test"], json!(["CMD", "ok"]));
}

#[test]
fn an_entrypoint_drops_the_command_of_the_base_but_not_its_own() {
    let world = World::new();
    world.load("base", &Layout::busybox().config("Cmd", json!(["base"])));
    world.build(&world.project("FROM base\nENTRYPOINT [\"e\"]\n"), ["-t", "a"]).ok();
    assert!(world.image("a").config("Cmd").is_null(), "{}", world.image("a").config("Cmd"));
    world.build(&world.project("FROM base\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n"), ["-t", "b"]).ok();
    assert_eq!(world.image("b").config("Cmd"), &json!(["c"]));
    world.build(&world.project("FROM base\nHEALTHCHECK NONE\n"), ["-t", "c"]).ok();
    assert_eq!(world.image("c").config("Healthcheck")["Test"], json!(["NONE"]));
}

#[test]
fn history_has_an_entry_for_each_instruction() {
    let (_world, image) = built("FROM busybox\nENV A=1\nRUN echo hi >/hi\nCOPY file /\nUSER 1\n");
    let history = image.manifest()["config"]["history"].as_array().expect("a list").clone();
    let texts: Vec<_> = history.iter().map(|entry| entry["created_by"].as_str().unwrap_or_default()).collect();
    assert_eq!(texts.len(), 5, "one of the base and four: {texts:#?}");
    for (text, part) in texts[1..].iter().zip(["A=1", "echo hi >/hi", "file", "1"]) {
        assert!(text.contains(part), "{part} in {texts:#?}");
    }
    let empty: Vec<_> = history[1..].iter().map(|entry| entry["empty_layer"] == json!(true)).collect();
    assert_eq!(empty, [true, false, false, true], "{texts:#?}");
}

#[test]
fn the_manifest_describes_its_layers_and_its_file() {
    let (_world, image) = built("FROM busybox\nRUN echo hi >/hi\n");
    let manifest = image.manifest();
    let layers = manifest["layers"].as_array().expect("a list");
    assert_eq!(layers.len(), 2, "{manifest:#}");
    let length = std::fs::metadata(image.squashfs()).expect("the file is there").len();
    assert_eq!(manifest["squashfs"]["size"], json!(length));
    assert!(image.id().starts_with("sha256:") && image.id().len() == 71, "{}", image.id());
    assert!(image.squashfs_digest().len() >= 64, "{}", image.squashfs_digest());
    assert!(manifest["created"].is_string() && !manifest["platform"].is_null(), "{manifest:#}");
}
