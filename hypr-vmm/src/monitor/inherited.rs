//! Descriptors that the monitor was started with and is not meant to have.

use std::{fs, io, path::Path};

/// Where the kernel lists what this process has open.
const OPEN: &str = "/proc/self/fd";

/// Closes all descriptors but the standard ones: whatever the program left open that the library is part of.
///
/// # Errors
/// Fails when neither the kernel closes them nor a list of them can be had.
pub(crate) fn close() -> io::Result<()> {
    // SAFETY: the monitor has opened nothing yet, so that nobody owns what is closed.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) } == 0 {
        return Ok(());
    }
    // Linux before 5.9 has no such call, and some filters of containers deny it.
    for descriptor in listed(Path::new(OPEN))? {
        // The list's own descriptor is closed by now, which this one's error tells.
        // SAFETY: as above.
        let _ = unsafe { libc::close(descriptor) };
    }
    Ok(())
}

/// The descriptors that `list` has, but for the standard ones.
fn listed(list: &Path) -> io::Result<Vec<i32>> {
    let mut descriptors = Vec::new();
    for entry in fs::read_dir(list)? {
        let number: Option<i32> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        descriptors.extend(number.filter(|number| *number > 2));
    }
    Ok(descriptors)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_is_open_is_listed_and_without_a_list_nothing_is_taken_for_closed() {
        let file = tempfile::tempfile().unwrap();
        let open = listed(Path::new(OPEN)).unwrap();
        assert!(open.contains(&file.as_raw_fd()) && open.iter().all(|number| *number > 2), "{open:?}");
        assert!(listed(&tempfile::tempdir().unwrap().path().join("fd")).is_err());
    }
}
