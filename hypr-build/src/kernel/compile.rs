//! Compiling a kernel that has what a machine needs and nothing else.
//!
//! A kernel of this configuration boots with half the processor time of a distribution's, needs no modules, and is
//! compiled in some five minutes on two cores.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::KernelError;

/// What differs from the smallest configuration that there is.
const CONFIGURATION: &str = include_str!("guest.config");

/// Where Debian's packages put the sources.
const SOURCES: &str = "/usr/src";

/// Compiles a guest kernel.
#[derive(Debug, Clone)]
pub struct Compiler {
    sources: Option<PathBuf>,
    jobs: usize,
    folder: PathBuf,
}

impl Compiler {
    /// A compiler that works in `folder`, which takes some 2 GiB, is made and is removed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        Self { sources: None, jobs, folder: folder.into() }
    }

    /// Compiles this source: a tar archive or a tree. By default the newest that a Debian package `linux-source-*`
    /// installed.
    #[must_use]
    pub fn sources(mut self, path: impl Into<PathBuf>) -> Self {
        self.sources = Some(path.into());
        self
    }

    /// How many files are compiled at once; by default as many as there are processors.
    #[must_use]
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs.max(1);
        self
    }

    /// Compiles, and calls `keep` with the kernel and the name of its source.
    pub(super) fn run<T>(&self, keep: impl FnOnce(&Path, &str) -> Result<T, KernelError>) -> Result<T, KernelError> {
        let sources = match &self.sources {
            Some(path) => path.clone(),
            None => installed_sources()?,
        };
        fs::create_dir_all(&self.folder).map_err(|error| failed("make a folder to compile in", &error))?;
        let result = self.compile(&sources).and_then(|vmlinux| keep(&vmlinux, &sources.display().to_string()));
        // What cannot be removed is in a folder that the caller named.
        let _ = fs::remove_dir_all(&self.folder);
        result
    }

    fn compile(&self, sources: &Path) -> Result<PathBuf, KernelError> {
        let tree = if sources.is_dir() { sources.to_owned() } else { self.unpack(sources)? };
        let output = self.folder.join("output");
        fs::create_dir_all(&output).map_err(|error| failed("make a folder to compile in", &error))?;
        let fragment = self.folder.join("guest.config");
        fs::write(&fragment, CONFIGURATION).map_err(|error| failed("write the configuration", &error))?;
        let make = |target: &[&str]| {
            let mut make = Command::new("make");
            make.arg("-C").arg(&tree).arg(format!("O={}", output.display())).args(target);
            // The same source gives the same kernel.
            make.env("KBUILD_BUILD_TIMESTAMP", "1970-01-01").env("KBUILD_BUILD_USER", "hypr");
            make.env("KBUILD_BUILD_HOST", "hypr");
            make
        };
        run(make(&["tinyconfig"]))?;
        let mut merge = Command::new(tree.join("scripts/kconfig/merge_config.sh"));
        merge.arg("-m").arg("-O").arg(&output).arg(output.join(".config")).arg(&fragment).current_dir(&tree);
        run(merge)?;
        run(make(&["olddefconfig"]))?;
        check_configuration(&output.join(".config"))?;
        run(make(&[&format!("-j{}", self.jobs), "vmlinux"]))?;
        let vmlinux = self.folder.join("vmlinux");
        let mut strip = Command::new("strip");
        strip.args(["--strip-debug", "-o"]).arg(&vmlinux).arg(output.join("vmlinux"));
        run(strip)?;
        Ok(vmlinux)
    }

    fn unpack(&self, archive: &Path) -> Result<PathBuf, KernelError> {
        let tree = self.folder.join("source");
        fs::create_dir_all(&tree).map_err(|error| failed("make a folder to compile in", &error))?;
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(archive).args(["--strip-components=1", "-C"]).arg(&tree);
        run(tar)?;
        Ok(tree)
    }
}

/// The newest archive of sources that a package installed.
fn installed_sources() -> Result<PathBuf, KernelError> {
    let entries = fs::read_dir(SOURCES).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_source = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("linux-source-") && name.contains(".tar")
    };
    let needs = "there are no sources in /usr/src: apt-get install linux-source flex bison bc libelf-dev libssl-dev \
                 make gcc xz-utils, or name them with --source";
    entries.filter(is_source).max().ok_or_else(|| KernelError::Compile(needs.to_owned()))
}

/// Every option has to have taken effect: one that another one hides is left out without a word.
fn check_configuration(path: &Path) -> Result<(), KernelError> {
    let file = File::open(path).map_err(|error| failed("read the configuration", &error))?;
    let made: std::collections::BTreeSet<String> = BufReader::new(file).lines().map_while(Result::ok).collect();
    let lacks = CONFIGURATION.lines().filter(|line| line.ends_with("=y") && !made.contains(*line));
    match lacks.collect::<Vec<_>>() {
        missing if missing.is_empty() => Ok(()),
        missing => Err(KernelError::Compile(format!("this source does not have {}", missing.join(", ")))),
    }
}

/// Runs a tool; when it fails, the end of what it said is in the error.
fn run(mut command: Command) -> Result<(), KernelError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| KernelError::Compile(format!("cannot run {name}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    let newest = lines[lines.len().saturating_sub(10)..].join("\n  | ");
    Err(KernelError::Compile(format!("{name} failed ({})\n  | {newest}", output.status)))
}

fn failed(action: &str, error: &std::io::Error) -> KernelError {
    KernelError::Compile(format!("cannot {action}: {error}"))
}
