//! Whether a file is open anywhere: a write lease, which the kernel gives only on a file that no one else has open.

#![expect(unsafe_code, reason = "leases are fcntl commands that no safe interface has")]

use std::{fs::File, os::fd::AsRawFd};

/// Which signal tells of an opening; the crate of the C library's names lacks it.
const F_SETSIG: libc::c_int = 10;

/// A file that nobody else has open, mapped or mounted. While the lease is held, whoever opens it waits.
#[derive(Debug)]
pub(super) struct Leased(pub(super) File);

impl Leased {
    /// `None` when somebody has the file open, or it cannot be known: it is another user's, or the file system keeps no
    /// leases.
    pub(super) fn take(file: File) -> Option<Self> {
        // Who comes to open the file makes the kernel send a signal, SIGIO, which would end the process. This one is
        // ignored by default.
        let is_quiet = fcntl(&file, F_SETSIG, libc::SIGURG) == Some(0);
        (is_quiet && fcntl(&file, libc::F_SETLEASE, libc::F_WRLCK) == Some(0)).then_some(Self(file))
    }

    /// Whether nobody waits to open it.
    pub(super) fn is_unbroken(&self) -> bool {
        fcntl(&self.0, libc::F_GETLEASE, 0) == Some(libc::F_WRLCK)
    }
}

fn fcntl(file: &File, command: libc::c_int, argument: libc::c_int) -> Option<libc::c_int> {
    // SAFETY: the descriptor is open as long as `file` is borrowed, and the three commands take a number or nothing.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    (result >= 0).then_some(result)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn file_that_is_open_elsewhere_is_not_leased() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        std::fs::write(&path, "content")?;
        let open = || File::options().read(true).write(true).open(&path);
        let reader = File::open(&path)?;
        assert!(Leased::take(open()?).is_none());
        drop(reader);
        let leased = Leased::take(open()?).expect("nobody has it open");
        assert!(leased.is_unbroken());
        // Who would have to wait is told so instead.
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        assert_eq!(
            rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).err(),
            Some(rustix::io::Errno::WOULDBLOCK)
        );
        assert!(!leased.is_unbroken());
        Ok(())
    }
}
