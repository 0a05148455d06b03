//! Kernels for microVMs: finding one, making it ready to boot, and keeping it.
//!
//! What a machine boots is an uncompressed kernel and the few modules that it needs to find its disks. Getting there
//! from what a distribution ships takes unpacking and looking up, so the result is kept in a folder of the store:
//!
//! ```text
//! kernels/<blake3>/kernel.json    its version, its modules in the order they are loaded, and what it was made of
//!                  vmlinux
//!                  <module>.ko
//!         tmp/                    what is being written
//! ```

mod compile;
mod configuration;
mod error;
mod image;
mod modules;
mod origin;
mod package;
mod parts;
mod shelf;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use self::origin::Origin;
pub use self::{
    compile::Compiler,
    error::KernelError,
    shelf::{Candidate, Kernels},
};

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
    /// When somebody put it here on purpose, in nanoseconds since 1970; without, it is kept only to save time.
    #[serde(default)]
    imported: Option<u64>,
    /// What it was made of, the newest first.
    #[serde(default)]
    origins: Vec<Origin>,
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

    /// Whether somebody imported or compiled it. Else it was named for a build or is installed, and what was made of it
    /// is kept so that the next build need not.
    pub fn is_imported(&self) -> bool {
        self.record.imported.is_some()
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

/// The name of what is booted.
const VMLINUX: &str = "vmlinux";

/// What a kernel is made ready from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelSource {
    /// A `vmlinux`, a bzImage (`vmlinuz`) or a Debian kernel package. `None`: one is [looked for](Kernels::find).
    pub image: Option<PathBuf>,
    /// The folder with the kernel's modules, such as `/lib/modules/6.1.0-25-cloud-amd64`. `None`: it is looked for beside
    /// the image, in `../lib/modules/VERSION`, and then in `/lib/modules/VERSION`. It needs an image.
    pub modules: Option<PathBuf>,
}

impl KernelSource {
    /// The kernel that `HYPR_KERNEL` names, if it is set.
    pub fn from_environment() -> Self {
        Self { image: std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from), modules: None }
    }
}

/// The numbers in a name, by which versions are compared: 6.10 is newer than 6.9.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}
