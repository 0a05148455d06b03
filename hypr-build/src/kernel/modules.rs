//! The modules of a distribution's kernel that a machine needs, in the order in which they are loaded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::KernelError;

/// What a machine needs, and the option that a kernel has it by.
const NEEDED: [(&str, &str); 6] = [
    ("virtio_mmio", "CONFIG_VIRTIO_MMIO"),
    ("virtio_blk", "CONFIG_VIRTIO_BLK"),
    ("virtio_console", "CONFIG_VIRTIO_CONSOLE"),
    ("squashfs", "CONFIG_SQUASHFS"),
    ("overlay", "CONFIG_OVERLAY_FS"),
    ("ext4", "CONFIG_EXT4_FS"),
];

/// What others look for by an algorithm's name, which nobody answers in a machine.
const PROVIDERS: [&str; 2] = ["crc32c_generic", "crc32c_intel"];

/// How deep dependencies go at most.
const MAX_DEPTH: usize = 32;

/// The largest module, packed or not.
const MAX_LENGTH: u64 = 64 << 20;

/// A folder of modules with the lists that `depmod` makes.
#[derive(Debug)]
pub(super) struct Tree {
    folder: PathBuf,
    /// Names of what is built in.
    built_in: BTreeSet<String>,
    /// By the name of a module: its file, and those it depends on.
    files: BTreeMap<String, (PathBuf, Vec<String>)>,
}

impl Tree {
    pub(super) fn open(folder: &Path) -> Result<Self, KernelError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|source| KernelError::Read { path, source })
        };
        let built_in = read("modules.builtin")?.lines().map(name_of).collect();
        let mut files = BTreeMap::new();
        for line in read("modules.dep")?.lines() {
            if let Some((file, depends)) = line.split_once(':') {
                let depends = depends.split_ascii_whitespace().map(name_of).collect();
                files.insert(name_of(file), (folder.join(file), depends));
            }
        }
        Ok(Self { folder: folder.to_owned(), built_in, files })
    }

    /// As [`open`](Self::open), but where the list of dependencies is missing, it is made of what the modules say.
    pub(super) fn open_or_list(folder: &Path) -> Result<Self, KernelError> {
        if folder.join("modules.dep").is_file() {
            return Self::open(folder);
        }
        let failed = |source| KernelError::Read { path: folder.to_owned(), source };
        let mut files = BTreeMap::new();
        let mut waiting = vec![folder.to_owned()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(&directory).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                match path.file_name().map(|name| name.to_string_lossy().into_owned()) {
                    _ if path.is_dir() => waiting.push(path),
                    Some(name) if name.contains(".ko") => {
                        files.insert(name_of(&name), (path, Vec::new()));
                    }
                    _ => {}
                }
            }
        }
        let built_in = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
        let built_in = built_in.lines().map(name_of).collect();
        let mut tree = Self { folder: folder.to_owned(), built_in, files };
        let wanted = NEEDED.iter().map(|(name, _)| *name).chain(PROVIDERS).map(str::to_owned);
        let mut waiting: Vec<String> = wanted.collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = waiting.pop() {
            if seen.insert(name.clone()) && tree.files.contains_key(&name) {
                let direct = depends(&tree.read(&name)?);
                waiting.extend(direct.iter().cloned());
                tree.files.entry(name).and_modify(|(_, depends)| *depends = direct);
            }
        }
        Ok(tree)
    }

    /// The modules that a machine needs, each after those that it depends on, as files are called and what they hold.
    pub(super) fn needed(&self, version: &str) -> Result<Vec<(String, Vec<u8>)>, KernelError> {
        let mut order = Vec::new();
        if !self.built_in.contains("ext4") {
            for provider in PROVIDERS {
                self.add(provider, &mut order);
            }
        }
        for (module, option) in NEEDED {
            if !self.built_in.contains(module) && !self.add(module, &mut order) {
                return Err(KernelError::Lacks { version: version.to_owned(), module, option });
            }
        }
        let modules = order.into_iter().map(|name| {
            let content = self.read(&name)?;
            self.check(&content, version)?;
            Ok((format!("{name}.ko"), content))
        });
        modules.collect()
    }

    /// Adds a module and what it depends on; `false` if there is none of this name.
    fn add(&self, name: &str, order: &mut Vec<String>) -> bool {
        self.add_below(name, order, 0)
    }

    fn add_below(&self, name: &str, order: &mut Vec<String>, depth: usize) -> bool {
        let Some((_, depends)) = self.files.get(name) else { return false };
        if order.iter().any(|added| added == name) {
            return true;
        }
        // The kernel allows no circles, and a damaged list must not lead into one.
        if depth > MAX_DEPTH {
            return false;
        }
        for dependency in depends.iter().rev() {
            self.add_below(dependency, order, depth + 1);
        }
        order.push(name.to_owned());
        true
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, KernelError> {
        let (path, _) = &self.files[name];
        unpacked(path).map_err(|source| KernelError::Read { path: path.clone(), source })
    }

    /// Refuses a module of another kernel, which that kernel would refuse as well.
    fn check(&self, module: &[u8], version: &str) -> Result<(), KernelError> {
        const MAGIC: &[u8] = b"vermagic=";
        let Some(at) = memchr::memmem::find(module, MAGIC).map(|at| at + MAGIC.len()) else { return Ok(()) };
        let word = module[at..].split(|byte| matches!(byte, b' ' | 0)).next().unwrap_or_default();
        match String::from_utf8_lossy(word) {
            found if found == version => Ok(()),
            found => Err(KernelError::Mismatch {
                path: self.folder.clone(),
                found: found.into_owned(),
                expected: version.to_owned(),
            }),
        }
    }
}

