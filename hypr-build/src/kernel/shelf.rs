//! The folder where kernels are kept, ready to boot.

use std::{
    cmp::Reverse,
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{GuestKernel, KernelError, KernelSource, Record, VMLINUX, compile::Compiler, numbers, parts::Parts};
use crate::store::{WorkDir, clean_work, remove_tree};

/// The record's name.
const RECORD: &str = "kernel.json";
/// Where a record or a kernel is written before it gets its name.
const UNFINISHED: &str = "tmp";
/// How many sources a record tells of.
const MAX_ORIGINS: usize = 4;

/// Kernels that are ready to boot, in a folder of the store.
#[derive(Debug, Clone)]
pub struct Kernels {
    folder: PathBuf,
    /// Where the distribution's are.
    boot: PathBuf,
}

/// The kernel that a build would use.
#[derive(Debug, Clone)]
pub enum Candidate {
    /// It is kept, and what it was made of has not changed.
    Ready(GuestKernel),
    /// It has to be made ready from this file.
    File(PathBuf),
}

/// Why a kernel is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Somebody wants it to be used.
    Imported,
    /// It takes time to make it again.
    Cached,
}

impl Kernels {
    /// The kernels in `folder`, which is made when the first one is kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), boot: PathBuf::from("/boot") }
    }

    /// The kernel that `source` names; else the one that was imported or compiled last; else the newest that is
    /// installed. It is made ready if that has not been done, or what it was made of has changed.
    ///
    /// # Errors
    /// Fails when there is none, or the one that was named cannot be booted.
    pub fn find(&self, source: &KernelSource) -> Result<GuestKernel, KernelError> {
        let mut newest = None;
        for candidate in self.candidates(source)? {
            let found = match candidate {
                Candidate::Ready(kernel) => Ok(kernel),
                Candidate::File(path) => self.make(&path, source.modules.as_deref(), Purpose::Cached),
            };
            match found {
                Ok(kernel) => return Ok(kernel),
                // The first one's error tells most, and an older one of the distribution may serve all the same.
                Err(error) => newest = newest.or(Some(error)),
            }
        }
        Err(newest.unwrap_or(KernelError::None))
    }

    /// The kernel that [`find`](Self::find) would try first; nothing is unpacked or written.
    ///
    /// # Errors
    /// Fails when there is none.
    pub fn look(&self, source: &KernelSource) -> Result<Candidate, KernelError> {
        let first = self.candidates(source)?.next().ok_or(KernelError::None)?;
        if let Candidate::File(path) = &first {
            fs::metadata(path).map_err(|source| KernelError::Read { path: path.clone(), source })?;
        }
        Ok(first)
    }

    /// Makes the kernel at `path` ready and keeps it; from now on it is the one that is used unless another one is named.
    ///
    /// # Errors
    /// Fails when it is no kernel, lacks what a machine needs, or cannot be kept.
    pub fn import(&self, path: &Path, modules: Option<&Path>) -> Result<GuestKernel, KernelError> {
        self.make(path, modules, Purpose::Imported)
    }

    /// Compiles a kernel of the configuration that hypr has for its machines, and keeps it as an imported one.
    ///
    /// # Errors
    /// Fails when the sources or a tool are missing, or a tool fails.
    pub fn compile(&self, compiler: &Compiler) -> Result<GuestKernel, KernelError> {
        compiler.run(|vmlinux, source| {
            let image = super::image::Image::read(vmlinux)?;
            let parts = Parts { source: source.to_owned(), image, modules: Vec::new(), origin: None };
            self.keep(&parts, Purpose::Imported)
        })
    }

    /// The kernels that are kept: those that were imported, the newest import first, then those that are only kept to
    /// save time, the newest version first.
    pub fn list(&self) -> Vec<GuestKernel> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut kernels: Vec<_> = entries.filter_map(|entry| read(entry.path())).collect();
        kernels.sort_by_cached_key(|kernel| {
            (Reverse(kernel.record.imported), Reverse(numbers(kernel.version())), kernel.folder.clone())
        });
        kernels
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
        // Out of the way at once, so that nobody finds half of it.
        let work = self.work()?;
        let removed = work.unused();
        let result = fs::rename(&kernel.folder, &removed).and_then(|()| remove_tree(&removed));
        result.map_err(|source| self.failed(source))?;
        Ok(kernel)
    }

    /// The kernels that would do, the best first.
    fn candidates(&self, source: &KernelSource) -> Result<impl Iterator<Item = Candidate>, KernelError> {
        let (image, modules) = absolute(source)?;
        let kept = self.list();
        let (named, imported, installed) = match image {
            Some(path) => (Some(path), None, Vec::new()),
            None => {
                let imported = kept.first().filter(|kernel| kernel.is_imported()).cloned();
                let installed = if imported.is_some() { Vec::new() } else { self.installed() };
                (None, imported, installed)
            }
        };
        let files = named.into_iter().chain(installed).map(move |path| {
            let is_of = |kernel: &&GuestKernel| {
                kernel.record.origins.iter().any(|origin| origin.is_current(&path, modules.as_deref()))
            };
            match kept.iter().find(is_of) {
                Some(kernel) => Candidate::Ready(named_as(kernel.clone(), &path)),
                None => Candidate::File(path),
            }
        });
        Ok(imported.map(Candidate::Ready).into_iter().chain(files))
    }

    /// The kernels that the distribution installed, the newest first.
    fn installed(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.boot).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> =
            names.filter(|name| ["vmlinuz-", "vmlinux-"].iter().any(|start| name.starts_with(start))).collect();
        names.sort_by_cached_key(|name| Reverse(numbers(name)));
        names.into_iter().map(|name| self.boot.join(name)).collect()
    }

    fn make(&self, path: &Path, modules: Option<&Path>, purpose: Purpose) -> Result<GuestKernel, KernelError> {
        let source = KernelSource { image: Some(path.to_owned()), modules: modules.map(Path::to_owned) };
        let (path, modules) = match absolute(&source)? {
            (Some(path), modules) => (path, modules),
            (None, _) => return Err(KernelError::None),
        };
        let kernel = self.keep(&Parts::read(&path, modules.as_deref())?, purpose)?;
        Ok(named_as(kernel, &path))
    }

    /// Keeps a kernel. One of the same content stays, and its record tells what is new.
    fn keep(&self, parts: &Parts, purpose: Purpose) -> Result<GuestKernel, KernelError> {
        let folder = self.folder.join(id(parts));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let imported = (purpose == Purpose::Imported).then(|| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        let origins: Vec<_> = parts.origin.iter().cloned().collect();
        let Some(kept) = read(folder.clone()) else {
            let modules = parts.modules.iter().map(|(name, _)| name.clone()).collect();
            let (version, source) = (parts.image.version.clone(), parts.source.clone());
            let record = Record { version, source, modules, imported, origins };
            let work = self.work()?;
            write(&folder, parts, &record, &work).map_err(|source| self.failed(source))?;
            return Ok(GuestKernel { folder, record });
        };
        let mut record = kept.record.clone();
        if imported.is_some() {
            record.imported = imported;
            record.source.clone_from(&parts.source);
        }
        let is_other = |old: &super::Origin| !origins.iter().any(|new| new.is_same_name(old));
        record.origins = origins.iter().cloned().chain(record.origins.into_iter().filter(is_other)).collect();
        record.origins.truncate(MAX_ORIGINS);
        let written = self.work().and_then(|work| {
            write_record(&work.unused(), &record, Some(&folder)).map_err(|source| self.failed(source))
        });
        match written {
            // It can be used without, but for a wish that would be forgotten.
            Err(error) if imported.is_none() => tracing::debug!(%error, "cannot note what a kernel was made of"),
            result => result?,
        }
        Ok(GuestKernel { folder, record })
    }

    /// A folder to write in, on the same file system. What killed processes left there is removed.
    fn work(&self) -> Result<WorkDir, KernelError> {
        let folder = self.folder.join(UNFINISHED);
        fs::create_dir_all(&folder).and_then(|()| clean_work(&folder)).map_err(|source| self.failed(source))?;
        WorkDir::create(&folder).map_err(KernelError::Work)
    }

    fn failed(&self, source: io::Error) -> KernelError {
        KernelError::Keep { path: self.folder.clone(), source }
    }
}

