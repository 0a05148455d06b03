//! Compiles the agent, the program that runs inside of every sandbox, so that the library can embed it.
//!
//! The agent needs the standard library alone, so the compiler that builds this crate builds it too. Where that is not
//! possible the library is built without it, says why when it is asked to run a step, and a warning is printed here.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo::rerun-if-changed=agent");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DOCS_RS");
    if env::var_os("CARGO_FEATURE_BUILD").is_none() {
        return;
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    let agent = out.join("hypr-agent");
    let source = match compile(&agent) {
        Ok(()) => format!("Ok(include_bytes!({agent:?}))"),
        Err(reason) => {
            if env::var_os("DOCS_RS").is_none() {
                println!("cargo::warning=no step can run, since the sandbox agent was not built: {reason}");
            }
            format!("Err({reason:?})")
        }
    };
    if let Err(error) = fs::write(out.join("agent.rs"), source) {
        println!("cargo::error=cannot write {}: {error}", out.join("agent.rs").display());
    }
}

/// Compiles `agent/main.rs` for the target into a static program at `agent`.
fn compile(agent: &Path) -> Result<(), String> {
    if env::var_os("DOCS_RS").is_some() {
        return Err("documentation was built without it".to_owned());
    }
    if variable("CARGO_CFG_TARGET_OS") != "linux" {
        return Err(format!("there is none for {}", variable("TARGET")));
    }
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .args(["--edition", "2024", "--crate-name", "hypr_agent", "--crate-type", "bin"])
        .args(["--target", &variable("TARGET")])
        .args(["-C", "target-feature=+crt-static", "-C", "panic=abort", "-C", "opt-level=s"])
        .args(["-C", "codegen-units=1", "-C", "strip=symbols", "-D", "unsafe_op_in_unsafe_fn"])
        // The same source gives the same bytes wherever it lies.
        .arg(format!("--remap-path-prefix={}=", variable("CARGO_MANIFEST_DIR")));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("linker=");
        option.push(linker);
        rustc.arg("-C").arg(option);
    }
    let output = rustc
        .arg(Path::new(&variable("CARGO_MANIFEST_DIR")).join("agent/main.rs"))
        .arg("-o")
        .arg(agent)
        .output()
        .map_err(|error| format!("cannot run {}: {error}", variable("RUSTC")))?;
    if output.status.success() {
        return Ok(());
    }
    let messages = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<&str> = messages.lines().filter(|line| line.contains("error")).take(3).collect();
    Err(format!("{} for {}: {}", output.status, variable("TARGET"), errors.join("; ")))
}

/// A variable that cargo sets for every build script.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
