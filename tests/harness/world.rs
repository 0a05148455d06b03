//! A store of a test's own and the program to run on it.

use std::{cell::Cell, ffi::OsStr, fs, path::PathBuf};

use tempfile::TempDir;

use super::{image::Image, layout::Layout, leaks, process::Run, program, project::Project, registry::Registry};

/// A store, a home and a temporary directory that only one test uses.
///
/// Dropping it fails the test if anything of its builds is left on the machine.
#[derive(Debug)]
pub struct World {
    folder: TempDir,
    projects: Cell<usize>,
}

impl World {
    /// A world with an empty store.
    #[expect(clippy::new_without_default, reason = "a world touches the disk, which nobody expects of a default")]
    pub fn new() -> Self {
        leaks::adopt_orphans();
        let folder = TempDir::with_prefix("hypr-test-").expect("a temporary folder");
        for name in ["home", "tmp"] {
            fs::create_dir(folder.path().join(name)).expect("a new folder");
        }
        Self { folder, projects: Cell::new(0) }
    }

    /// A path in the world's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The program with these arguments, on the world's store.
    pub fn hypr<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.confine(Run::new(program::hypr())).args(args)
    }

    /// The program on one processor alone.
    pub fn hypr_on_one_processor<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.confine(Run::new("taskset")).args(["-c", "0"]).args([program::hypr()]).args(args)
    }

    /// `hypr build FLAGS... PROJECT`.
    pub fn build<S: AsRef<OsStr>>(&self, project: &Project, flags: impl IntoIterator<Item = S>) -> Run {
        self.hypr(["build"]).args(flags).args([project.path()])
    }

    /// A new project with this Dockerfile.
    pub fn project(&self, dockerfile: &str) -> Project {
        let number = self.projects.get();
        self.projects.set(number + 1);
        Project::new(self.path(&format!("project-{number}")), dockerfile)
    }

    /// Writes a base image and loads it into the store under a name.
    #[track_caller]
    pub fn load(&self, name: &str, layout: &Layout) -> PathBuf {
        let path = layout.write(self.path(&format!("layout-{name}")));
        self.hypr(["load"]).args([&path]).args(["--tag", name]).ok();
        path
    }

    /// A world whose store has `busybox`.
    #[track_caller]
    pub fn with_busybox() -> Self {
        let world = Self::new();
        world.load("busybox", &Layout::busybox());
        world
    }

    /// The image of that name.
    #[track_caller]
    pub fn image(&self, name: &str) -> Image {
        Image::new(self.hypr(["image", "inspect", name]).ok().json())
    }

    /// A copy of the program that every user of the machine can start.
    pub fn program_for_everyone(&self) -> PathBuf {
        let copy = self.path("hypr");
        fs::copy(program::hypr(), &copy).expect("a copy of the program");
        copy
    }

    /// Starts a registry.
    pub fn registry(&self) -> Registry {
        Registry::start(&self.path("registry"))
    }

    /// Waits until nothing of a build is left on the machine and fails the test if something stays.
    #[track_caller]
    pub fn nothing_is_left(&self) {
        let left = leaks::left_behind(self.folder.path(), &[self.path("tmp"), self.store().join("tmp")]);
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    }

    fn confine(&self, run: Run) -> Run {
        let mut run = run
            .directory(self.folder.path())
            .env("HYPR_ROOT", self.store())
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("NO_COLOR", "1");
        for name in
            ["SOURCE_DATE_EPOCH", "XDG_DATA_HOME", "RUST_LOG", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"]
        {
            run = run.without_env(name);
        }
        run
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.nothing_is_left();
        }
    }
}
