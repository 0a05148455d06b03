//! Programs that steps run, which do what no shell can: compiled from `programs/` into one static file each.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

/// Names a directory of compiled programs, for users who cannot compile them.
pub(crate) const DIRECTORY: &str = "HYPR_TEST_PROGRAMS";

/// The program of this name. It is compiled when it is older than its source.
pub(crate) fn program(name: &str) -> Vec<u8> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let directory = env::var_os(DIRECTORY).map(PathBuf::from);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/executor/programs/{name}.rs"));
    let program = match &directory {
        Some(directory) => directory.join(name),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).join(name),
    };
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    if directory.is_none() && changed(&program) < changed(&source) {
        compile(&source, &program);
    }
    fs::read(program).unwrap()
}

/// Other processes may be compiling the same.
fn compile(source: &Path, program: &Path) {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let new = program.with_extension(std::process::id().to_string());
    let compiled = Command::new(rustc)
        .args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "panic=abort", "-o"])
        .args([&new, source])
        .status();
    assert!(compiled.is_ok_and(|status| status.success()), "{} cannot be compiled", source.display());
    fs::rename(new, program).unwrap();
}
