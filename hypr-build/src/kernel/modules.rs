//! The modules of a distribution's kernel that a machine needs, in the order in which they are loaded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{KernelError, configuration::TRISTATE, origin::Witness};

/// What others look for by an algorithm's name, which nobody answers in a machine.
const PROVIDERS: [&str; 2] = ["crc32c_generic", "crc32c_intel"];

/// How deep dependencies go at most.
const MAX_DEPTH: usize = 32;

/// The largest module, packed or not, in bytes.
pub(super) const MAX_LENGTH: u64 = 64 << 20;

/// The most memory that xz may take.
const MAX_XZ_MEMORY: u64 = 256 << 20;

/// What is called what it is because a machine needs it, or may.
pub(super) fn wanted() -> impl Iterator<Item = &'static str> {
    TRISTATE.into_iter().map(|(module, _)| module).chain(PROVIDERS)
}

/// A kernel's modules: what is built in, and what there is as a file.
#[derive(Debug)]
pub(super) struct Tree {
    /// Where they are, for errors.
    place: PathBuf,
    /// Names of what is built in.
    built_in: BTreeSet<String>,
    modules: BTreeMap<String, Module>,
}

#[derive(Debug)]
struct Module {
    content: Content,
    /// Names of the modules that it needs.
    depends: Vec<String>,
}

#[derive(Debug)]
enum Content {
    File(PathBuf),
    Unpacked(Vec<u8>),
}

impl Tree {
    /// The modules in `folder`, with the lists that `depmod` makes.
    pub(super) fn open(folder: &Path, witness: &mut Witness) -> Result<Self, KernelError> {
        let mut read = |name: &str| {
            let path = folder.join(name);
            witness.reads(&path);
            fs::read_to_string(&path).map_err(|source| KernelError::Read { path, source })
        };
        let built_in = built_in(&read("modules.builtin")?);
        let mut modules = BTreeMap::new();
        for line in read("modules.dep")?.lines() {
            if let Some((file, depends)) = line.split_once(':') {
                let depends = depends.split_ascii_whitespace().map(name_of).collect();
                modules.insert(name_of(file), Module { content: Content::File(folder.join(file)), depends });
            }
        }
        Ok(Self { place: folder.to_owned(), built_in, modules })
    }

    /// Modules that are in memory, unpacked: what they depend on, they say themselves.
    pub(super) fn of(place: &Path, list_of_built_in: &str, modules: BTreeMap<String, Vec<u8>>) -> Self {
        let module = |(name, content): (String, Vec<u8>)| {
            (name, Module { depends: depends(&content), content: Content::Unpacked(content) })
        };
        let modules = modules.into_iter().map(module).collect();
        Self { place: place.to_owned(), built_in: built_in(list_of_built_in), modules }
    }

    /// Whether there is a module of this name, built in or not.
    pub(super) fn has(&self, module: &str) -> bool {
        self.built_in.contains(module) || self.modules.contains_key(module)
    }

    /// The modules that a machine needs, each after those that it depends on, as files are called and what they hold.
    /// What is not there at all has been [looked for](super::configuration::check) before.
    pub(super) fn needed(&self, version: &str, witness: &mut Witness) -> Result<Vec<(String, Vec<u8>)>, KernelError> {
        let mut order = Vec::new();
        let providers = if self.built_in.contains("ext4") { &[][..] } else { &PROVIDERS };
        for module in providers.iter().copied().chain(TRISTATE.map(|(module, _)| module)) {
            if !self.built_in.contains(module) && self.modules.contains_key(module) {
                self.add(module, &mut order, 0)?;
            }
        }
        let modules = order.into_iter().map(|name| {
            let content = match &self.modules[name].content {
                Content::Unpacked(content) => content.clone(),
                Content::File(path) => {
                    witness.reads(path);
                    read(path).map_err(|source| KernelError::Read { path: path.clone(), source })?
                }
            };
            self.check(&content, version)?;
            Ok((format!("{name}.ko"), content))
        });
        modules.collect()
    }

    /// Adds a module that is there, and what it depends on.
    fn add<'a>(&'a self, name: &'a str, order: &mut Vec<&'a str>, depth: usize) -> Result<(), KernelError> {
        let Some(module) = self.modules.get(name).filter(|_| !order.contains(&name)) else { return Ok(()) };
        for dependency in module.depends.iter().rev() {
            // The kernel allows no circles, and a damaged list must not lead into one.
            if !self.has(dependency) || depth > MAX_DEPTH {
                return Err(KernelError::Incomplete {
                    path: self.place.clone(),
                    module: name.to_owned(),
                    dependency: dependency.clone(),
                });
            }
            self.add(dependency, order, depth + 1)?;
        }
        order.push(name);
        Ok(())
    }

    /// Refuses a module of another kernel, which that kernel would refuse as well.
    fn check(&self, module: &[u8], version: &str) -> Result<(), KernelError> {
        const MAGIC: &[u8] = b"vermagic=";
        let Some(at) = memchr::memmem::find(module, MAGIC).map(|at| at + MAGIC.len()) else { return Ok(()) };
        let word = module[at..].split(|byte| matches!(byte, b' ' | 0)).next().unwrap_or_default();
        match String::from_utf8_lossy(word) {
            found if found == version => Ok(()),
            found => Err(KernelError::Mismatch {
                path: self.place.clone(),
                found: found.into_owned(),
                expected: version.to_owned(),
            }),
        }
    }
}