/// The modules that `module` says it depends on (`.modinfo`, "depends=").
fn depends(module: &[u8]) -> Vec<String> {
    let Some(at) = memchr::memmem::find(module, b"\0depends=").map(|at| at + 9) else { return Vec::new() };
    let list = module[at..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(list);
    names.split(',').filter(|name| !name.is_empty()).map(name_of).collect()
}

/// What the module in `file` is called: dashes and underscores are the same to the kernel.
fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or_default();
    name.split(".ko").next().unwrap_or_default().replace('-', "_")
}

fn unpacked(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    let packing = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let reader: Box<dyn Read> = match packing {
        "xz" => Box::new(liblzma::read::XzDecoder::new(file)),
        "zst" => Box::new(zstd::stream::read::Decoder::new(file)?),
        "gz" => Box::new(flate2::read::GzDecoder::new(file)),
        _ => Box::new(file),
    };
    let mut content = Vec::new();
    match reader.take(MAX_LENGTH + 1).read_to_end(&mut content)? as u64 {
        length if length > MAX_LENGTH => Err(io::Error::other("it is too large for a module")),
        _ => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(dep: &str, built_in: &str) -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("modules.dep"), dep).unwrap();
        fs::write(folder.path().join("modules.builtin"), built_in).unwrap();
        for line in dep.lines() {
            let file = folder.path().join(line.split(':').next().unwrap());
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, b"..vermagic=6.1.0 SMP mod_unload").unwrap();
        }
        let tree = Tree::open(folder.path()).unwrap();
        (folder, tree)
    }

    const DEP: &str = "d/virtio.ko:\nd/virtio_ring.ko: d/virtio.ko\nd/virtio_mmio.ko: d/virtio_ring.ko d/virtio.ko\n\
        d/virtio_blk.ko: d/virtio_ring.ko d/virtio.ko\nd/virtio-console.ko: d/virtio_ring.ko d/virtio.ko\n\
        f/squashfs.ko:\nf/overlay.ko:\n";

    #[test]
    fn modules_come_after_what_they_depend_on() {
        let (_folder, tree) = tree(DEP, "kernel/fs/ext4/ext4.ko\n");
        let names: Vec<_> = tree.needed("6.1.0").unwrap().into_iter().map(|(name, _)| name).collect();
        let expected = ["virtio", "virtio_ring", "virtio_mmio", "virtio_blk", "virtio_console", "squashfs", "overlay"];
        assert_eq!(names, expected.map(|name| format!("{name}.ko")));
    }

    #[test]
    fn what_is_missing_and_what_is_anothers_is_named() {
        let (_folder, without) = tree(DEP, "");
        let error = without.needed("6.1.0").unwrap_err().to_string();
        assert_eq!(error, "Linux 6.1.0 lacks ext4: a guest kernel needs CONFIG_EXT4_FS");
        let (_folder, other) = tree(DEP, "kernel/fs/ext4/ext4.ko\n");
        let error = other.needed("6.2.0").unwrap_err().to_string();
        assert!(error.contains("those of Linux 6.1.0, but the kernel is 6.2.0"), "{error}");
    }
}
