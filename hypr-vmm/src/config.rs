//! What a machine is made of.

use std::{
    fs::File,
    io,
    num::NonZeroU8,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use crate::{Error, Vm, wire};

/// Bytes of a sector; disks are whole numbers of them.
const SECTOR: u64 = 512;
/// Each has an interrupt line of its own, of which there are few.
const MAX_DISKS: usize = 16;

/// Describes a [`Vm`]; nothing happens until [`start`](Self::start).
#[derive(Debug)]
#[must_use]
pub struct VmBuilder {
    kernel: OwnedFd,
    initramfs: Option<OwnedFd>,
    command_line: String,
    vcpus: NonZeroU8,
    memory: u32,
    disks: Vec<Disk>,
}

impl VmBuilder {
    pub(crate) fn new(kernel: impl Into<OwnedFd>) -> Self {
        Self {
            kernel: kernel.into(),
            initramfs: None,
            command_line: DEFAULT_COMMAND_LINE.to_owned(),
            vcpus: NonZeroU8::MIN,
            memory: 512,
            disks: Vec::new(),
        }
    }

    /// The first file system, an uncompressed cpio archive or one in a compression that the kernel knows. None by
    /// default.
    pub fn initramfs(mut self, file: impl Into<OwnedFd>) -> Self {
        self.initramfs = Some(file.into());
        self
    }

    /// Adds `words` to the kernel's command line, which by default is quiet, starts `/init` of the initramfs, resets
    /// the machine after a panic and leaves out what such a machine does not have. At most 2047 bytes in all.
    pub fn command_line(mut self, words: &str) -> Self {
        self.command_line.push(' ');
        self.command_line.push_str(words);
        self
    }

    /// Has `line` for the kernel's whole command line.
    pub fn whole_command_line(mut self, line: impl Into<String>) -> Self {
        self.command_line = line.into();
        self
    }

    /// How many virtual processors it has; one by default.
    pub fn vcpus(mut self, count: NonZeroU8) -> Self {
        self.vcpus = count;
        self
    }

    /// MiB of memory; 512 by default. The host gives each page when the guest first touches it.
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.memory = mebibytes;
        self
    }

    /// Adds a disk; they are numbered in this order from 0.
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// Starts the machine. Its kernel has not come far when this returns; what the guest says on its channel tells.
    ///
    /// # Errors
    /// Fails when KVM cannot be used, the monitor cannot be started, or the kernel cannot be loaded.
    pub fn start(self) -> Result<Vm, Error> {
        Vm::start(self)
    }

    /// Has the kernel and the initramfs read from their beginnings, whoever else reads the same files at the same time.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        let again = |file: &OwnedFd| File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map(OwnedFd::from);
        self.kernel = again(&self.kernel)?;
        self.initramfs = self.initramfs.as_ref().map(again).transpose()?;
        Ok(())
    }

    /// The request that starts it, and the descriptors that go with it after `/dev/kvm` and the console.
    pub(crate) fn request(&self) -> Result<(wire::Request, Vec<BorrowedFd<'_>>), Error> {
        let refused =
            |reason: &str| Error::Setup { action: "lay out the machine".to_owned(), reason: reason.to_owned() };
        if self.memory < 32 {
            return Err(refused("no kernel runs in less than 32 MiB of memory"));
        }
        let mut descriptors = vec![self.kernel.as_fd()];
        descriptors.extend(self.initramfs.as_ref().map(AsFd::as_fd));
        if self.disks.len() > MAX_DISKS {
            return Err(refused("a machine has at most 16 disks"));
        }
        let mut disks = Vec::new();
        let mut files = Vec::new();
        for disk in &self.disks {
            if disk.capacity % SECTOR != 0 || disk.capacity == 0 {
                return Err(refused("a disk is empty or no whole number of sectors of 512 bytes"));
            }
            let extents = Extent::number(&disk.extents, &mut files);
            disks.push(wire::Disk { capacity: disk.capacity, is_writable: disk.is_writable, extents });
        }
        let start = wire::Start {
            vcpus: self.vcpus.get(),
            memory: u64::from(self.memory) << 20,
            command_line: self.command_line.clone(),
            has_initramfs: self.initramfs.is_some(),
            disks,
        };
        Ok((wire::Request::Start(start), [descriptors, files].concat()))
    }

    /// Where in the descriptors the channel's end belongs.
    pub(crate) fn channel_position(&self) -> usize {
        1 + usize::from(self.initramfs.is_some())
    }
}

/// Quiet (said first, or the early console would print what came before), prints panics through the early console
/// alone, which no interrupt and no driver is set up for, and leaves out what takes time or exits and is of no use in a
/// machine that lives for seconds and has one tenant.
const DEFAULT_COMMAND_LINE: &str = "quiet loglevel=3 earlycon=uart8250,io,0x3f8 keep_bootcon rdinit=/init \
    reboot=k panic=-1 pci=off mitigations=off audit=0 cryptomgr.notests 8250.nr_uarts=0 tsc=reliable \
    no_timer_check random.trust_cpu=on swiotlb=noforce rcupdate.rcu_expedited=1 nowatchdog raid=noautodetect";

/// A disk of a machine.
#[derive(Debug, Clone)]
pub struct Disk {
    pub(crate) capacity: u64,
    pub(crate) is_writable: bool,
    pub(crate) extents: Vec<Extent>,
}

impl Disk {
    /// A disk that shows `file` and cannot be written. Its size is rounded up to a whole sector.
    ///
    /// # Errors
    /// Fails when the file's size cannot be told.
    pub fn read_only(file: File) -> io::Result<Self> {
        Self::of_file(file, false)
    }

    /// A disk that is `file`, whose size must be a whole number of sectors.
    ///
    /// # Errors
    /// Fails when the file's size cannot be told.
    pub fn writable(file: File) -> io::Result<Self> {
        Self::of_file(file, true)
    }

    /// A disk of `capacity` bytes that cannot be written, and reads as zeros until something is shown on it by
    /// [`Vm::bind`].
    pub fn unbound(capacity: u64) -> Self {
        Self { capacity, is_writable: false, extents: Vec::new() }
    }

    /// This disk with `extents`, which must not touch each other, in place of what it showed.
    #[must_use]
    pub fn showing(mut self, extents: Vec<Extent>) -> Self {
        self.extents = extents;
        self
    }

    fn of_file(file: File, is_writable: bool) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let capacity = length.next_multiple_of(if is_writable { 1 } else { SECTOR });
        let extent = Extent { start: 0, length: capacity, file: Arc::new(file), offset: 0 };
        Ok(Self { capacity, is_writable, extents: vec![extent] })
    }
}

/// A part of a file as a part of a disk.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Where on the disk it begins, in bytes.
    pub start: u64,
    /// Bytes. What lies behind the end of the file reads as zeros.
    pub length: u64,
    /// The file.
    pub file: Arc<File>,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
}

impl Extent {
    /// `extents` with their files numbered, which are added to `files`.
    pub(crate) fn number<'a>(extents: &'a [Self], files: &mut Vec<BorrowedFd<'a>>) -> Vec<wire::Extent> {
        let number = |extent: &'a Self| {
            files.push(extent.file.as_fd());
            wire::Extent { start: extent.start, length: extent.length, file: files.len() - 1, offset: extent.offset }
        };
        extents.iter().map(number).collect()
    }
}
