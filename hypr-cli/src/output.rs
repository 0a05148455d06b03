//! Output files that appear under their name only once they are complete.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// A file without a name, or with a temporary one where the file system knows no other way.
///
/// Dropping it leaves nothing behind, and a file without a name does not even survive the death of the process.
#[derive(Debug)]
pub(crate) struct OutputFile {
    file: File,
    target: PathBuf,
    temporary: Option<PathBuf>,
}

impl OutputFile {
    /// Makes a file that will replace `target` in one step.
    ///
    /// # Errors
    /// Fails when the directory cannot be written to, and when `target` is something other than a regular file.
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        let target = match fs::metadata(target) {
            Ok(metadata) if metadata.is_file() => fs::canonicalize(target)?,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is not a regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => target.to_path_buf(),
            Err(error) => return Err(error),
        };
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if target.file_name().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it names no file"));
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(directory, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => Ok(Self { file: file.into(), target, temporary: None }),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
                let temporary = temporary_name(&target);
                let mut options = OpenOptions::new();
                let file = options.read(true).write(true).create_new(true).mode(0o666).open(&temporary)?;
                Ok(Self { file, target, temporary: Some(temporary) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Another handle of the file.
    ///
    /// # Errors
    /// Fails when the process has no descriptors left.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Makes the contents durable and gives them their name.
    ///
    /// # Errors
    /// Fails when the disk is full or the directory has changed; there is no output then.
    pub(crate) fn publish(mut self) -> io::Result<()> {
        if let Ok(old) = fs::metadata(&self.target) {
            self.file.set_permissions(Permissions::from_mode(old.permissions().mode() & 0o777))?;
        }
        self.file.sync_all()?;
        if self.temporary.is_none() {
            let temporary = temporary_name(&self.target);
            let source = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            rustix::fs::linkat(CWD, source, CWD, &temporary, AtFlags::SYMLINK_FOLLOW)?;
            self.temporary = Some(temporary);
        }
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.target)?;
        }
        self.temporary = None;
        Ok(())
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // It is only a left-over; the error that led here is what counts.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// A name beside `target` that nobody else uses.
fn temporary_name(target: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    target.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_name_appears_with_the_whole_content_or_never() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let output = OutputFile::create(&path).unwrap();
        output.file().unwrap().write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(output);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

        fs::write(&path, b"old").unwrap();
        let output = OutputFile::create(&path).unwrap();
        output.file().unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        output.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn devices_and_directories_are_never_replaced() {
        assert!(OutputFile::create(Path::new("/dev/null")).is_err());
        assert!(OutputFile::create(Path::new("/tmp")).is_err());
        assert!(OutputFile::create(Path::new("/nonexistent-directory/file")).is_err());
    }
}
