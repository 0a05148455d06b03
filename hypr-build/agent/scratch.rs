//! The step's scratch directory: the overlay's upper and work directories, and getting rid of them.

use std::{
    ffi::CString,
    fs, io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{
    failure::{Context, Failed},
    sys::process,
};

/// The overlay's upper directory, in the scratch directory.
pub(crate) const UPPER: &str = "upper";
/// The overlay's work directory, in the scratch directory.
pub(crate) const WORK: &str = "work";
/// Where the init mounts what it works with, in the scratch directory.
pub(crate) const STAGE: &str = "stage";

/// The scratch directory, which is the agent's working directory as long as this exists.
#[derive(Debug)]
pub(crate) struct Scratch {
    cgroups: Vec<(OwnedFd, Vec<u8>)>,
}

impl Scratch {
    /// Makes `directory` the working directory. `cgroups` are names of control groups, one in each of `parents`.
    pub(crate) fn new(directory: OwnedFd, cgroups: Vec<Vec<u8>>, parents: Vec<OwnedFd>) -> Result<Self, Failed> {
        process::change_directory(&directory).context("enter the scratch directory")?;
        Ok(Self { cgroups: parents.into_iter().zip(cgroups).collect() })
    }

    /// Makes the directories that an overlay called `name` needs, which is empty for the root's.
    pub(crate) fn make_upper(&self, name: &str) -> Result<fs::File, Failed> {
        let (upper, work) = (format!("{name}{UPPER}"), format!("{name}{WORK}"));
        for name in [&upper, &work] {
            fs::create_dir(name).context("make the upper directory")?;
        }
        fs::set_permissions(&upper, fs::Permissions::from_mode(0o755)).context("make the upper directory")?;
        fs::File::open(&upper).context("open the upper directory")
    }

    /// Makes the directory that the init mounts what it works with on.
    pub(crate) fn make_stage(&self) -> Result<(), Failed> {
        fs::create_dir(STAGE).context("make the stage")
    }

    /// Removes everything, as far as that is possible: nobody is left to hear of an error.
    pub(crate) fn clear(self) {
        let entries = fs::read_dir(".").into_iter().flatten().flatten();
        let names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        for name in names {
            // The sockets are no trees.
            let _ = remove_tree(&name).or_else(|_| fs::remove_file(&name));
        }
        for (parent, name) in self.cgroups {
            if let Ok(name) = CString::new(name) {
                let _ = process::remove_directory_at(&parent, &name);
            }
        }
    }
}

/// Removes the tree at `top`, a name in the working directory.
///
/// The tree may be deeper than there are descriptors or stack, so every directory found is first moved up beside
/// `top`.
pub(crate) fn remove_tree(top: &str) -> io::Result<()> {
    let mut waiting = vec![PathBuf::from(top)];
    let mut moved = 0u64;
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let place = PathBuf::from(format!("{top}-{moved}"));
                moved += 1;
                fs::rename(entry.path(), &place)?;
                waiting.push(place);
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        remove_emptied(&directory)?;
    }
    Ok(())
}

/// Removes `directory`; reading it while entries went may have passed over some.
fn remove_emptied(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => fs::remove_dir_all(directory),
        other => other,
    }
}
