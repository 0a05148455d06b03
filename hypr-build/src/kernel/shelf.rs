//! The folder where kernels are kept, ready to boot.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{GuestKernel, KernelError, KernelSource, Parts, Record, VMLINUX, compile::Compiler};

/// The record's name.
const RECORD: &str = "kernel.json";

/// Kernels that are ready to boot, in a folder of the store.
#[derive(Debug, Clone)]
pub struct Kernels {
    folder: PathBuf,
}

impl Kernels {
    /// The kernels in `folder`, which is made when the first one is kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The kernel that `source` names; else one that is kept here, the newest first; else the newest that is installed.
    ///
    /// # Errors
    /// Fails when there is none, or the one that was named cannot be booted.
    pub fn find(&self, source: &KernelSource) -> Result<GuestKernel, KernelError> {
        if let Some(image) = &source.image {
            return self.import(image, source.modules.as_deref());
        }
        if let Some(kept) = self.list().into_iter().find(|kernel| !is_installed(kernel.source())) {
            return Ok(kept);
        }
        let mut newest = Err(KernelError::None);
        for path in installed() {
            match self.import(&path, source.modules.as_deref()) {
                Ok(kernel) => return Ok(kernel),
                // The newest one's error tells most, and an older one may serve all the same.
                Err(error) if matches!(newest, Err(KernelError::None)) => newest = Err(error),
                Err(_) => {}
            }
        }
        newest
    }

    /// Makes the kernel at `path` ready and keeps it. One that is here already is kept as it is.
    ///
    /// # Errors
    /// Fails when it is no kernel, lacks what a machine needs, or cannot be kept.
    pub fn import(&self, path: &Path, modules: Option<&Path>) -> Result<GuestKernel, KernelError> {
        self.keep(&Parts::read(path, modules)?)
    }

    /// Compiles a kernel of the configuration that hypr has for its machines, and keeps it.
    ///
    /// # Errors
    /// Fails when the sources or a tool are missing, or a tool fails.
    pub fn compile(&self, compiler: &Compiler) -> Result<GuestKernel, KernelError> {
        compiler.run(|vmlinux, source| {
            let image = super::image::Image::read(vmlinux)?;
            self.keep(&Parts { source: source.to_owned(), image, modules: Vec::new() })
        })
    }

    /// The kernels that are kept, the one that was kept last first.
    pub fn list(&self) -> Vec<GuestKernel> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut kernels: Vec<_> = entries
            .filter_map(|entry| {
                if entry.file_name().as_encoded_bytes().starts_with(b".") {
                    return None;
                }
                let (folder, kept) = (entry.path(), entry.metadata().and_then(|metadata| metadata.modified()).ok()?);
                let record = serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()?;
                Some((kept, GuestKernel { folder, record }))
            })
            .collect();
        kernels.sort_by(|(first, a), (second, b)| second.cmp(first).then_with(|| a.folder.cmp(&b.folder)));
        kernels.into_iter().map(|(_, kernel)| kernel).collect()
    }

    /// Removes the kernel whose id or version begins with `name`.
    ///
    /// # Errors
    /// Fails when there is none, or more than one.
    pub fn remove(&self, name: &str) -> Result<GuestKernel, KernelError> {
        let is_meant = |kernel: &GuestKernel| kernel.id().starts_with(name) || kernel.version().starts_with(name);
        let mut meant = self.list().into_iter().filter(|kernel| !name.is_empty() && is_meant(kernel));
        let kernel = meant.next().ok_or_else(|| KernelError::Unknown(name.to_owned()))?;
        if meant.next().is_some() {
            return Err(KernelError::Ambiguous(name.to_owned()));
        }
        fs::remove_dir_all(&kernel.folder).map_err(|source| self.failed(source))?;
        Ok(kernel)
    }

    fn keep(&self, parts: &Parts) -> Result<GuestKernel, KernelError> {
        let record = Record {
            version: parts.image.version.clone(),
            source: parts.source.clone(),
            modules: parts.modules.iter().map(|(name, _)| name.clone()).collect(),
        };
        let folder = self.folder.join(id(parts));
        if let Some(kept) = self.list().into_iter().find(|kernel| kernel.folder == folder) {
            return Ok(kept);
        }
        self.write(&folder, parts, &record).map_err(|source| self.failed(source))?;
        Ok(GuestKernel { folder, record })
    }

    /// Writes everything beside `folder`, which then appears whole.
    fn write(&self, folder: &Path, parts: &Parts, record: &Record) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let unfinished = self.folder.join(format!(".{}", std::process::id()));
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir(&unfinished)?;
        fs::write(unfinished.join(VMLINUX), &parts.image.vmlinux)?;
        for (name, content) in &parts.modules {
            fs::write(unfinished.join(name), content)?;
        }
        fs::write(unfinished.join(RECORD), serde_json::to_vec(record)?)?;
        for entry in fs::read_dir(&unfinished)? {
            fs::File::open(entry?.path())?.sync_all()?;
        }
        match fs::rename(&unfinished, folder) {
            // Another process was faster, with the same content.
            Err(_) if folder.join(RECORD).is_file() => fs::remove_dir_all(&unfinished),
            other => other,
        }?;
        fs::File::open(&self.folder)?.sync_all()
    }

    fn failed(&self, source: io::Error) -> KernelError {
        KernelError::Keep { path: self.folder.clone(), source }
    }
}

/// The digest of all that a machine is given of the kernel.
fn id(parts: &Parts) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("hypr guest kernel v1");
    for content in [&parts.image.vmlinux].into_iter().chain(parts.modules.iter().map(|(_, content)| content)) {
        hasher.update(&(content.len() as u64).to_le_bytes());
        hasher.update(content);
    }
    hasher.finalize().to_hex().to_string()
}

/// The kernels that the distribution installed, the newest first: versions are compared number by number.
fn installed() -> Vec<PathBuf> {
    let entries = fs::read_dir(BOOT).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut kernels: Vec<PathBuf> = entries.filter(|path| is_installed(&path.to_string_lossy())).collect();
    let numbers = |path: &PathBuf| -> Vec<u64> {
        let name = path.to_string_lossy().into_owned();
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    };
    kernels.sort_by_key(|path| std::cmp::Reverse(numbers(path)));
    kernels
}

const BOOT: &str = "/boot";

fn is_installed(path: &str) -> bool {
    path.strip_prefix(BOOT).is_some_and(|name| name.starts_with("/vmlinuz-") || name.starts_with("/vmlinux-"))
}
