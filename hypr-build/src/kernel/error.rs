//! Why there is no kernel to boot.

use std::{io, path::PathBuf};

use super::VARIABLE;
use crate::store::StoreError;

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
    /// A folder of modules was named, but no kernel.
    #[error("the modules in {} are of no use without their kernel: name it with --kernel", path.display())]
    OnlyModules {
        /// The folder.
        path: PathBuf,
    },
    /// A folder of modules was named for a package, which has its own.
    #[error("{} is a package, whose kernel has its modules with it: name no others with --kernel-modules", path.display())]
    ModulesOfPackage {
        /// The package.
        path: PathBuf,
    },
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
    /// The kernel has things neither built in nor as modules.
    #[error("Linux {version} cannot be a guest: it lacks {}", options.join(", "))]
    Lacks {
        /// The kernel's version.
        version: String,
        /// The options of its configuration.
        options: Vec<&'static str>,
    },
    /// The kernel has things as modules, and these are nowhere.
    #[error(
        "Linux {version} has {} as modules, and there is no folder of them, beside it in ../lib/modules/{version} or in \
         /lib/modules/{version}: name it with --kernel-modules",
        modules.join(", ")
    )]
    NoModules {
        /// The kernel's version.
        version: String,
        /// What the modules are called.
        modules: Vec<&'static str>,
    },
    /// A module depends on another one that is not there.
    #[error("the modules in {} are incomplete: {module} needs {dependency}", path.display())]
    Incomplete {
        /// The folder of modules.
        path: PathBuf,
        /// The one that is there.
        module: String,
        /// The one that is not.
        dependency: String,
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
    /// There is no folder to work in.
    #[error("there is no folder to work in")]
    Work(#[source] StoreError),
    /// A kernel cannot be compiled.
    #[error("cannot compile a kernel: {0}")]
    Compile(String),
}
