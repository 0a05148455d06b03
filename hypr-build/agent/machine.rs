//! The agent as the first program of a virtual machine.
//!
//! It loads the modules that came with it, mounts what a kernel shows, and moves onto a file system that roots of
//! sandboxes can be made on. Then hypr tells it which layers lie where on the first disk; the second disk takes what
//! steps write. The machine ends with its monitor, so nothing is ever unmounted.

use std::{
    ffi::{CStr, CString, c_ulong},
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
    time::Duration,
};

use crate::{
    channel::Channel,
    failure::{Context, Failed},
    protocol::{self, Account, FailureKind, Report, layer_directory},
    session,
    sys::{
        block, fs as sys_fs, module,
        mount::{self, NO_ATIME, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY},
        process,
    },
};

/// What the kernel calls its first program.
pub(crate) const NAME: &str = "/init";

const MODULES: &str = "/modules";
const CHANNEL: &str = "/dev/vport0p0";
const LAYERS: &str = "/dev/vda";
const SCRATCH: &str = "/dev/vdb";
const CGROUPS: &str = "/sys/fs/cgroup";
const GROUP: &str = "/sys/fs/cgroup/step";

const EINVAL: i32 = 22;
const ENODEV: i32 = 19;

/// The option that a guest kernel has a file system by.
const FILE_SYSTEMS: [(&str, &str); 8] = [
    ("devtmpfs", "CONFIG_DEVTMPFS"),
    ("tmpfs", "CONFIG_TMPFS"),
    ("proc", "CONFIG_PROC_FS"),
    ("sysfs", "CONFIG_SYSFS"),
    ("cgroup2", "CONFIG_CGROUPS"),
    ("squashfs", "CONFIG_SQUASHFS"),
    ("overlay", "CONFIG_OVERLAY_FS"),
    ("ext4", "CONFIG_EXT4_FS"),
];

/// The directory that a driver has, and the option that a guest kernel has it by.
const DRIVERS: [(&str, &str); 3] = [
    ("/sys/bus/platform/drivers/virtio-mmio", "CONFIG_VIRTIO_MMIO"),
    ("/sys/bus/virtio/drivers/virtio_blk", "CONFIG_VIRTIO_BLK"),
    ("/sys/bus/virtio/drivers/virtio_console", "CONFIG_VIRTIO_CONSOLE"),
];

/// Less free space on the scratch disk than this is none: file systems keep some for themselves.
const FULL: u64 = 1 << 20;

/// Runs as process 1 of the machine.
pub(crate) fn main() -> ExitCode {
    process::set_name(c"hypr-agent");
    process::umask(0o077);
    match prepare() {
        Ok(mut channel) => {
            if let Err(failed) = session::serve_machine(&mut channel) {
                let _ = channel.send(&Report::Failed(failed.0));
            }
            channel.wait_for_end();
        }
        // Without a channel there is the kernel's log, whose last lines hypr shows.
        Err(Failed(failure)) => say(&format!("cannot {}: {}", failure.action, shown(failure.errno, &failure.reason))),
    }
    // The kernel panics at the end of its first program, and the machine ends.
    ExitCode::FAILURE
}

fn prepare() -> Result<Channel, Failed> {
    let plain = NO_SUID | NO_DEV | NO_EXEC;
    for directory in ["/proc", "/sys", "/dev", "/new"] {
        make(directory)?;
    }
    mount_file_system(c"dev", "/dev", "devtmpfs", NO_SUID | NO_EXEC, "mode=755").context("mount /dev")?;
    load_modules()?;
    // A root that others can be exchanged for, which the first file system is not.
    mount_file_system(c"root", "/new", "tmpfs", NO_SUID | NO_DEV, "mode=755").context("mount the root")?;
    std::env::set_current_dir("/new").context("enter the root")?;
    for directory in ["proc", "sys", "dev", "layers", "scratch"] {
        make(directory)?;
    }
    mount_file_system(c"dev", "dev", "devtmpfs", NO_SUID | NO_EXEC, "mode=755").context("mount /dev")?;
    mount_file_system(c"proc", "proc", "proc", plain, "").context("mount /proc")?;
    mount_file_system(c"sys", "sys", "sysfs", plain, "").context("mount /sys")?;
    mount::move_working_directory_to_root().context("change the root")?;
    check_kernel()?;
    mount_file_system(c"cgroup", CGROUPS, "cgroup2", plain, "").context("mount the control groups")?;
    open_channel()
}