/// What is named, as seen from everywhere.
fn absolute(source: &KernelSource) -> Result<(Option<PathBuf>, Option<PathBuf>), KernelError> {
    if let (None, Some(path)) = (&source.image, &source.modules) {
        return Err(KernelError::OnlyModules { path: path.clone() });
    }
    let absolute =
        |path: &PathBuf| std::path::absolute(path).map_err(|source| KernelError::Read { path: path.clone(), source });
    Ok((source.image.as_ref().map(absolute).transpose()?, source.modules.as_ref().map(absolute).transpose()?))
}

/// The kernel in `folder`, if there is a whole one.
fn read(folder: PathBuf) -> Option<GuestKernel> {
    let is_id = folder.file_name()?.to_str()?.len() == blake3::OUT_LEN * 2;
    let record = serde_json::from_slice(&fs::read(folder.join(RECORD)).ok().filter(|_| is_id)?).ok()?;
    Some(GuestKernel { folder, record })
}

/// A kernel that was named again is shown by its new name.
fn named_as(mut kernel: GuestKernel, path: &Path) -> GuestKernel {
    kernel.record.source = path.display().to_string();
    kernel
}

/// Writes everything in `work`; it appears whole in `folder`.
fn write(folder: &Path, parts: &Parts, record: &Record, work: &WorkDir) -> io::Result<()> {
    let unfinished = work.unused();
    fs::create_dir(&unfinished)?;
    let write = |name: &str, content: &[u8]| write_file(&unfinished.join(name), content);
    write(VMLINUX, &parts.image.vmlinux)?;
    for (name, content) in &parts.modules {
        write(name, content)?;
    }
    write_record(&unfinished.join(RECORD), record, None)?;
    fs::File::open(&unfinished)?.sync_all()?;
    match fs::rename(&unfinished, folder) {
        // Another process was faster, with the same content.
        Err(_) if folder.join(RECORD).is_file() => return Ok(()),
        other => other?,
    }
    folder.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
}

