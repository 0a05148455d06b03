//! What is published builds: the crates are packed as for a registry, unpacked elsewhere, and compiled from that alone.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The crates that are published together, those that others need first.
const CRATES: [&str; 3] = ["hypr-squash", "hypr-vmm", "hypr-build"];

#[test]
fn the_packed_crates_hold_the_agent_and_build_by_themselves() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // Always the same place, so that one run's leftovers are the next one's cache.
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packed");
    let _ = fs::remove_dir_all(&work);
    let unpacked = pack_and_unpack(workspace, &work);

    let agent = unpacked.join("hypr-build/agent");
    assert_eq!(files(&agent), files(&workspace.join("hypr-build/agent")), "the agent's source is packed whole");
    assert!(!agent.join("Cargo.toml").exists(), "cargo leaves folders with a manifest of their own out of packages");
    assert!(unpacked.join("hypr-build/build.rs").exists());

    make_workspace(workspace, &unpacked);
    let out = check(&unpacked);
    let embedded = fs::read_to_string(out.join("agent.rs")).unwrap();
    assert!(embedded.starts_with("Ok("), "{embedded}");
    assert_static_program(&fs::read(out.join("hypr-agent")).unwrap());
}

/// Packs the crates of `workspace` and unpacks each below the folder that is returned, under its bare name.
fn pack_and_unpack(workspace: &Path, work: &Path) -> PathBuf {
    let mut cargo = cargo(workspace);
    cargo.args(["package", "--quiet", "--no-verify", "--offline", "--allow-dirty", "--target-dir"]).arg(work);
    for name in CRATES {
        cargo.args(["--package", name]);
    }
    run(&mut cargo);
    let unpacked = work.join("unpacked");
    for name in CRATES {
        let packages = fs::read_dir(work.join("package")).unwrap().map(|entry| entry.unwrap().path());
        let is_package = |path: &PathBuf| {
            let file = path.file_name().unwrap().to_str().unwrap();
            file.starts_with(&format!("{name}-")) && file.ends_with(".crate")
        };
        let package = packages.into_iter().find(is_package).unwrap();
        let versioned = package.file_stem().unwrap().to_owned();
        let archive = flate2::read::GzDecoder::new(fs::File::open(&package).unwrap());
        tar::Archive::new(archive).unpack(&unpacked).unwrap();
        fs::rename(unpacked.join(versioned), unpacked.join(name)).unwrap();
    }
    unpacked
}

/// Makes the unpacked crates find each other, and what is already compiled: same versions, same profiles.
fn make_workspace(workspace: &Path, unpacked: &Path) {
    let mut manifest = String::from("[workspace]\nresolver = \"3\"\n");
    manifest.push_str(&format!("members = {CRATES:?}\n\n[patch.crates-io]\n"));
    for name in CRATES {
        manifest.push_str(&format!("{name} = {{ path = \"{name}\" }}\n"));
    }
    let whole = fs::read_to_string(workspace.join("Cargo.toml")).unwrap();
    manifest.push_str(whole.find("[profile").map_or("", |profiles| &whole[profiles..]));
    fs::write(unpacked.join("Cargo.toml"), manifest).unwrap();
    fs::copy(workspace.join("Cargo.lock"), unpacked.join("Cargo.lock")).unwrap();
}

/// Compiles hypr-build up to the point where machine code would be made, which runs its build script; returns the
/// folder that the script wrote to.
fn check(unpacked: &Path) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = cargo(unpacked);
    cargo.args([
        "check",
        "--quiet",
        "--offline",
        "--message-format=json-render-diagnostics",
        "--package",
        "hypr-build",
        "--target-dir",
    ]);
    let messages = run(cargo.arg(target));
    let ours = format!("path+file://{}", unpacked.canonicalize().unwrap().join("hypr-build").display());
    let out = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let script = message["reason"] == "build-script-executed";
        let package = message["package_id"].as_str()?.starts_with(&ours);
        (script && package).then(|| message["out_dir"].as_str().map(PathBuf::from))?
    });
    out.expect("the build script ran")
}

fn cargo(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(directory).env_remove("DOCS_RS");
    // Set by the cargo that runs this test, and meant for its packages.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The files below `folder`, by their path in it.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                files.insert(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    files
}

/// Checks that `program` is a 64-bit ELF program that asks for no interpreter, so that it runs in an empty image.
fn assert_static_program(program: &[u8]) {
    const INTERPRETER: u32 = 3; // PT_INTERP
    assert!(program.starts_with(b"\x7fELF\x02\x01"), "no 64-bit little-endian ELF file");
    let half = |at: usize| usize::from(u16::from_le_bytes(program[at..at + 2].try_into().unwrap()));
    let word = |at: usize| u32::from_le_bytes(program[at..at + 4].try_into().unwrap());
    let table = usize::try_from(u64::from_le_bytes(program[32..40].try_into().unwrap())).unwrap();
    let (size, count) = (half(54), half(56));
    assert!(count > 0);
    for index in 0..count {
        assert_ne!(word(table + index * size), INTERPRETER, "the agent is linked dynamically");
    }
}
