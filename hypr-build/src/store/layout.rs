//! Where things lie below the store's root, and which root a command uses.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::{Digest, image::Sha256Digest, store::StoreError};

/// The paths of a store; pure, nothing is touched.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Folders made when a store is created, parents first, with their modes.
    pub(super) const FOLDERS: [(&str, u32); 13] = [
        ("layers", 0o755),
        ("images", 0o755),
        ("cache", 0o755),
        ("cache/steps", 0o755),
        ("cache/context", 0o755),
        ("cache/mounts", 0o755),
        ("blobs/sha256", 0o755),
        ("logs", 0o700),
        ("spare", 0o700),
        ("unpacked", 0o700),
        ("merged", 0o755),
        ("kernels", 0o755),
        ("tmp", 0o755),
    ];

    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The file that builds lock shared and pruning locks alone; it also holds the layout's version.
    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn layer(&self, file: &Digest) -> PathBuf {
        self.root.join(format!("layers/{file}.squashfs"))
    }

    pub(super) fn layer_index(&self, file: &Digest) -> PathBuf {
        self.root.join(format!("layers/{file}.index"))
    }

    pub(super) fn image(&self, file: &Digest) -> PathBuf {
        self.root.join(format!("images/{file}.squashfs"))
    }

    /// What is known of the beginning of an image, for one that begins alike.
    pub(super) fn image_prefix(&self, file: &Digest) -> PathBuf {
        self.root.join(format!("images/{file}.prefix"))
    }

    pub(super) fn spare(&self, file: &Digest) -> PathBuf {
        self.root.join(format!("spare/{file}.squashfs"))
    }

    pub(super) fn spare_prefix(&self, file: &Digest) -> PathBuf {
        self.root.join(format!("spare/{file}.prefix"))
    }

    pub(super) fn step(&self, key: &Digest) -> PathBuf {
        self.root.join(format!("cache/steps/{key}.json"))
    }

    pub(super) fn context_index(&self, id: &Digest) -> PathBuf {
        self.root.join(format!("cache/context/{id}"))
    }

    pub(super) fn cache_mount(&self, id: &Digest) -> PathBuf {
        self.root.join(format!("cache/mounts/{id}.json"))
    }

    pub(super) fn step_lock(&self, key: &Digest) -> PathBuf {
        self.root.join(format!("tmp/{key}.lock"))
    }

    pub(super) fn blob(&self, digest: &Sha256Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }
}

/// The store's root: `given` if there is one, else `HYPR_ROOT`, else `/var/lib/hypr` for root and
/// `$XDG_DATA_HOME/hypr` or `~/.local/share/hypr` for everybody else.
///
/// # Errors
/// [`StoreError::NoRoot`] when none of these is known.
pub fn resolve_root(given: Option<&Path>) -> Result<PathBuf, StoreError> {
    resolve(given, rustix::process::geteuid().is_root(), |name| env::var_os(name))
}

fn resolve(
    given: Option<&Path>,
    is_root: bool,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, StoreError> {
    // Set but empty counts as unset, as shells and the XDG specification have it.
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(root) = given.map(Path::to_owned).or_else(|| variable("HYPR_ROOT")) {
        return Ok(root);
    }
    if is_root {
        return Ok(PathBuf::from("/var/lib/hypr"));
    }
    // The XDG specification asks to ignore relative paths.
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    data.map(|data| data.join("hypr")).ok_or(StoreError::NoRoot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_comes_from_the_first_source_that_is_set() {
        type Variables = &'static [(&'static str, &'static str)];
        let home: Variables = &[("HOME", "/home/u")];
        let rows: [(Option<&str>, bool, Variables, Option<&str>); 9] = [
            (Some("/given"), true, &[("HYPR_ROOT", "/env")], Some("/given")),
            (None, true, &[("HYPR_ROOT", "/env")], Some("/env")),
            (None, true, &[("HYPR_ROOT", "")], Some("/var/lib/hypr")),
            (None, true, home, Some("/var/lib/hypr")),
            (None, false, home, Some("/home/u/.local/share/hypr")),
            (None, false, &[("XDG_DATA_HOME", "/data"), ("HOME", "/home/u")], Some("/data/hypr")),
            (None, false, &[("XDG_DATA_HOME", "data"), ("HOME", "/home/u")], Some("/home/u/.local/share/hypr")),
            (None, false, &[("HYPR_ROOT", "relative")], Some("relative")),
            (None, false, &[], None),
        ];
        for (given, is_root, variables, expected) in rows {
            let variable = |name: &str| {
                variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| OsString::from(value))
            };
            let found = resolve(given.map(Path::new), is_root, variable).ok();
            assert_eq!(found.as_deref(), expected.map(Path::new), "{given:?} {is_root} {variables:?}");
        }
    }
}