/// Writes a record to `path`; in a kernel's folder, it takes the place of the old one then.
fn write_record(path: &Path, record: &Record, folder: Option<&Path>) -> io::Result<()> {
    write_file(path, &serde_json::to_vec(record)?)?;
    folder.map_or(Ok(()), |folder| fs::rename(path, folder.join(RECORD)))
}

fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    io::Write::write_all(&mut file, content)?;
    file.sync_all()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::{kernel, package};

    struct Place {
        folder: tempfile::TempDir,
        kernels: Kernels,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let boot = folder.path().join("boot");
            fs::create_dir(&boot).unwrap();
            let kernels = Kernels { folder: folder.path().join("kernels"), boot };
            Self { folder, kernels }
        }

        fn write(&self, name: &str, version: &str) -> PathBuf {
            let path = self.folder.path().join(name);
            fs::write(&path, kernel(version)).unwrap();
            path
        }

        fn find(&self, image: Option<&Path>) -> String {
            let source = KernelSource { image: image.map(Path::to_owned), modules: None };
            self.kernels.find(&source).unwrap().version().to_owned()
        }

        fn is_ready(&self, image: &Path) -> bool {
            let source = KernelSource { image: Some(image.to_owned()), modules: None };
            matches!(self.kernels.look(&source).unwrap(), Candidate::Ready(_))
        }
    }

    #[test]
    fn a_named_kernel_comes_before_an_imported_one_and_that_before_those_installed() {
        let place = Place::new();
        assert!(matches!(place.kernels.find(&KernelSource::default()), Err(KernelError::None)));
        let old = place.write("boot/vmlinuz-6.9.0", "6.9.0");
        place.write("boot/vmlinuz-6.10.0", "6.10.0");
        let named = place.write("named", "6.3.0");
        assert_eq!(place.find(None), "6.10.0");
        assert_eq!(place.find(Some(&named)), "6.3.0");
        assert_eq!(place.find(None), "6.10.0", "a kernel that was named once is not chosen ever after");
        // One of the distribution's, on purpose.
        assert!(!place.kernels.list()[0].is_imported());
        let imported = place.kernels.import(&old, None).unwrap();
        assert!(imported.is_imported());
        assert_eq!(place.find(None), "6.9.0");
        assert_eq!(place.find(Some(&named)), "6.3.0");
        // The one that is imported last is used, whichever was kept first.
        place.kernels.import(&named, None).unwrap();
        assert_eq!(place.find(None), "6.3.0");
        place.kernels.import(&old, None).unwrap();
        assert_eq!(place.find(None), "6.9.0");
        place.kernels.remove("6.9").unwrap();
        assert_eq!(place.find(None), "6.3.0");
    }

    #[test]
    fn the_same_kernel_imported_from_elsewhere_is_shown_as_such() {
        let place = Place::new();
        let [one, two] = ["one", "two"].map(|name| place.write(name, "6.1.0"));
        place.find(Some(&one));
        place.kernels.import(&two, None).unwrap();
        let [kept] = place.kernels.list().try_into().unwrap();
        assert_eq!((kept.source(), kept.is_imported()), (two.to_str().unwrap(), true));
        // To be looked at is no wish.
        place.find(Some(&one));
        assert_eq!(place.kernels.list()[0].source(), two.to_str().unwrap());
        assert!(place.is_ready(&one) && place.is_ready(&two));
    }

    #[test]
    fn nothing_is_made_again_until_something_changes() {
        let place = Place::new();
        let path = place.write("kernel", "6.1.0");
        assert!(!place.is_ready(&path), "looking makes nothing");
        assert!(!place.kernels.folder.exists());
        place.find(Some(&path));
        assert!(place.is_ready(&path));
        let other = place.write("other", "6.2.0");
        fs::rename(&other, &path).unwrap();
        assert!(!place.is_ready(&path), "it was replaced");
        assert_eq!(place.find(Some(&path)), "6.2.0");
        assert!(place.is_ready(&path));
        // A configuration appears, which says what it lacks.
        fs::write(place.folder.path().join("config-6.2.0"), "CONFIG_ACPI=y\n").unwrap();
        let source = KernelSource { image: Some(path), modules: None };
        let error = place.kernels.find(&source).unwrap_err().to_string();
        assert!(error.contains("CONFIG_DEVTMPFS"), "{error}");
    }

    #[test]
    fn modules_need_their_kernel_and_packages_no_modules() {
        let place = Place::new();
        place.write("boot/vmlinuz-6.9.0", "6.9.0");
        let source = KernelSource { image: None, modules: Some("/m".into()) };
        assert!(matches!(place.kernels.find(&source), Err(KernelError::OnlyModules { .. })));
        assert!(matches!(place.kernels.look(&source), Err(KernelError::OnlyModules { .. })));
        let package = package(place.folder.path(), "", &[("./boot/vmlinuz-6.1.0", &kernel("6.1.0"))]);
        let error = place.kernels.import(&package, Some(Path::new("/m"))).unwrap_err();
        assert!(matches!(error, KernelError::ModulesOfPackage { .. }));
        assert_eq!(place.kernels.import(&package, None).unwrap().version(), "6.1.0");
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let place = Place::new();
        let text = place.folder.path().join("text");
        fs::write(&text, "no kernel").unwrap();
        assert!(place.kernels.import(&text, None).is_err());
        let path = place.write("kernel", "6.1.0");
        // What a killed process left is removed by the next one that writes.
        fs::create_dir_all(place.kernels.folder.join("tmp/1-dead/0")).unwrap();
        place.kernels.import(&path, None).unwrap();
        place.kernels.remove("6.1").unwrap();
        assert_eq!(fs::read_dir(place.kernels.folder.join("tmp")).unwrap().count(), 0);
        assert!(matches!(place.kernels.remove("6.1"), Err(KernelError::Unknown(_))));
    }
}
