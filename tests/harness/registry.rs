//! A registry on a port of this machine.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::process::{Run, started};

/// Debian's `docker-registry` on a free port of 127.0.0.1, until it is dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    address: String,
    storage: PathBuf,
}

impl Registry {
    /// Starts a registry that keeps its things in `folder`.
    pub(super) fn start(folder: &Path) -> Self {
        let storage = folder.join("storage");
        fs::create_dir_all(&storage).expect("a new folder");
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:0'}}\n",
            storage.display()
        );
        fs::write(&config, text).expect("a file in a new folder");
        let mut started = started();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry: run tests/run.sh, which installs it");
        started.insert(child.id());
        drop(started);
        let mut log = BufReader::new(child.stderr.take().expect("is piped")).lines();
        let address = loop {
            let line = log.next().expect("a line that says where the registry listens").expect("a readable log");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split('"').next().expect("split gives one part at least").to_owned();
            }
        };
        // The log is read on, or the registry would stop at a full pipe.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, address, storage }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Pushes the image of an OCI layout and returns its full name, such as `127.0.0.1:4000/base:1`.
    #[track_caller]
    pub fn push(&self, layout: &Path, name: &str) -> String {
        let full = format!("{}/{name}", self.address);
        Run::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
            .args([format!("oci:{}:latest", layout.display()), format!("docker://{full}")])
            .ok();
        full
    }

    /// The files in which the registry keeps the content of blobs.
    pub fn blobs(&self) -> Vec<PathBuf> {
        let found = Run::new("find").args([&*self.storage, Path::new("-path")]).args(["*/blobs/*/data"]).ok().out();
        found.lines().map(PathBuf::from).collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let mut started = started();
        let _ = self.child.kill();
        let _ = self.child.wait();
        started.remove(&self.child.id());
    }
}