fn built_in(list: &str) -> BTreeSet<String> {
    list.lines().map(name_of).collect()
}

/// The modules that `module` says it depends on (`.modinfo`, "depends=").
pub(super) fn depends(module: &[u8]) -> Vec<String> {
    let Some(at) = memchr::memmem::find(module, b"\0depends=").map(|at| at + 9) else { return Vec::new() };
    let list = module[at..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(list);
    names.split(',').filter(|name| !name.is_empty()).map(name_of).collect()
}

/// What the module in `file` is called: dashes and underscores are the same to the kernel.
pub(super) fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or_default();
    name.split(".ko").next().unwrap_or_default().replace('-', "_")
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    unpack(fs::File::open(path)?, &path.to_string_lossy())
}

/// All of a module whose file has this name.
pub(super) fn unpack(file: impl Read, name: &str) -> io::Result<Vec<u8>> {
    let packing = name.rsplit_once('.').map_or("", |(_, packing)| packing);
    let reader: Box<dyn Read> = match packing {
        "xz" => {
            let stream = liblzma::stream::Stream::new_stream_decoder(MAX_XZ_MEMORY, 0)?;
            Box::new(liblzma::read::XzDecoder::new_stream(file, stream))
        }
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
    use crate::kernel::configuration;

    fn tree(dep: &str, built_in: &str) -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("modules.dep"), dep).unwrap();
        fs::write(folder.path().join("modules.builtin"), built_in).unwrap();
        for line in dep.lines() {
            let file = folder.path().join(line.split(':').next().unwrap());
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, b"..vermagic=6.1.0 SMP mod_unload").unwrap();
        }
        let tree = Tree::open(folder.path(), &mut Witness::default()).unwrap();
        (folder, tree)
    }

    const DEP: &str = "d/virtio.ko:\nd/virtio_ring.ko: d/virtio.ko\nd/virtio_mmio.ko: d/virtio_ring.ko d/virtio.ko\n\
        d/virtio_blk.ko: d/virtio_ring.ko d/virtio.ko\nd/virtio-console.ko: d/virtio_ring.ko d/virtio.ko\n\
        f/squashfs.ko:\nf/overlay.ko:\n";

    #[test]
    fn modules_come_after_what_they_depend_on() {
        let (_folder, tree) = tree(DEP, "kernel/fs/ext4/ext4.ko\n");
        let modules = tree.needed("6.1.0", &mut Witness::default()).unwrap();
        let names: Vec<_> = modules.into_iter().map(|(name, _)| name).collect();
        let expected = ["virtio", "virtio_ring", "virtio_mmio", "virtio_blk", "virtio_console", "squashfs", "overlay"];
        assert_eq!(names, expected.map(|name| format!("{name}.ko")));
    }

    #[test]
    fn what_is_missing_and_what_is_anothers_is_named() {
        let (_folder, without) = tree(DEP, "");
        let error = configuration::check("6.1.0", None, Some(&without)).unwrap_err().to_string();
        assert_eq!(error, "Linux 6.1.0 cannot be a guest: it lacks CONFIG_EXT4_FS");
        let (_folder, other) = tree(DEP, "kernel/fs/ext4/ext4.ko\n");
        configuration::check("6.2.0", None, Some(&other)).unwrap();
        let error = other.needed("6.2.0", &mut Witness::default()).unwrap_err().to_string();
        assert!(error.contains("those of Linux 6.1.0, but the kernel is 6.2.0"), "{error}");
        let (_folder, torn) = tree("d/virtio_mmio.ko: d/virtio.ko\n", "");
        let error = torn.needed("6.1.0", &mut Witness::default()).unwrap_err().to_string();
        assert!(error.ends_with("are incomplete: virtio_mmio needs virtio"), "{error}");
    }

    #[test]
    fn circles_come_to_an_end() {
        let (_folder, tree) = tree("squashfs.ko: overlay.ko\noverlay.ko: squashfs.ko\n", "");
        assert!(matches!(tree.needed("6.1.0", &mut Witness::default()), Err(KernelError::Incomplete { .. })));
    }

    #[test]
    fn modules_in_memory_say_what_they_need() {
        let module = |depends: &str| format!("\0depends={depends}\0vermagic=6.1.0 SMP").into_bytes();
        let modules = [("squashfs", module("zstd-decompress")), ("zstd_decompress", module(""))];
        let modules = modules.into_iter().map(|(name, content)| (name.to_owned(), content)).collect();
        let tree = Tree::of(Path::new("/p.deb"), "kernel/fs/ext4/ext4.ko", modules);
        let needed = tree.needed("6.1.0", &mut Witness::default()).unwrap();
        let names: Vec<_> = needed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["zstd_decompress.ko", "squashfs.ko"]);
    }
}
