//! Builds cases with BuildKit as Debian's dockerd 20.10 has it built in, to prove what they expect: for root alone, and
//! only when it is asked for. It knows no heredocs, and not the newest flags.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hypr_tests::{Run, Running};
use rustix::process::Signal;
use serde_json::{Value, json};
use tar::{Archive, EntryType};
use tempfile::TempDir;

use crate::{
    Build, Outcome, Shared, bases,
    case::Case,
    entry::{Kind, line},
    peer::{self, Peer},
    served::Served,
};

pub(crate) struct Dockerd {
    folder: TempDir,
    daemon: Option<Running>,
    number: AtomicUsize,
    base: OnceLock<BTreeMap<String, String>>,
}

/// The one for all groups that run.
pub(crate) fn shared() -> Arc<Dockerd> {
    static SHARED: Shared<Dockerd> = Shared::new();
    SHARED.get(|| {
        let folder = TempDir::with_prefix("hypr-dockerd-").expect("a temporary folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let daemon = Run::new("dockerd")
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--host", &format!("unix://{}", at("socket")), "--bridge", "none", "--iptables=false"])
            .limit(Duration::from_secs(120))
            .start();
        let mut dockerd = Dockerd { folder, daemon: None, number: AtomicUsize::new(0), base: OnceLock::new() };
        dockerd.wait_for(daemon);
        for (name, layout) in bases::write(dockerd.folder.path()) {
            dockerd.docker(["load"]).stdin(archive(name, &layout)).ok();
        }
        dockerd
    })
}

impl Build for Dockerd {
    fn passes_over(&self, case: &Case) -> Option<String> {
        let unknown = case.options.iter().any(|option| option.starts_with("--build-context"));
        let unknown = unknown.then(|| "it has no named contexts".to_owned());
        case.differing(Peer::Dockerd).map(str::to_owned).or(unknown)
    }

    fn build(&self, case: &Case) -> Result<Outcome, String> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.path().join(format!("case-{number}"));
        fs::create_dir(&folder).expect("a new folder");
        let context = folder.join("context");
        case.write_context(&context);
        let served = Served::start(case, &folder);
        let mut args: Vec<String> = ["build", "--progress", "plain", "--network", "host"].map(str::to_owned).to_vec();
        for (name, url) in served.addresses() {
            args.extend(["--build-arg".to_owned(), format!("{name}={url}")]);
        }
        let mut file = "Dockerfile";
        for option in &case.options {
            match option.split_once(' ').unwrap_or((option, "")) {
                ("--file", value) => file = value,
                (flag, value) => args.extend([flag.to_owned(), value.to_owned()]),
            }
        }
        args.extend(["--file".to_owned(), context.join(file).display().to_string(), context.display().to_string()]);
        let name = format!("case:{number}");
        let finished = self.docker(args.iter().map(String::as_str).chain(["--tag", &name])).run();
        if !finished.status.success() {
            return Err(finished.to_string());
        }
        let config = self.config(&name);
        if case.tree.is_none() {
            return Ok(Outcome { tree: Vec::new(), config });
        }
        let mut tree = self.tree(&args, &folder.join("tree.tar"))?;
        let base = self.base.get_or_init(|| {
            let context = self.folder.path().join("base");
            fs::create_dir(&context).expect("a new folder");
            fs::write(context.join("Dockerfile"), "FROM busybox\n").expect("a file");
            let args = ["build".to_owned(), context.display().to_string()];
            self.tree(&args, &context.join("tree.tar")).expect("the base image can be exported")
        });
        peer::without_base(&mut tree, base);
        Ok(Outcome { tree: tree.into_values().collect(), config })
    }
}

impl Dockerd {
    fn wait_for(&mut self, mut daemon: Running) {
        while !self.docker(["version"]).run().status.success() {
            assert!(daemon.is_running(), "dockerd cannot start:\n{}", daemon.wait());
            std::thread::sleep(Duration::from_millis(100));
        }
        self.daemon = Some(daemon);
    }

