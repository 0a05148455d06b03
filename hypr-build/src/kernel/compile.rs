//! Compiling a kernel that has what a machine needs and nothing else.
//!
//! A kernel of this configuration boots with half the processor time of a distribution's, needs no modules, and is
//! compiled in some five minutes on two cores.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::KernelError;
use crate::store::WorkDir;

/// What differs from the smallest configuration that there is.
const CONFIGURATION: &str = include_str!("guest.config");

/// What comes after this line of it, not every version of Linux knows.
const NEWER_NAMES: &str = "# The same under the names that newer versions";

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
    /// A compiler that works in a new folder in `folder`, which takes some 2 GiB and is gone afterwards.
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
            None => newest_source(Path::new(SOURCES))?,
        };
        // Tools are run elsewhere.
        let sources = absolute(&sources)?;
        let work = WorkDir::create(&absolute(&self.folder)?).map_err(KernelError::Work)?;
        let vmlinux = self.compile(&sources, work.path())?;
        keep(&vmlinux, &sources.display().to_string())
    }

    fn compile(&self, sources: &Path, work: &Path) -> Result<PathBuf, KernelError> {
        let metadata = fs::metadata(sources);
        let metadata = metadata.map_err(|source| KernelError::Read { path: sources.to_owned(), source })?;
        let tree = if metadata.is_dir() { sources.to_owned() } else { unpack(sources, work)? };
        let output = work.join("output");
        fs::create_dir(&output).map_err(|error| failed("make a folder to compile in", &error))?;
        let fragment = work.join("guest.config");
        fs::write(&fragment, CONFIGURATION).map_err(|error| failed("write the configuration", &error))?;
        let make = |target: &[&str]| {
            let mut make = Command::new("make");
            make.arg("-C").arg(&tree).arg(format!("O={}", output.display())).arg("ARCH=x86_64").args(target);
            // The same source gives the same kernel, whatever hypr was started by.
            make.env_remove("MAKEFLAGS").env_remove("KBUILD_OUTPUT").env("LOCALVERSION", "");
            make.env("KBUILD_BUILD_TIMESTAMP", "1970-01-01").env("KBUILD_BUILD_USER", "hypr");
            make.env("KBUILD_BUILD_HOST", "hypr").env("KBUILD_BUILD_VERSION", "1");
            make
        };
        run(make(&["tinyconfig"]))?;
        let mut merge = Command::new(tree.join("scripts/kconfig/merge_config.sh"));
        merge.arg("-m").arg("-O").arg(&output).arg(output.join(".config")).arg(&fragment).current_dir(&tree);
        run(merge)?;
        run(make(&["olddefconfig"]))?;
        let made = fs::read_to_string(output.join(".config"));
        let made = made.map_err(|error| failed("read the configuration", &error))?;
        match without_effect(CONFIGURATION, &made) {
            options if options.is_empty() => {}
            options => {
                let reason = format!("this source does not take {}", options.join(", "));
                return Err(KernelError::Compile(reason));
            }
        }
        run(make(&[&format!("-j{}", self.jobs), "vmlinux"]))?;
        let vmlinux = work.join("vmlinux");
        let mut strip = Command::new("strip");
        strip.args(["--strip-debug", "-o"]).arg(&vmlinux).arg(output.join("vmlinux"));
        run(strip)?;
        Ok(vmlinux)
    }
}

fn unpack(archive: &Path, work: &Path) -> Result<PathBuf, KernelError> {
    let tree = work.join("source");
    fs::create_dir(&tree).map_err(|error| failed("make a folder to compile in", &error))?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(archive).args(["--strip-components=1", "-C"]).arg(&tree);
    run(tar)?;
    Ok(tree)
}

/// The newest archive of sources that a package put into `folder`.
fn newest_source(folder: &Path) -> Result<PathBuf, KernelError> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let sources = names.filter(|name| name.starts_with("linux-source-") && name.contains(".tar"));
    let needs = "there are no sources in /usr/src: apt-get install linux-source flex bison bc libelf-dev libssl-dev \
                 make gcc xz-utils, or name them with --source";
    let newest = sources.max_by_key(|name| super::numbers(name));
    newest.map(|name| folder.join(name)).ok_or_else(|| KernelError::Compile(needs.to_owned()))
}

/// The lines of `wanted` that the configuration `made` of it does not follow: an option that another one hides is left
/// out without a word.
fn without_effect<'a>(wanted: &'a str, made: &str) -> Vec<&'a str> {
    let (wanted, _) = wanted.split_once(NEWER_NAMES).unwrap_or((wanted, ""));
    let made: BTreeMap<&str, &str> = made.lines().filter_map(|line| line.split_once('=')).collect();
    let is_followed = |line: &&str| match line.split_once('=') {
        // What is off is a comment, or not there at all.
        Some((option, "n")) => !made.contains_key(option),
        Some((option, value)) => made.get(option) == Some(&value),
        None => true,
    };
    wanted.lines().filter(|line| !line.starts_with('#') && !is_followed(line)).collect()
}

fn absolute(path: &Path) -> Result<PathBuf, KernelError> {
    std::path::absolute(path).map_err(|source| KernelError::Read { path: path.to_owned(), source })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_source_is_the_one_of_the_highest_version() {
        let folder = tempfile::tempdir().unwrap();
        let error = newest_source(folder.path()).unwrap_err().to_string();
        assert!(error.contains("apt-get install linux-source"), "{error}");
        for name in
            ["linux-source-6.9.tar.xz", "linux-source-6.10.tar.xz", "linux-headers-7.0.tar.xz", "linux-source-7"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(newest_source(folder.path()).unwrap(), folder.path().join("linux-source-6.10.tar.xz"));
    }

    #[test]
    fn options_that_are_not_as_asked_for_are_named() {
        let wanted = "# Words.\nCONFIG_A=y\nCONFIG_B=y\n\nCONFIG_C=n\nCONFIG_D=n\nCONFIG_E=1\nCONFIG_F=2\n";
        let made = "CONFIG_A=y\n# CONFIG_B is not set\n# CONFIG_C is not set\nCONFIG_D=y\nCONFIG_E=1\nCONFIG_F=3\n";
        assert_eq!(without_effect(wanted, made), ["CONFIG_B=y", "CONFIG_D=n", "CONFIG_F=2"]);
        assert!(without_effect(wanted, "CONFIG_A=y\nCONFIG_B=y\nCONFIG_E=1\nCONFIG_F=2").is_empty());
        assert!(CONFIGURATION.contains(NEWER_NAMES));
        assert!(without_effect(&format!("CONFIG_A=y\n{NEWER_NAMES}\nCONFIG_B=y"), "CONFIG_A=y").is_empty());
    }

    #[test]
    fn a_failed_build_leaves_its_folder_empty() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "kept").unwrap();
        let archive = folder.path().join("source.tar");
        fs::write(&archive, "no archive").unwrap();
        let compiler = Compiler::new(folder.path()).sources(&archive);
        assert!(compiler.run(|_, _| Ok(())).is_err());
        let error = compiler.clone().sources("missing").run(|_, _| Ok(())).unwrap_err();
        assert!(matches!(error, KernelError::Read { path, .. } if path.is_absolute()));
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["mine", "source.tar"]);
    }
}
