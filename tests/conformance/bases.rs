//! The base images of the cases, as OCI layouts.

use std::path::{Path, PathBuf};

use hypr_tests::{Layer, Layout};
use serde_json::json;

/// `FROM busybox`: busybox and little else. `FROM configured`: the same, with something in every field of its
/// configuration. `FROM triggers`: the same, with ONBUILD instructions.
pub(crate) const NAMES: [&str; 3] = ["busybox", "configured", "triggers"];

/// Writes the layouts below `folder`; each has the name of its image.
pub(crate) fn write(folder: &Path) -> Vec<(&'static str, PathBuf)> {
    NAMES.into_iter().map(|name| (name, layout(name).write(folder.join(name)))).collect()
}

fn layout(name: &str) -> Layout {
    let image = Layout::busybox();
    match name {
        "configured" => image
            .layer(
                Layer::new()
                    .folder("base", 0o755)
                    .file("base/link-target", 0o644, (0, 0), b"target\n")
                    .link("base/link", "link-target"),
            )
            .config("Env", json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "BASE=from-base", "EMPTY="]))
            .config("Cmd", json!(["base-cmd"]))
            .config("Entrypoint", json!(["base-entrypoint"]))
            .config("WorkingDir", json!("/base"))
            .config("User", json!("nobody"))
            .config("Labels", json!({ "base": "yes", "both": "base" }))
            .config("ExposedPorts", json!({ "1/tcp": {} }))
            .config("Volumes", json!({ "/base-volume": {} }))
            .config("StopSignal", json!("SIGQUIT"))
            .config("Shell", json!(["/bin/sh", "-ec"]))
            .config("Healthcheck", json!({ "Test": ["CMD", "base-check"], "Interval": 5_000_000_000_i64 })),
        "triggers" => image
            .config("OnBuild", json!(["ENV TRIGGERED=yes", "COPY triggered /triggered", "RUN echo $TRIGGERED > /ran"])),
        _ => image,
    }
}