    fn docker<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        Run::new("/usr/bin/docker")
            .env("DOCKER_HOST", format!("unix://{}", self.folder.path().join("socket").display()))
            .env("DOCKER_CONFIG", self.folder.path().join("config"))
            .env("DOCKER_BUILDKIT", "1")
            .args(args)
    }

    /// The configuration document of an image.
    fn config(&self, image: &str) -> Value {
        let saved = self.docker(["save", image]).run();
        if saved.stdout().is_empty() {
            // An image without layers cannot be saved; what is missing here is the history.
            let config = self.docker(["image", "inspect", image]).ok().json()[0].clone();
            return json!({
                "author": config["Author"],
                "architecture": config["Architecture"],
                "config": peer::without_empty(&config["Config"]),
            });
        }
        let mut files = BTreeMap::new();
        for entry in Archive::new(saved.stdout()).entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            if path.ends_with(".json") {
                let mut text = String::new();
                entry.read_to_string(&mut text).expect("a document");
                files.insert(path, text);
            }
        }
        let parse = |path: &str| -> Value { serde_json::from_str(&files[path]).expect("a document is JSON") };
        let manifest = parse("manifest.json");
        let mut config = parse(manifest[0]["Config"].as_str().expect("a manifest names a configuration"));
        config["config"] = peer::without_empty(&config["config"]);
        json!(config)
    }

    /// The lines of what these arguments build, by path.
    fn tree(&self, args: &[String], file: &Path) -> Result<BTreeMap<String, String>, String> {
        let output = format!("type=tar,dest={}", file.display());
        let args = args.iter().map(String::as_str).chain(["--output", &output]);
        let finished = self.docker(args).run();
        if !finished.status.success() {
            return Err(finished.to_string());
        }
        let mut lines = BTreeMap::new();
        for entry in Archive::new(fs::File::open(file).expect("what was built")).entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let path = format!("/{}", String::from_utf8_lossy(&entry.path_bytes()).trim_matches('/'));
            let target = || {
                let target = entry.link_name_bytes().expect("a link has a target");
                String::from_utf8_lossy(&target).into_owned()
            };
            let kind = match entry.header().entry_type() {
                EntryType::Directory => Kind::Directory,
                EntryType::Symlink => Kind::Symlink(target()),
                EntryType::Link => Kind::Same(format!("/{}", target().trim_start_matches('/'))),
                EntryType::Fifo => Kind::Fifo,
                EntryType::Regular => {
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content).expect("a file can be read");
                    Kind::File(content)
                }
                _ => Kind::Other("special"),
            };
            let header = entry.header();
            let owner = |id: std::io::Result<u64>| id.ok().and_then(|id| u32::try_from(id).ok()).expect("an owner");
            let mode = header.mode().expect("a mode") & 0o7777;
            lines.insert(path.clone(), line(&path, mode, (owner(header.uid()), owner(header.gid())), &kind));
        }
        fs::remove_file(file).expect("a file");
        // Where it mounts the kernel's file systems for a RUN, in images that have no such directory.
        lines.retain(|path, line| {
            !(matches!(path.as_str(), "/dev" | "/proc" | "/sys") && line.starts_with("drwxr-xr-x 0:0"))
        });
        Ok(lines)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(Signal::TERM);
            daemon.wait();
        }
    }
}

/// A layout as `docker load` takes it.
fn archive(name: &str, layout: &PathBuf) -> Vec<u8> {
    let read = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(layout.join(path)).expect("a file of the layout")).expect("it is JSON")
    };
    let blob = |descriptor: &Value| {
        format!("blobs/{}", descriptor["digest"].as_str().expect("a descriptor has a digest").replace(':', "/"))
    };
    let manifest = read(&blob(&read("index.json")["manifests"][0]));
    let layers = manifest["layers"].as_array().expect("a manifest lists layers");
    let manifest = json!([{
        "Config": blob(&manifest["config"]),
        "RepoTags": [format!("{name}:latest")],
        "Layers": layers.iter().map(blob).collect::<Vec<_>>(),
    }]);
    fs::write(layout.join("manifest.json"), manifest.to_string()).expect("a file in the layout");
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all("", layout).expect("memory can be written");
    archive.into_inner().expect("memory can be written")
}
