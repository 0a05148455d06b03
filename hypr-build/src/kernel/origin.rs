//! What a kernel that is kept was made of, so that nothing is read again while nothing has changed.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The files that a kernel was made of, and those that were looked for and were not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// What was named: the kernel or package, and its modules. Both are absolute.
    image: String,
    modules: Option<String>,
    files: Vec<Stamp>,
    absent: Vec<String>,
}

/// A file as it was. What takes its place has another inode, and what is written to it another time of change, which
/// no program can set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: String,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Origin {
    /// Whether the same was named as in `other`.
    pub(super) fn is_same_name(&self, other: &Self) -> bool {
        (&self.image, &self.modules) == (&other.image, &other.modules)
    }

    /// Whether the kernel of these names would be made of the same files as then.
    pub(super) fn is_current(&self, image: &Path, modules: Option<&Path>) -> bool {
        Path::new(&self.image) == image
            && self.modules.as_deref().map(Path::new) == modules
            && self.files.iter().all(|stamp| Stamp::of(Path::new(&stamp.path)).as_ref() == Some(stamp))
            && self.absent.iter().all(|path| fs::metadata(path).is_err())
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok().filter(Metadata::is_file)?;
        Some(Self {
            path: path.to_str()?.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Notes what is looked at while a kernel is made ready.
#[derive(Debug, Default)]
pub(super) struct Witness {
    files: Vec<Stamp>,
    absent: Vec<PathBuf>,
    /// Something could not be noted.
    is_lost: bool,
}

impl Witness {
    /// To be called before the file is read: what is written to it while it is read is noticed later.
    pub(super) fn reads(&mut self, path: &Path) {
        match Stamp::of(path) {
            Some(stamp) => self.files.push(stamp),
            None => self.is_lost = true,
        }
    }

    /// Whether there is something at `path`, which is noted if there is nothing.
    pub(super) fn finds(&mut self, path: &Path) -> bool {
        let is_there = path.exists();
        if !is_there {
            self.absent.push(path.to_owned());
        }
        is_there
    }

    /// What was seen; `None` if that is not all, or has names that a record cannot hold.
    pub(super) fn origin(self, image: &Path, modules: Option<&Path>) -> Option<Origin> {
        let text = |path: &Path| path.to_str().map(str::to_owned);
        let modules = match modules {
            Some(path) => Some(text(path)?),
            None => None,
        };
        let absent = self.absent.iter().map(|path| text(path)).collect::<Option<_>>()?;
        let origin = Origin { image: text(image)?, modules, files: self.files, absent };
        (!self.is_lost).then_some(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let [kernel, other, absent] = ["kernel", "other", "absent"].map(|name| folder.path().join(name));
        fs::write(&kernel, "one").unwrap();
        let witness = || {
            let mut witness = Witness::default();
            witness.reads(&kernel);
            assert!(!witness.finds(&absent));
            witness.origin(&kernel, None).unwrap()
        };
        let origin = witness();
        assert!(origin.is_current(&kernel, None));
        assert!(!origin.is_current(&other, None));
        assert!(!origin.is_current(&kernel, Some(folder.path())));
        fs::write(&absent, "").unwrap();
        assert!(!origin.is_current(&kernel, None), "what was not there appeared");
        fs::remove_file(&absent).unwrap();
        assert!(origin.is_current(&kernel, None));
        // The same length and the same time, but another file.
        let modified = fs::metadata(&kernel).unwrap().modified().unwrap();
        fs::write(&other, "two").unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
        fs::rename(&other, &kernel).unwrap();
        assert!(!origin.is_current(&kernel, None), "it was replaced");
        let origin = witness();
        fs::write(&kernel, "three").unwrap();
        assert!(!origin.is_current(&kernel, None), "it was written to");
        fs::remove_file(&kernel).unwrap();
        assert!(!origin.is_current(&kernel, None), "it is gone");
    }
}
