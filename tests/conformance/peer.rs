//! Other builders that the cases are run through, to prove what they expect: `peers.sh` says which.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A builder that is not hypr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Buildah,
    Dockerd,
}

impl Peer {
    pub(crate) const ALL: [Self; 2] = [Self::Buildah, Self::Dockerd];

    /// As `about.txt` and the environment name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Buildah => "buildah",
            Self::Dockerd => "dockerd",
        }
    }

    /// The one that the cases are to be run through in place of hypr.
    pub(crate) fn wanted() -> Option<Self> {
        let name = std::env::var("HYPR_CONFORMANCE_PEER").ok()?;
        let peer = Self::ALL.into_iter().find(|peer| peer.name() == name);
        assert!(peer.is_some(), "no peer is called {name}");
        peer
    }
}

/// Leaves the lines that differ from those of the base image, and tells what is gone; in an image without busybox, all
/// lines stay.
pub(crate) fn without_base(tree: &mut BTreeMap<String, String>, base: &BTreeMap<String, String>) {
    if tree.contains_key("/bin/busybox") {
        let gone: Vec<String> = base.keys().filter(|path| !tree.contains_key(*path)).cloned().collect();
        tree.retain(|path, line| base.get(path) != Some(line));
        tree.extend(gone.into_iter().map(|path| (path.clone(), format!("gone {path}"))));
    }
}

/// The fields of a configuration that are not empty: others write all of them.
pub(crate) fn without_empty(config: &Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let fields = config.as_object().into_iter().flatten().filter(|(_, value)| !is_empty(value));
    Value::Object(fields.map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>())
}