/// Tells of everything at once that the kernel has neither built in nor as a module that was given along. A channel
/// without a driver would be waited for, and a stack of layers be found to be impossible only by the first step.
fn check_kernel() -> Result<(), Failed> {
    let known = fs::read_to_string("/proc/filesystems").context("list the kernel's file systems")?;
    let is_known = |kind: &str| known.lines().any(|line| line.rsplit('\t').next() == Some(kind));
    let file_systems = FILE_SYSTEMS.into_iter().filter(|(kind, _)| !is_known(kind)).map(|(_, option)| option);
    let drivers = DRIVERS.into_iter().filter(|(directory, _)| fs::metadata(directory).is_err());
    let lacks: Vec<_> = file_systems.chain(drivers.map(|(_, option)| option)).collect();
    match lacks.is_empty() {
        true => Ok(()),
        false => {
            let reason = format!("the guest kernel lacks {}", lacks.join(", "));
            Err(Failed::new(FailureKind::Setup, "set up the machine", reason))
        }
    }
}

/// Loads what lies in [`MODULES`], in the order of the names.
fn load_modules() -> Result<(), Failed> {
    let mut modules: Vec<_> = match fs::read_dir(MODULES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.context("list the kernel's modules")?.flatten().map(|entry| entry.path()).collect(),
    };
    modules.sort();
    for path in modules {
        let action = format!("load the kernel module {}", path.display());
        let file = File::open(&path).context(&action)?;
        module::load(file.as_fd()).context(&action)?;
    }
    // What was loaded needs its file no more, which takes memory as long as the machine lives.
    fs::remove_dir_all(MODULES).context("remove the kernel's modules")
}

/// The port appears some time after its device's driver has begun.
fn open_channel() -> Result<Channel, Failed> {
    let mut patience = 30_000;
    loop {
        match OpenOptions::new().read(true).write(true).open(CHANNEL) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && patience > 0 => {
                patience -= 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            port => return port.context(&format!("open {CHANNEL}")).map(Channel::over_port),
        }
    }
}

/// A machine whose disks are mounted.
#[derive(Debug)]
pub(crate) struct Machine {
    scratch: File,
}

impl Machine {
    /// Mounts the layers and the scratch disk, makes the step's control group, and hands `channel` what hypr would.
    pub(crate) fn set_up(wanted: &protocol::Machine, channel: &mut Channel) -> Result<Self, Failed> {
        let disk = File::open(LAYERS).context(&format!("open {LAYERS}"))?;
        for (number, (start, length)) in wanted.layers.iter().enumerate() {
            let action = format!("mount layer {number}");
            let partition = i32::try_from(number + 1).unwrap_or(i32::MAX);
            block::add_partition(disk.as_fd(), partition, *start, *length).context(&action)?;
            let directory = layer_directory(number);
            make(&directory)?;
            let device = c_string(&format!("{LAYERS}{partition}"));
            let flags = READ_ONLY | NO_DEV | NO_ATIME;
            mount_file_system(&device, &directory, "squashfs", flags, "").context(&action)?;
        }
        let options = "noinit_itable,errors=continue";
        mount_file_system(&c_string(SCRATCH), "/scratch", "ext4", NO_DEV | NO_ATIME, options)
            .context("mount the scratch disk")?;
        let scratch = File::open("/scratch").context("open the scratch disk")?;
        let directory = scratch.try_clone().context("open the scratch disk")?;
        let [processes, groups] = make_group(wanted)?;
        channel.supply([directory.into(), processes, groups]);
        Ok(Self { scratch })
    }

