//! Cache keys of steps.
//!
//! A key holds all that decides a step's layer and nothing else, each input under its name, so that a miss can be
//! explained (see [`Key::difference`]).

use super::{Solver, arrangement::Arrangement, mounts::Prepared};
use crate::{executor::Network, plan::Run, snapshot::Snapshot, store::Key};

/// Part of every key: a change in how layers are encoded makes all of them anew.
const ENCODER: &str = "squashfs zstd-3 128k v1";

/// The key of a `RUN` on `parent`.
pub(super) fn run(solver: &Solver, run: &Run, parent: &Snapshot, mounts: &[Prepared<'_>]) -> Key {
    let mut key = base(solver, "run").input("parent", parent.content().to_string());
    for argument in &run.args {
        key.push("argument", argument);
    }
    if let Some(script) = &run.script {
        key.push("script", &script.text);
    }
    for mount in mounts {
        key.push("mount", mount.key());
    }
    for (name, value) in &run.env {
        key.push("environment", format!("{name}={value}"));
    }
    let network = match run.network {
        Network::None => "none",
        Network::Host => "host",
    };
    key.input("directory", &run.cwd).input("user", &run.user).input("network", network)
}

/// The key of a step that puts `arrangement` into a layer.
pub(super) fn arranged(solver: &Solver, kind: &str, arrangement: &Arrangement) -> Key {
    base(solver, kind).input("files", arrangement.digest().to_string())
}

/// What the latest layer of an instruction is found by, whatever it holds: most of it will be in the next one too.
pub(super) fn lender(instruction: &str, source: Option<String>) -> Key {
    Key::new("lender").input("instruction", instruction).input("source", source.unwrap_or_default())
}

/// The key of an archive with this digest, unpacked.
pub(super) fn unpacked(solver: &Solver, digest: &crate::digest::Digest) -> Key {
    base(solver, "unpack").input("archive", digest.to_string())
}

/// The key of these layers merged into one that still deletes from what is below it.
pub(super) fn merged(solver: &Solver, group: &Snapshot) -> Key {
    let mut key = base(solver, "merge");
    for layer in group.layers() {
        key.push("layer", layer.id.file.to_string());
    }
    key
}

fn base(solver: &Solver, kind: &str) -> Key {
    Key::new(kind).input("platform", solver.platform.to_string()).input("encoder", ENCODER)
}
