//! Builds cases with buildah, to prove what they expect: for root alone, and only when it is asked for.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use hypr_tests::{Finished, Run};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Build, Outcome, Shared, bases,
    case::Case,
    entry::{Kind, line},
    peer::{self, Peer},
};

pub(crate) struct Buildah {
    folder: TempDir,
    number: AtomicUsize,
    base: OnceLock<BTreeMap<String, String>>,
}

/// The one for all groups that run.
pub(crate) fn shared() -> Arc<Buildah> {
    static SHARED: Shared<Buildah> = Shared::new();
    SHARED.get(|| {
        // Names of images are written in small letters, and buildah makes one of the path.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("hypr-buildah-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir().expect("a temporary folder");
        let buildah = Buildah { folder, number: AtomicUsize::new(0), base: OnceLock::new() };
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        fs::write(buildah.folder.path().join("policy.json"), policy).expect("a file");
        for (name, layout) in bases::write(buildah.folder.path()) {
            let source = format!("oci:{}:latest", layout.display());
            let policy = buildah.folder.path().join("policy.json").display().to_string();
            let id = buildah.run(["pull", "--quiet", "--signature-policy", &policy, &source]).ok().out();
            buildah.run(["tag", id.trim(), &format!("localhost/{name}:latest")]).ok();
        }
        buildah
    })
}

impl Build for Buildah {
    fn passes_over(&self, case: &Case) -> Option<String> {
        let served = case.is_served().then(|| "its sources are served by the test itself".to_owned());
        case.differing(Peer::Buildah).map(str::to_owned).or(served)
    }

    fn build(&self, case: &Case) -> Result<Outcome, String> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let context = self.folder.path().join(format!("context-{number}"));
        case.write_context(&context);
        let name = format!("localhost/case:{number}");
        let mut args: Vec<String> =
            ["build", "--isolation", "chroot", "--format", "docker", "--pull=never", "--network", "host", "--tag"]
                .map(str::to_owned)
                .to_vec();
        args.push(name.clone());
        let mut file = "Dockerfile";
        for option in &case.options {
            let (flag, value) = option.split_once(' ').unwrap_or((option, ""));
            match flag {
                "--file" => file = value,
                "--build-context" => {
                    let (name, source) = value.split_once('=').unwrap_or((value, ""));
                    args.extend([flag.to_owned(), format!("{name}={}", context.join(source).display())]);
                }
                _ => args.extend([flag.to_owned(), value.to_owned()]),
            }
        }
        args.extend(["--file".to_owned(), context.join(file).display().to_string(), context.display().to_string()]);
        let finished = self.run(&args).run();
        if !finished.status.success() {
            return Err(finished.to_string());
        }
        let config: Value = serde_json::from_slice(self.run(["inspect", "--type", "image", &name]).ok().stdout())
            .map_err(|error| error.to_string())?;
        let config = config["Docker"].clone();
        let config = json!({
            "author": config["author"],
            "architecture": config["architecture"],
            "variant": config["variant"],
            "history": config["history"],
            "config": peer::without_empty(&config["config"]),
        });
        if case.tree.is_none() {
            // Looking into an image with triggers carries them out.
            return Ok(Outcome { tree: Vec::new(), config });
        }
        let mut tree = self.tree(&name);
        let base = self.base.get_or_init(|| self.tree("localhost/busybox:latest"));
        peer::without_base(&mut tree, base);
        self.run(["rmi", "--force", &name]).run();
        Ok(Outcome { tree: tree.into_values().collect(), config })
    }
}

impl Buildah {
    fn run<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        let root = self.folder.path().join("root");
        let runroot = self.folder.path().join("run");
        let global = [
            "--storage-driver".to_owned(),
            "vfs".to_owned(),
            "--root".to_owned(),
            root.display().to_string(),
            "--runroot".to_owned(),
            runroot.display().to_string(),
        ];
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        Run::new("buildah").args(global).args(args).env("TMPDIR", self.folder.path())
    }

    fn tree(&self, image: &str) -> BTreeMap<String, String> {
        let line = |finished: Finished| finished.out().trim().to_owned();
        let container = line(self.run(["from", "--pull=never", image]).ok());
        let root = PathBuf::from(line(self.run(["mount", &container]).ok()));
        let mut lines = BTreeMap::new();
        walk(&root, &root, &mut BTreeMap::new(), &mut lines);
        self.run(["rm", &container]).ok();
        lines.retain(|path, line| !is_mount_point(path, line));
        lines
    }
}

/// What chroot isolation makes to mount on, and leaves behind.
fn is_mount_point(path: &str, line: &str) -> bool {
    match path {
        "/dev" | "/proc" | "/run" | "/sys" => true,
        "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf" => line.ends_with(" \"\""),
        _ => false,
    }
}

fn walk(root: &Path, folder: &Path, names: &mut BTreeMap<u64, String>, lines: &mut BTreeMap<String, String>) {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        let metadata = fs::symlink_metadata(&path).expect("a file");
        let shown = format!("/{}", path.strip_prefix(root).expect("below the root").display());
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_symlink() => Kind::Symlink(fs::read_link(&path).expect("a link").display().to_string()),
            kind if kind.is_file() => match names.get(&metadata.ino()) {
                Some(first) => Kind::Same(first.clone()),
                None => {
                    names.insert(metadata.ino(), shown.clone());
                    Kind::File(fs::read(&path).expect("a readable file"))
                }
            },
            _ => Kind::Other("special"),
        };
        let is_directory = metadata.is_dir();
        lines.insert(shown.clone(), line(&shown, metadata.mode() & 0o7777, (metadata.uid(), metadata.gid()), &kind));
        if is_directory {
            walk(root, &path, names, lines);
        }
    }
}
