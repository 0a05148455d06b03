//! Kernels in Debian packages (`deb(5)`): an `ar` archive whose member `data.tar` has the files.
//!
//! The kernel, its configuration and the few modules that a machine needs are read straight out of the archive, in as
//! many passes as dependencies of modules are deep; nothing else of it is looked at, and nothing is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use super::{KernelError, configuration, image::Image, modules, modules::Tree};

/// What every `ar` archive begins with.
const MAGIC: &[u8] = b"!<arch>\n";
/// The most that a package unpacks to, in bytes; a whole distribution's kernel has some 500 MB.
const MAX_UNPACKED: u64 = 4 << 30;
/// The most files that a package has.
const MAX_ENTRIES: usize = 100_000;
/// The longest path in a package.
const MAX_PATH: u64 = 4096;
/// The largest kernel in a package, in bytes.
const MAX_KERNEL: u64 = 256 << 20;
/// The most memory that xz may take.
const MAX_XZ_MEMORY: u64 = 256 << 20;
/// How often a package is read at most.
const MAX_PASSES: usize = 8;
/// What the modules that are needed mostly depend on, which saves passes.
const USUAL: [&str; 8] =
    ["virtio", "virtio_ring", "jbd2", "mbcache", "crc16", "libcrc32c", "lz4_decompress", "zstd_decompress"];

/// What is in a package.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) image: Image,
    pub(super) configuration: Option<String>,
    pub(super) tree: Option<Tree>,
}

pub(super) fn is_package(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    // Opening a pipe would wait for somebody to write to it.
    path.is_file() && File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == MAGIC
}

/// Reads the kernel and its modules out of the package at `path`.
pub(super) fn read(path: &Path) -> Result<Package, KernelError> {
    let refused = |reason: &str| KernelError::Package { path: path.to_owned(), reason: reason.to_owned() };
    let unreadable = |source| KernelError::Read { path: path.to_owned(), source };
    let (mut kernel, mut configurations, mut built_in) = (None, BTreeMap::new(), BTreeMap::new());
    let mut names = BTreeSet::new();
    walk(path, &mut |name, entry| {
        if let Some(version) = name.strip_prefix("boot/vmlinuz-").filter(|_| kernel.is_none()) {
            kernel = Some((version.to_owned(), bounded(entry, MAX_KERNEL)?));
        } else if let Some(version) = name.strip_prefix("boot/config-") {
            configurations.insert(version.to_owned(), text(entry)?);
        } else if let Some((version, file)) = module_file(name) {
            if file == "modules.builtin" {
                built_in.insert(version.to_owned(), text(entry)?);
            } else if file.contains(".ko") {
                names.insert((version.to_owned(), modules::name_of(file)));
            }
        }
        Ok(())
    })
    .map_err(unreadable)?;
    let (version, content) = kernel.ok_or_else(|| refused("it has no /boot/vmlinuz"))?;
    let image = Image::of(content, path)?;
    let configuration = configurations.remove(&version);
    names.retain(|(version, _)| *version == image.version);
    let names: BTreeSet<String> = names.into_iter().map(|(_, name)| name).collect();
    let tree = match names.is_empty() {
        true => None,
        false => {
            let modules = read_modules(path, &image.version, &names).map_err(unreadable)?;
            Some(Tree::of(path, &built_in.remove(&image.version).unwrap_or_default(), modules))
        }
    };
    Ok(Package { image, configuration, tree })
}

/// The modules that may be of use, by name, with all that they depend on, as far as the package has them.
fn read_modules(path: &Path, version: &str, names: &BTreeSet<String>) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut modules: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut wanted: BTreeSet<String> = modules::wanted().chain(USUAL).map(str::to_owned).collect();
    for _ in 0..MAX_PASSES {
        wanted.retain(|name| names.contains(name) && !modules.contains_key(name));
        if wanted.is_empty() {
            break;
        }
        walk(path, &mut |name, entry| {
            if let Some((of, file)) = module_file(name)
                && of == version
                && file.contains(".ko")
                && wanted.contains(&modules::name_of(file))
            {
                modules.insert(modules::name_of(file), modules::unpack(entry, file)?);
            }
            Ok(())
        })?;
        wanted = modules.values().flat_map(|module| modules::depends(module)).collect();
    }
    Ok(modules)
}

/// The version and the rest of the path of what is in a kernel's folder of modules.
fn module_file(name: &str) -> Option<(&str, &str)> {
    let name = name.strip_prefix("usr/").unwrap_or(name);
    name.strip_prefix("lib/modules/")?.split_once('/')
}

