//! The tools that are compared, each with a store of its own on the measured file system.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// A builder of images.
pub(crate) trait Tool {
    fn name(&self) -> &'static str;
    /// Makes the image of the OCI layout known under `name`.
    fn load(&mut self, layout: &Path, name: &str) -> Result<()>;
    /// The command that builds `project` as `tag`; without its cache if `cold`.
    fn command(&self, project: &Path, tag: &str, cold: bool) -> Command;
    /// Writes the image `tag` as one squashfs file, if building it has not done so.
    fn squashfs(&self, project: &Path, tag: &str) -> Option<Command>;
    /// Drops what earlier builds left in the cache.
    fn forget(&mut self) -> Result<()>;

    /// Builds and says how long it took.
    fn build(&mut self, project: &Path, tag: &str, cold: bool) -> Result<Duration> {
        timed(&mut self.command(project, tag, cold))
    }
}

pub(crate) fn timed(command: &mut Command) -> Result<Duration> {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let elapsed = started.elapsed();
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        let last: Vec<_> = log.lines().rev().take(10).collect();
        let last: Vec<_> = last.into_iter().rev().collect();
        return Err(format!("{command:?}: {}\n{}", output.status, last.join("\n")).into());
    }
    Ok(elapsed)
}

pub(crate) struct Hypr {
    program: PathBuf,
    root: PathBuf,
    /// The store as it is with the base images alone.
    bases: PathBuf,
}

impl Hypr {
    pub(crate) fn new(program: &Path, folder: &Path) -> Result<Self> {
        Ok(Self { program: program.to_owned(), root: folder.join("hypr"), bases: folder.join("hypr-bases") })
    }
}

impl Tool for Hypr {
    fn name(&self) -> &'static str {
        "hypr"
    }

    fn load(&mut self, layout: &Path, name: &str) -> Result<()> {
        for root in [&self.root, &self.bases] {
            timed(Command::new(&self.program).env("HYPR_ROOT", root).arg("load").arg(layout).args(["-t", name]))?;
        }
        Ok(())
    }

    fn command(&self, project: &Path, tag: &str, cold: bool) -> Command {
        let mut command = Command::new(&self.program);
        command.env("HYPR_ROOT", &self.root).args(["build", "--isolation", "namespace", "-t", tag]);
        if cold {
            command.arg("--no-cache");
        }
        command.arg(project);
        command
    }

    fn squashfs(&self, _: &Path, _: &str) -> Option<Command> {
        None
    }

    fn forget(&mut self) -> Result<()> {
        std::fs::remove_dir_all(&self.root)?;
        timed(Command::new("cp").arg("-a").args([&self.bases, &self.root]))?;
        Ok(())
    }
}

/// dockerd with its BuildKit.
pub(crate) struct Docker {
    daemon: Child,
    socket: String,
    folder: PathBuf,
}

impl Docker {
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let folder = folder.join("docker");
        std::fs::create_dir(&folder)?;
        let socket = format!("unix://{}", folder.join("socket").display());
        let log = std::fs::File::create(folder.join("log"))?;
        let daemon = Command::new("/usr/sbin/dockerd")
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=overlay2"])
            .args(["--host", &socket])
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let docker = Self { daemon, socket, folder };
        for _ in 0..300 {
            if docker.client().arg("version").output()?.status.success() {
                return Ok(docker);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("dockerd did not start: see {}", docker.folder.join("log").display()).into())
    }

    /// The client that Debian's dockerd comes with, which needs no plugin for BuildKit.
    fn client(&self) -> Command {
        let mut command = Command::new("/usr/bin/docker");
        command.env("DOCKER_HOST", &self.socket).env("DOCKER_BUILDKIT", "1");
        command
    }
}

impl Tool for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn load(&mut self, layout: &Path, name: &str) -> Result<()> {
        let archive = self.folder.join("base.tar");
        timed(
            Command::new("skopeo")
                .args(["copy", "--insecure-policy", "--quiet"])
                .arg(format!("oci:{}", layout.display()))
                .arg(format!("docker-archive:{}:{name}:latest", archive.display())),
        )?;
        timed(self.client().arg("load").arg("-i").arg(&archive))?;
        Ok(std::fs::remove_file(archive)?)
    }

    fn command(&self, project: &Path, tag: &str, cold: bool) -> Command {
        let mut command = self.client();
        command.args(["build", "--network", "none", "--progress", "plain", "-t", tag]);
        if cold {
            command.arg("--no-cache");
        }
        command.arg(project);
        command
    }

    fn squashfs(&self, project: &Path, _: &str) -> Option<Command> {
        let mut command = Command::new("sh");
        let script = "/usr/bin/docker build --network none --progress plain -o - \"$1\" |
            tar2sqfs --quiet --force --compressor zstd --comp-extra level=3 \"$2\"";
        command.env("DOCKER_HOST", &self.socket).env("DOCKER_BUILDKIT", "1");
        command.args(["-c", script, "sh"]).arg(project).arg(self.folder.join("image.squashfs"));
        Some(command)
    }

    fn forget(&mut self) -> Result<()> {
        timed(self.client().args(["builder", "prune", "--all", "--force"]))?;
        timed(self.client().args(["image", "prune", "--force"]))?;
        Ok(())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // SIGTERM, so that it takes its mounts away.
        let _ = Command::new("kill").arg(self.daemon.id().to_string()).status();
        let _ = self.daemon.wait();
    }
}

pub(crate) struct Buildah {
    folder: PathBuf,
}

impl Buildah {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let folder = folder.join("buildah");
        std::fs::create_dir(&folder)?;
        Ok(Self { folder })
    }

    fn program(&self) -> Command {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.folder.join("root")).arg("--runroot").arg(self.folder.join("run"));
        command.args(["--storage-driver", "overlay"]);
        command
    }
}

impl Tool for Buildah {
    fn name(&self) -> &'static str {
        "buildah"
    }

    fn load(&mut self, layout: &Path, name: &str) -> Result<()> {
        let (root, run) = (self.folder.join("root"), self.folder.join("run"));
        timed(
            Command::new("skopeo")
                .args(["copy", "--insecure-policy", "--quiet"])
                .arg(format!("oci:{}", layout.display()))
                .arg(format!(
                    "containers-storage:[overlay@{}+{}]localhost/{name}:latest",
                    root.display(),
                    run.display()
                )),
        )?;
        Ok(())
    }

    fn command(&self, project: &Path, tag: &str, cold: bool) -> Command {
        let mut command = self.program();
        command.args(["build", "--network", "none", "--pull-never", "-t", tag]);
        command.arg(if cold { "--no-cache" } else { "--layers" });
        if cold {
            command.arg("--layers");
        }
        command.arg(project);
        command
    }

    fn squashfs(&self, _: &Path, tag: &str) -> Option<Command> {
        let mut command = Command::new("sh");
        let buildah = self.program();
        let arguments: Vec<_> = buildah.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let buildah = format!("buildah {}", arguments.join(" "));
        let script = format!(
            "set -e; container=$({buildah} from --pull-never \"$1\"); tree=$({buildah} mount $container);
             mksquashfs \"$tree\" \"$2\" -noappend -quiet -no-progress -comp zstd -Xcompression-level 3;
             {buildah} umount $container; {buildah} rm $container"
        );
        command.args(["-c", &script, "sh", tag]).arg(self.folder.join("image.squashfs"));
        Some(command)
    }

    fn forget(&mut self) -> Result<()> {
        timed(self.program().args(["rmi", "--prune", "--force"]))?;
        Ok(())
    }
}
