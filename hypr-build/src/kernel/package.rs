//! Kernels in Debian packages (`deb(5)`): an `ar` archive whose member `data.tar` has the files.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use super::{KernelError, Parts, image::Image, modules::Tree};

/// What every `ar` archive begins with.
const MAGIC: &[u8] = b"!<arch>\n";

pub(super) fn is_package(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == MAGIC
}

/// Reads the kernel and its modules out of the package at `path`.
pub(super) fn read(path: &Path) -> Result<Parts, KernelError> {
    let refused = |reason: &str| KernelError::Package { path: path.to_owned(), reason: reason.to_owned() };
    let unreadable = |source| KernelError::Read { path: path.to_owned(), source };
    let folder = Scratch::new().map_err(unreadable)?;
    let data = open_data(path).map_err(unreadable)?.ok_or_else(|| refused("it has no member data.tar"))?;
    unpack(data, &folder.0).map_err(unreadable)?;
    let kernel = fs::read_dir(folder.0.join("boot")).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_kernel =
        |path: &std::path::PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"));
    let kernel = kernel.into_iter().find(is_kernel).ok_or_else(|| refused("it has no /boot/vmlinuz"))?;
    let image = Image::read(&kernel)?;
    let modules = ["lib/modules", "usr/lib/modules"].map(|folders| folder.0.join(folders).join(&image.version));
    let modules = match modules.iter().find(|folder| folder.is_dir()) {
        // A package is without the lists that are made when it is installed.
        Some(folder) => Tree::open_or_list(folder)?.needed(&image.version)?,
        None => Vec::new(),
    };
    Ok(Parts { source: path.display().to_string(), image, modules })
}

/// The tar stream in a package, if it has one.
fn open_data(path: &Path) -> io::Result<Option<Box<dyn Read>>> {
    let mut file = File::open(path)?;
    io::copy(&mut (&mut file).take(MAGIC.len() as u64), &mut io::sink())?;
    loop {
        let mut header = [0; 60];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let field = |range: std::ops::Range<usize>| String::from_utf8_lossy(&header[range]).trim().to_owned();
        let (name, length) = (field(0..16), field(48..58));
        let length: u64 = length.parse().map_err(|_| io::Error::other("its archive is damaged"))?;
        let name = name.trim_end_matches('/');
        if name.starts_with("data.tar") {
            let member = file.take(length);
            return Ok(Some(match name.strip_prefix("data.tar") {
                Some(".xz") => Box::new(liblzma::read::XzDecoder::new(member)),
                Some(".zst") => Box::new(zstd::stream::read::Decoder::new(member)?),
                Some(".gz") => Box::new(flate2::read::GzDecoder::new(member)),
                _ => Box::new(member),
            }));
        }
        io::copy(&mut (&mut file).take(length.next_multiple_of(2)), &mut io::sink())?;
    }
}

/// Unpacks what may be of use: the kernel, and what is below a folder of modules.
fn unpack(data: Box<dyn Read>, to: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(data);
    archive.set_preserve_permissions(false);
    archive.set_preserve_mtime(false);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let path = path.strip_prefix(".").unwrap_or(&path);
        let is_wanted = ["boot", "lib/modules", "usr/lib/modules"].iter().any(|folder| path.starts_with(folder));
        if is_wanted && entry.header().entry_type().is_file() {
            // Nothing above the folder is written to, whatever the path says.
            entry.unpack_in(to)?;
        }
    }
    Ok(())
}

/// A folder that is gone with this.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        use std::hash::{BuildHasher, Hasher};
        let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
        let folder = std::env::temp_dir().join(format!("hypr-kernel-{random:016x}"));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in a folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
