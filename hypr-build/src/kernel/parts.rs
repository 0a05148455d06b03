//! A kernel and its modules, read from where they are.

use std::path::{Path, PathBuf};

use super::{
    KernelError, configuration,
    image::Image,
    modules::Tree,
    origin::{Origin, Witness},
    package,
};

/// A kernel and its modules, in memory.
#[derive(Debug)]
pub(super) struct Parts {
    /// The file that they are from, as it is shown.
    pub(super) source: String,
    pub(super) image: Image,
    pub(super) modules: Vec<(String, Vec<u8>)>,
    /// All that was looked at, if it could be noted.
    pub(super) origin: Option<Origin>,
}

impl Parts {
    /// Reads the kernel at `path`, with its modules from `modules` or from where they belong. Both are absolute.
    ///
    /// # Errors
    /// Fails when it is no kernel, or lacks what a machine needs and tells so.
    pub(super) fn read(path: &Path, modules: Option<&Path>) -> Result<Self, KernelError> {
        let mut witness = Witness::default();
        witness.reads(path);
        let (image, configuration, tree) = match (package::is_package(path), modules) {
            (true, Some(_)) => return Err(KernelError::ModulesOfPackage { path: path.to_owned() }),
            (true, None) => {
                let package = package::read(path)?;
                (package.image, package.configuration, package.tree)
            }
            (false, modules) => {
                let image = Image::read(path)?;
                let beside = path.with_file_name(format!("config-{}", image.version));
                let configuration = witness.finds(&beside).then(|| {
                    witness.reads(&beside);
                    configuration::read(&beside)
                });
                let folder = match modules {
                    Some(folder) => Some(folder.to_owned()),
                    None => folder_of_modules(path, &image.version, &mut witness),
                };
                let tree = folder.map(|folder| Tree::open(&folder, &mut witness)).transpose()?;
                (image, configuration.flatten(), tree)
            }
        };
        let configuration = configuration.as_ref().or(image.configuration.as_ref());
        configuration::check(&image.version, configuration.map(String::as_str), tree.as_ref())?;
        let needed = match tree {
            Some(tree) => tree.needed(&image.version, &mut witness)?,
            // What has no modules has everything built in; what lacks is told by the machine.
            None => Vec::new(),
        };
        let source = path.display().to_string();
        Ok(Self { source, image, modules: needed, origin: witness.origin(path, modules) })
    }
}

/// Where the modules of the kernel at `path` are: beside it, as in an unpacked package, or where all are.
fn folder_of_modules(path: &Path, version: &str, witness: &mut Witness) -> Option<PathBuf> {
    let beside = path.parent().map(|folder| folder.join("../lib/modules").join(version));
    let folders = [beside, Some(Path::new("/lib/modules").join(version))];
    // A folder without the list, as headers alone make one, is none of modules.
    folders.into_iter().flatten().find(|folder| witness.finds(&folder.join("modules.dep")))
}