/// Calls `visit` with every regular file in the package.
fn walk(path: &Path, visit: &mut dyn FnMut(&str, &mut dyn Read) -> io::Result<()>) -> io::Result<()> {
    let data = Bounded { left: MAX_UNPACKED, reader: open_data(path)? };
    let mut archive = tar::Archive::new(data);
    let mut long_name = None;
    // Raw, since otherwise a name of any length is read into memory.
    for (count, entry) in archive.entries()?.raw(true).enumerate() {
        let mut entry = entry?;
        if count >= MAX_ENTRIES {
            return Err(io::Error::other("it has too many files"));
        }
        let kind = entry.header().entry_type();
        if kind.is_gnu_longlink() {
            continue;
        }
        if kind.is_gnu_longname() {
            long_name = Some(bounded(&mut entry, MAX_PATH)?);
            continue;
        }
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(&name)).into_owned();
        if kind.is_file() {
            visit(name.trim_start_matches("./").trim_start_matches('/'), &mut entry)?;
        }
    }
    Ok(())
}

/// The tar stream in a package.
fn open_data(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(MAGIC.len() as u64))?;
    loop {
        let mut header = [0; 60];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(io::Error::other("it is a package without a member data.tar"));
            }
            other => other?,
        }
        let field = |range: std::ops::Range<usize>| String::from_utf8_lossy(&header[range]).trim().to_owned();
        let (name, length) = (field(0..16), field(48..58));
        let length: u64 = length.parse().map_err(|_| io::Error::other("its archive is damaged"))?;
        let name = name.trim_end_matches('/');
        if let Some(packing) = name.strip_prefix("data.tar") {
            let member = file.take(length);
            return Ok(match packing {
                "" => Box::new(member),
                ".xz" => {
                    let stream = liblzma::stream::Stream::new_stream_decoder(MAX_XZ_MEMORY, 0)?;
                    Box::new(liblzma::read::XzDecoder::new_stream(member, stream))
                }
                ".zst" => Box::new(zstd::stream::read::Decoder::new(member)?),
                ".gz" => Box::new(flate2::read::GzDecoder::new(member)),
                _ => return Err(io::Error::other(format!("its files are in {name}, which hypr cannot unpack"))),
            });
        }
        let next = i64::try_from(length.next_multiple_of(2)).map_err(io::Error::other)?;
        file.seek(SeekFrom::Current(next))?;
    }
}

fn bounded(entry: &mut dyn Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    match entry.take(limit + 1).read_to_end(&mut content)? as u64 {
        length if length > limit => Err(io::Error::other("a file in it is too large")),
        _ => Ok(content),
    }
}

fn text(entry: &mut dyn Read) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&bounded(entry, configuration::MAX_LENGTH)?).into_owned())
}

/// Fails, rather than ends, where the limit is.
struct Bounded {
    left: u64,
    reader: Box<dyn Read>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.left = self.left.checked_sub(length as u64).ok_or_else(|| io::Error::other("it unpacks to too much"))?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::kernel::tests::{self, package, with_causes};

    #[test]
    fn what_a_machine_needs_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let deep = format!("./lib/modules/6.1.0/kernel/{}/squashfs.ko", "deep/".repeat(40));
        let module = |depends: &str| format!("\0depends={depends}\0vermagic=6.1.0 SMP").into_bytes();
        let files: [(&str, &[u8]); 8] = [
            ("./usr/share/doc/readme", b"words"),
            ("./lib/modules/6.1.0/kernel/a/far.ko", &module("farther")),
            ("./lib/modules/6.1.0/kernel/a/farther.ko", &module("")),
            ("./lib/modules/6.1.0/kernel/sound.ko", &module("far")),
            (&deep, &module("far")),
            ("./lib/modules/6.1.0/modules.builtin", b"kernel/fs/ext4/ext4.ko\n"),
            ("./boot/config-6.1.0", b"CONFIG_ACPI=y\n"),
            ("./boot/vmlinuz-6.1.0", &tests::kernel("6.1.0")),
        ];
        for packing in ["", ".zst"] {
            let package = read(&package(folder.path(), packing, &files)).unwrap();
            assert_eq!(package.image.version, "6.1.0");
            assert_eq!(package.configuration.as_deref(), Some("CONFIG_ACPI=y\n"));
            let tree = package.tree.unwrap();
            let found = ["ext4", "squashfs", "far", "farther", "sound"].map(|name| tree.has(name));
            assert_eq!(found, [true, true, true, true, false]);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            |packing, files: &[(&str, &[u8])]| with_causes(&read(&package(folder.path(), packing, files)).unwrap_err());
        assert!(error(".lzma", &[]).contains("data.tar.lzma, which hypr cannot unpack"));
        assert!(error("", &[("./usr/bin/true", b"")]).contains("it has no /boot/vmlinuz"));
        assert!(error("", &[("./boot/vmlinuz-6.1.0", b"text")]).contains("it is no kernel for x86-64"));
        let long = "n/".repeat(3000);
        assert!(error("", &[(&long, b"")]).contains("too large"));
        let path = folder.path().join("short.deb");
        fs::write(&path, MAGIC).unwrap();
        assert!(with_causes(&read(&path).unwrap_err()).contains("without a member data.tar"));
    }
}