    /// What the step used.
    pub(crate) fn account(&self) -> Account {
        let read = |name: &str| fs::read_to_string(format!("{GROUP}/{name}")).unwrap_or_default();
        let happened = |name: &str, event: &str| {
            let lines = read(name);
            let count = lines.lines().find_map(|line| line.strip_prefix(event)?.trim().parse::<u64>().ok());
            count.is_some_and(|count| count > 0)
        };
        let free = sys_fs::free_space(self.scratch.as_fd());
        Account {
            peak_memory: read("memory.peak").trim().parse().unwrap_or(0),
            out_of_memory: happened("memory.events", "oom_kill "),
            out_of_pids: happened("pids.events", "max "),
            out_of_scratch: free.is_ok_and(|(bytes, files)| bytes < FULL || files == 0),
        }
    }
}

/// Mounts a file system, and says what the kernel lacks if it does not know it.
fn mount_file_system(source: &CStr, target: &str, kind: &str, flags: c_ulong, options: &str) -> io::Result<()> {
    mount::mount(source, &c_string(target), &c_string(kind), flags, &c_string(options)).map_err(|error| {
        let option = || FILE_SYSTEMS.into_iter().find(|(name, _)| *name == kind).map_or("", |(_, option)| option);
        match error.raw_os_error() {
            Some(ENODEV) => io::Error::other(format!("the guest kernel lacks {kind} ({})", option())),
            Some(EINVAL) if kind == "squashfs" => match compression(source) {
                Some(option) => io::Error::other(format!("the guest kernel cannot read it; does it lack {option}?")),
                None => error,
            },
            _ => error,
        }
    })
}

/// The option that a kernel can unpack the squashfs image on `device` by (squashfs 4.0, superblock).
fn compression(device: &CStr) -> Option<&'static str> {
    let mut superblock = [0; 22];
    File::open(device.to_str().ok()?).and_then(|mut file| file.read_exact(&mut superblock)).ok()?;
    match (superblock.starts_with(b"hsqs"), u16::from_le_bytes([superblock[20], superblock[21]])) {
        (true, 1) => Some("CONFIG_SQUASHFS_ZLIB"),
        (true, 3) => Some("CONFIG_SQUASHFS_LZO"),
        (true, 4) => Some("CONFIG_SQUASHFS_XZ"),
        (true, 5) => Some("CONFIG_SQUASHFS_LZ4"),
        (true, 6) => Some("CONFIG_SQUASHFS_ZSTD"),
        _ => None,
    }
}

/// Makes the step's control group; returns its `cgroup.procs` and the directory it is in.
fn make_group(wanted: &protocol::Machine) -> Result<[OwnedFd; 2], Failed> {
    let action = "make the step's control group";
    for controller in ["+memory", "+pids", "+cpu"] {
        match fs::write(format!("{CGROUPS}/cgroup.subtree_control"), controller) {
            // Only what is to be limited is needed.
            Err(_) if controller == "+cpu" => {}
            Err(_) if controller == "+memory" && wanted.memory == 0 => {}
            Err(_) if controller == "+pids" && wanted.pids == 0 => {}
            Err(error) => {
                let reason = format!("the guest kernel does not limit {} ({error})", &controller[1..]);
                return Err(Failed::new(FailureKind::Setup, action, reason));
            }
            Ok(()) => {}
        }
    }
    make(GROUP)?;
    for (name, value) in [("memory.max", wanted.memory), ("pids.max", wanted.pids)] {
        if value > 0 {
            fs::write(format!("{GROUP}/{name}"), value.to_string()).context(action)?;
        }
    }
    let processes = OpenOptions::new().write(true).open(format!("{GROUP}/cgroup.procs")).context(action)?;
    let groups = File::open(CGROUPS).context(action)?;
    Ok([processes.into(), groups.into()])
}

fn make(directory: &str) -> Result<(), Failed> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.context(&format!("make {directory}")),
    }
}

/// Writes to the kernel's log as an emergency, which is shown however quiet the kernel is.
fn say(text: &str) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = log.write_all(format!("<0>hypr-agent: {text}\n").as_bytes());
    }
}

fn shown(errno: i32, reason: &str) -> String {
    if errno == 0 { reason.to_owned() } else { io::Error::from_raw_os_error(errno).to_string() }
}

/// Names made here hold no zero bytes.
fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
