//! Loop devices: a layer's file as a block device, gone with its last user.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, Mode},
    io::Errno,
    ioctl::{self, Ioctl, IoctlOutput, Opcode},
};

const LOOP_CONFIGURE: Opcode = 0x4c0a;
const LOOP_CTL_GET_FREE: Opcode = 0x4c82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const MAJOR: u32 = 7;

/// Somebody else takes the device that was found free now and then; this often means that nobody can have one.
const ATTEMPTS: usize = 200;

/// A device that stays attached as long as it is open, or mounted.
#[derive(Debug)]
pub(crate) struct LoopDevice {
    path: PathBuf,
    _open: File,
}

impl LoopDevice {
    /// Attaches the file at `backing`, read-only. Where `/dev` lacks a device's node it is made in `nodes`.
    ///
    /// # Errors
    /// Fails where there are no loop devices, or no right to use them.
    pub(crate) fn attach(backing: &Path, nodes: &Path) -> io::Result<Self> {
        let backing = File::open(backing)?;
        let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
        for attempt in 0..ATTEMPTS {
            // SAFETY: GetFree's opcode takes no argument and touches no memory.
            let number = unsafe { ioctl::ioctl(&control, GetFree) }?;
            let path = node(number, nodes)?;
            let device = match File::open(&path) {
                // Removed again, or its node is not there yet.
                Err(error) if matches!(error.raw_os_error(), Some(2 | 6)) => {
                    pause(attempt);
                    continue;
                }
                other => other?,
            };
            let configuration = Configuration::new(&backing);
            // SAFETY: the opcode belongs to the structure, `struct loop_config` of `linux/loop.h`.
            match unsafe { ioctl::ioctl(&device, ioctl::Setter::<LOOP_CONFIGURE, _>::new(configuration)) } {
                Ok(()) => return Ok(Self { path, _open: device }),
                Err(Errno::BUSY) => pause(attempt),
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::from_raw_os_error(Errno::BUSY.raw_os_error()))
    }

    /// The device's node.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn pause(attempt: usize) {
    std::thread::sleep(std::time::Duration::from_micros(200 * (attempt as u64 + 1).min(50)));
}

/// The node of device `number`: in `/dev`, or in containers whose `/dev` does not follow the kernel made in `nodes`.
fn node(number: u32, nodes: &Path) -> io::Result<PathBuf> {
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let device = rustix::fs::makedev(MAJOR, number);
    match path.symlink_metadata() {
        Ok(metadata) if metadata.file_type().is_block_device() && metadata.rdev() == device => return Ok(path),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let path = nodes.join(format!("loop{number}"));
    match rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::BlockDevice, Mode::RUSR | Mode::WUSR, device) {
        Ok(()) | Err(Errno::EXIST) => Ok(path),
        Err(error) => Err(error.into()),
    }
}

/// LOOP_CTL_GET_FREE, which answers with its return value.
struct GetFree;

// SAFETY: the kernel reads and writes no memory for this opcode; its result is the device's number.
unsafe impl Ioctl for GetFree {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(result: IoctlOutput, _: *mut std::ffi::c_void) -> rustix::io::Result<u32> {
        u32::try_from(result).map_err(|_| Errno::INVAL)
    }
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
struct Configuration {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    real_device: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

const _: () = assert!(size_of::<Configuration>() == 304);

impl Configuration {
    fn new(backing: &File) -> Self {
        use std::os::fd::AsRawFd;
        let mut file_name = [0; 64];
        file_name[..4].copy_from_slice(b"hypr");
        Self {
            fd: backing.as_raw_fd().cast_unsigned(),
            block_size: 0,
            info: Info {
                device: 0,
                inode: 0,
                real_device: 0,
                offset: 0,
                size_limit: 0,
                number: 0,
                encrypt_type: 0,
                encrypt_key_size: 0,
                flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
                file_name,
                crypt_name: [0; 64],
                encrypt_key: [0; 32],
                init: [0; 2],
            },
            reserved: [0; 8],
        }
    }
}
