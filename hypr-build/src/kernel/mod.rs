//! Kernels for microVMs: finding one, making it ready to boot, and keeping it.
//!
//! What a machine boots is an uncompressed kernel and the few modules that it needs to find its disks. Getting there
//! from what a distribution ships takes unpacking and looking up, so the result is kept in a folder of the store:
//!
//! ```text
//! kernels/<blake3>/kernel.json    where it is from, its version, its modules in the order they are loaded
//!                  vmlinux
//!                  <module>.ko
//! ```

mod compile;
mod image;
mod modules;
mod package;
mod shelf;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use self::{compile::Compiler, shelf::Kernels};
use self::{image::Image, modules::Tree};

/// The variable that names the guest kernel to use.
pub const VARIABLE: &str = "HYPR_KERNEL";

/// A kernel that is ready to boot.
#[derive(Debug, Clone)]
pub struct GuestKernel {
    folder: PathBuf,
    record: Record,
}

/// What `kernel.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    version: String,
    source: String,
    /// Names of files, in the order they are to be loaded.
    modules: Vec<String>,
}

impl GuestKernel {
    /// The kernel's version, such as `6.1.0-25-cloud-amd64`.
    pub fn version(&self) -> &str {
        &self.record.version
    }

    /// The file that it was made of, as it was named then.
    pub fn source(&self) -> &str {
        &self.record.source
    }

    /// What it is kept under: the BLAKE3 of all that a machine is given of it.
    pub fn id(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// How many modules it needs.
    pub fn module_count(&self) -> usize {
        self.record.modules.len()
    }

    pub(crate) fn open(&self) -> Result<File, KernelError> {
        let path = self.folder.join(VMLINUX);
        File::open(&path).map_err(|source| KernelError::Read { path, source })
    }

    pub(crate) fn modules(&self) -> Result<Vec<(String, Vec<u8>)>, KernelError> {
        let read = |name: &String| {
            let path = self.folder.join(name);
            let content = fs::read(&path).map_err(|source| KernelError::Read { path, source })?;
            Ok((name.clone(), content))
        };
        self.record.modules.iter().map(read).collect()
    }
}

/// The name of an uncompressed kernel.
const VMLINUX: &str = "vmlinux";

/// What a kernel is made ready from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelSource {
    /// A `vmlinux`, a bzImage (`vmlinuz`) or a Debian kernel package. `None`: one is [looked for](Kernels::find).
    pub image: Option<PathBuf>,
    /// The folder with the kernel's modules, such as `/lib/modules/6.1.0-25-cloud-amd64`. `None`: it is looked for beside
    /// the image, in `../lib/modules/VERSION`, and then in `/lib/modules/VERSION`.
    pub modules: Option<PathBuf>,
}

impl KernelSource {
    /// The kernel that `HYPR_KERNEL` names, if it is set.
    pub fn from_environment() -> Self {
        Self { image: std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from), modules: None }
    }
}

/// A kernel and its modules, in memory.
#[derive(Debug)]
struct Parts {
    source: String,
    image: Image,
    modules: Vec<(String, Vec<u8>)>,
}

impl Parts {
    /// Reads the kernel at `path` with its modules from `modules`, or from where they belong.
    fn read(path: &Path, modules: Option<&Path>) -> Result<Self, KernelError> {
        if package::is_package(path) {
            return package::read(path);
        }
        let image = Image::read(path)?;
        let folder = match modules {
            Some(folder) => Some(folder.to_owned()),
            None => installed_modules(path, &image.version),
        };
        let modules = match folder {
            Some(folder) => Tree::open(&folder)?.needed(&image.version)?,
            // What has no modules has everything built in; what lacks is told by the machine.
            None => Vec::new(),
        };
        Ok(Self { source: path.display().to_string(), image, modules })
    }
}

/// Where the modules of the kernel at `path` are: beside it, as in an unpacked package, or where all are.
fn installed_modules(path: &Path, version: &str) -> Option<PathBuf> {
    let beside = path.parent().map(|folder| folder.join("../lib/modules").join(version));
    let folders = [beside, Some(Path::new("/lib/modules").join(version))];
    folders.into_iter().flatten().find(|folder| folder.is_dir())
}

/// Why there is no kernel to boot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// None was named and none is installed.
    #[error(
        "no guest kernel was found: install linux-image-cloud-amd64, name one with --kernel or {VARIABLE}, or make one \
         with `hypr kernel build`"
    )]
    None,
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is no kernel.
    #[error("{} is no kernel that can be booted", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: hypr_vmm::kernel::Error,
    },
    /// The version of a kernel is nowhere in it.
    #[error("{} does not tell which version of Linux it is", path.display())]
    Unversioned {
        /// The file.
        path: PathBuf,
    },
    /// Modules were made for another kernel.
    #[error("the modules in {} are those of Linux {found}, but the kernel is {expected}", path.display())]
    Mismatch {
        /// The folder of modules.
        path: PathBuf,
        /// Whose they are.
        found: String,
        /// The kernel's version.
        expected: String,
    },
    /// The kernel has something neither built in nor as a module.
    #[error("Linux {version} lacks {module}: a guest kernel needs {option}")]
    Lacks {
        /// The kernel's version.
        version: String,
        /// The module.
        module: &'static str,
        /// The option of the kernel's configuration.
        option: &'static str,
    },
    /// A package is not one of a kernel.
    #[error("{} is no Debian package of a kernel: {reason}", path.display())]
    Package {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A kernel cannot be kept.
    #[error("cannot keep a kernel in {}", path.display())]
    Keep {
        /// The folder of kernels.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No kernel is kept by this name.
    #[error("no kernel here has an id or version that begins with `{0}`")]
    Unknown(String),
    /// More than one kernel is kept by this name.
    #[error("more than one kernel here has an id or version that begins with `{0}`")]
    Ambiguous(String),
    /// A kernel cannot be compiled.
    #[error("cannot compile a kernel: {0}")]
    Compile(String),
}

/// An error and its causes on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
