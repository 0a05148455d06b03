//! Builds the monitor's program, so that the library can embed it.
//!
//! A thread of the program that this library is part of could not be contained, so the monitor is a program of its
//! own. It needs other crates, which takes cargo: a package is written that consists of this crate with its feature
//! `monitor`, and built with the versions that this build has locked. Where that is not possible the
//! library is built without it, says why when it is asked to start a machine, and a warning is printed here.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    for path in ["src", "build.rs", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=DOCS_RS");
    if env::var_os("CARGO_FEATURE_LIBRARY").is_none() {
        return;
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    let source = match build(&out) {
        Ok(program) => format!("Ok(include_bytes!({program:?}))"),
        Err(reason) => {
            if env::var_os("DOCS_RS").is_none() {
                println!("cargo::warning=no machine can be started, since the monitor was not built: {reason}");
            }
            format!("Err({reason:?})")
        }
    };
    if let Err(error) = fs::write(out.join("program.rs"), source) {
        println!("cargo::error=cannot write {}: {error}", out.join("program.rs").display());
    }
}

fn build(out: &Path) -> Result<PathBuf, String> {
    if env::var_os("DOCS_RS").is_some() {
        return Err("documentation was built without it".to_owned());
    }
    let (system, architecture) = (variable("CARGO_CFG_TARGET_OS"), variable("CARGO_CFG_TARGET_ARCH"));
    if (system.as_str(), architecture.as_str()) != ("linux", "x86_64") {
        return Err(format!("there is none for {}", variable("TARGET")));
    }
    let package = out.join("monitor");
    write_package(&package).map_err(|error| format!("cannot write {}: {error}", package.display()))?;
    let target = variable("TARGET");
    let mut cargo = Command::new(variable("CARGO"));
    // What cargo says of this crate's build would be taken for that of the package: its features above all.
    let is_of_this_build = |name: &str| {
        ["CARGO_FEATURE_", "CARGO_CFG_", "CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_PROFILE_", "DEP_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_of_this_build)) {
        cargo.env_remove(name);
    }
    cargo
        .args(["build", "--release", "--quiet", "--target", &target])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(out.join("monitor-target"))
        // A static program starts faster, and needs nothing of the file system that it will not see.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env("RUSTC", variable("RUSTC"))
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET");
    let run =
        |cargo: &mut Command| cargo.output().map_err(|error| format!("cannot run {}: {error}", variable("CARGO")));
    // The crates that the monitor alone needs are fetched the first time, unless cargo is told to stay offline.
    let mut output = run(cargo.env("CARGO_NET_OFFLINE", "true"))?;
    if !output.status.success() && env::var_os("CARGO_NET_OFFLINE").is_none_or(|value| value != "true") {
        output = run(cargo.env_remove("CARGO_NET_OFFLINE"))?;
    }
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = messages.lines().filter(|line| line.contains("error")).take(3).collect();
        return Err(format!("{}: {}", output.status, errors.join("; ")));
    }
    Ok(out.join("monitor-target").join(target).join("release/hypr-monitor"))
}

/// Writes the package of a program that is this crate's monitor and nothing else.
fn write_package(package: &Path) -> io::Result<()> {
    let this = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(package.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"hypr-monitor\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [workspace]\n\n\
         [dependencies]\nhypr-vmm = {{ path = {this:?}, default-features = false, features = [\"monitor\"] }}\n\n\
         [profile.release]\nopt-level = \"s\"\nlto = true\ncodegen-units = 1\npanic = \"abort\"\nstrip = true\n\
         overflow-checks = true\n",
    );
    write_if_other(&package.join("Cargo.toml"), &manifest)?;
    let program = "fn main() -> std::process::ExitCode {\n    hypr_vmm::monitor::main()\n}\n";
    write_if_other(&package.join("src/main.rs"), program)?;
    // The nearest lock file is this build's own: beside a published crate, or in the workspace.
    let locked = this.ancestors().map(|directory| directory.join("Cargo.lock")).find(|file| file.is_file());
    if let Some(locked) = locked {
        println!("cargo::rerun-if-changed={}", locked.display());
        fs::copy(&locked, package.join("Cargo.lock"))?;
    }
    Ok(())
}

/// Leaves a file alone that needs no change, or cargo would build anew.
fn write_if_other(path: &Path, content: &str) -> io::Result<()> {
    match fs::read_to_string(path) {
        Ok(present) if present == content => Ok(()),
        _ => fs::write(path, content),
    }
}

/// A variable that cargo sets for every build script.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
