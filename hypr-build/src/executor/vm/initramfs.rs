//! The first file system of a machine: the agent, and the modules that its kernel needs to find its disks.

use std::{
    fs::File,
    io::{self, Write},
};

/// Writes an archive with `agent` as `/init` and `modules`, in this order, into memory.
///
/// # Errors
/// Fails when there is no memory for it.
pub(super) fn build(agent: &[u8], modules: &[(String, Vec<u8>)]) -> io::Result<File> {
    let memory = rustix::fs::memfd_create("hypr-initramfs", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut archive = Archive { file: File::from(memory), inode: 0 };
    archive.entry("init", 0o100_755, agent)?;
    // The standard library wants standard streams before the agent can mount anything.
    archive.entry("dev", 0o040_755, &[])?;
    archive.device("dev/null", 0o020_666, (1, 3))?;
    // Where it says why it could not.
    archive.device("dev/kmsg", 0o020_600, (1, 11))?;
    archive.entry("modules", 0o040_755, &[])?;
    for (number, (name, content)) in modules.iter().enumerate() {
        // The agent loads them in the order of their names.
        archive.entry(&format!("modules/{number:04}-{name}"), 0o100_644, content)?;
    }
    archive.entry("TRAILER!!!", 0, &[])?;
    Ok(archive.file)
}

/// An archive of the "new" portable format (`cpio(5)`, `initramfs` in the kernel's documentation).
struct Archive {
    file: File,
    inode: usize,
}

impl Archive {
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.any(name, mode, (0, 0), content)
    }

    fn device(&mut self, name: &str, mode: u32, device: (u32, u32)) -> io::Result<()> {
        self.any(name, mode, device, &[])
    }

    fn any(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let inode = self.inode;
        let (length, name_length) = (content.len(), name.len() + 1);
        // Thirteen fields of eight digits: inode, mode, owner, group, links, time, size, the device's numbers twice,
        // length of the name with its zero, no checksum.
        write!(self.file, "070701{inode:08X}{mode:08X}{:08X}{:08X}{:08X}{:08X}{length:08X}", 0, 0, 1, 0)?;
        write!(self.file, "{:08X}{:08X}{major:08X}{minor:08X}{name_length:08X}{:08X}", 0, 0, 0)?;
        self.file.write_all(name.as_bytes())?;
        self.pad(110 + name_length, 1)?;
        self.file.write_all(content)?;
        self.pad(length, 0)
    }

    /// Zeros after `length` bytes, `least` of them, up to a multiple of four bytes.
    fn pad(&mut self, length: usize, least: usize) -> io::Result<()> {
        let count = least + (length.next_multiple_of(4) - length);
        self.file.write_all(&[0; 8][..count])
    }
}
