//! Where the program under test and the examples' base images are.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use super::process::Run;

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent")
}

/// The program `hypr`: `$HYPR_BIN`, or else compiled from what is here, in the profile of the tests.
pub(super) fn hypr() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = std::env::var_os("HYPR_BIN") {
            return program.into();
        }
        // The tests are in <target>/<profile>/deps.
        let tests = std::env::current_exe().expect("a test knows its file");
        let folder = tests.ancestors().nth(2).expect("tests are compiled into a target folder");
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "test",
            Some(name) => name,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let features = if cfg!(feature = "squashfs-ng") { "hypr-tests/squashfs-ng" } else { "" };
        // As a test of the program among those of all packages has it: with the features of `cargo test --workspace`,
        // which has compiled it then.
        Run::new(cargo)
            .args(["test", "--quiet", "--no-run", "--workspace", "--test", "squashfs", "--features", features])
            .args(["--profile", profile, "--target-dir"])
            .args([folder.parent().expect("a profile is in a target folder")])
            .directory(repository())
            .limit(Duration::from_secs(1800))
            .ok();
        folder.join("hypr")
    })
}

/// The folder with the examples' base images, made by `examples/bases.sh` where they are missing.
pub fn bases() -> &'static Path {
    static BASES: OnceLock<PathBuf> = OnceLock::new();
    BASES.get_or_init(|| {
        let folder = std::env::var_os("HYPR_BASES").map_or_else(|| repository().join("target/bases"), PathBuf::from);
        Run::new(repository().join("examples/bases.sh"))
            .env("HYPR_BASES", &folder)
            .limit(Duration::from_secs(1800))
            .ok();
        folder
    })
}
