//! A `/dev` of the sandbox's own.
//!
//! No file system of the sandbox lets device nodes be opened, so that `mknod`, which a process may well call, gives
//! access to nothing. The few devices that everyone needs are mounted one by one from a place that does.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::symlink,
};

use crate::{
    attributes,
    failure::{Context, Failed},
    protocol::{FailureKind, Program},
    sys::{
        device,
        mount::{self, NO_DEV, NO_EXEC, NO_SUID},
    },
};

const ENODEV: i32 = 19;
const EINVAL: i32 = 22;

/// Character devices: name, major and minor number.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

/// Mounts and fills the directory `dev`. In a user namespace, which cannot make device nodes, the host's are taken.
pub(crate) fn populate(dev: &str, user_namespace: bool, programs: &[Program]) -> Result<(), Failed> {
    tmpfs(dev, NO_SUID | NO_DEV, "mode=755,size=65536k").context("mount /dev")?;
    let source = if user_namespace { "/dev".to_owned() } else { make_nodes().context("make device nodes")? };
    for (name, ..) in NODES {
        let target = format!("{dev}/{name}");
        fs::write(&target, []).context("make /dev")?;
        mount::bind(&c_string(&format!("{source}/{name}")), &c_string(&target), 0)
            .context(&format!("mount /dev/{name}"))?;
    }
    for (name, target) in LINKS {
        symlink(target, format!("{dev}/{name}")).context("make /dev")?;
    }
    for name in ["pts", "shm", "mqueue"] {
        fs::create_dir(format!("{dev}/{name}")).context("make /dev")?;
        attributes::set_mode(&format!("{dev}/{name}"), 0o755).context("make /dev")?;
    }
    for program in programs {
        place(dev, program)?;
    }
    mount_terminals(&format!("{dev}/pts")).context("mount /dev/pts")?;
    tmpfs(&format!("{dev}/shm"), NO_SUID | NO_DEV | NO_EXEC, "mode=1777,size=65536k").context("mount /dev/shm")?;
    let plain = NO_SUID | NO_DEV | NO_EXEC;
    match mount::mount(c"mqueue", &c_string(&format!("{dev}/mqueue")), c"mqueue", plain, c"") {
        // A kernel without message queues.
        Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(()),
        other => other.context("mount /dev/mqueue"),
    }
}

/// Writes `program` to its place below `dev`, which is nothing but what was made above.
fn place(dev: &str, program: &Program) -> Result<(), Failed> {
    let path = String::from_utf8_lossy(&program.path);
    let action = format!("place the program {path}");
    let relative =
        path.strip_prefix("/dev/").filter(|path| path.split('/').all(|name| !matches!(name, "" | "." | "..")));
    let relative = relative.ok_or_else(|| Failed::new(FailureKind::Setup, &action, "it is not below /dev"))?;
    let mut directory = dev.to_owned();
    let (parents, name) = relative.rsplit_once('/').unwrap_or(("", relative));
    for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
        directory = format!("{directory}/{parent}");
        if !fs::exists(&directory).context(&action)? {
            fs::create_dir(&directory).context(&action)?;
            attributes::set_mode(&directory, 0o755).context(&action)?;
        }
    }
    let place = format!("{directory}/{name}");
    // A new file: no link that was made above is followed.
    let mut file = File::create_new(&place).context(&action)?;
    file.write_all(&program.content).context(&action)?;
    attributes::set_mode(&place, 0o555).context(&action)
}

/// Makes the device nodes on a tmpfs of the stage where they can be opened.
fn make_nodes() -> io::Result<String> {
    let place = "devices";
    fs::create_dir(place)?;
    tmpfs(place, NO_SUID | NO_EXEC, "mode=700,size=64k")?;
    for (name, major, minor) in NODES {
        let node = format!("{place}/{name}");
        device::make(&c_string(&node), major, minor)?;
        attributes::set_mode(&node, 0o666)?;
    }
    Ok(place.to_owned())
}

fn mount_terminals(pts: &str) -> io::Result<()> {
    let mount = |options| mount::mount(c"devpts", &c_string(pts), c"devpts", NO_SUID | NO_EXEC, options);
    match mount(c"newinstance,ptmxmode=0666,mode=0620,gid=5") {
        // Group 5, tty, may have no place in a user namespace.
        Err(error) if error.raw_os_error() == Some(EINVAL) => mount(c"newinstance,ptmxmode=0666,mode=0620"),
        other => other,
    }
}

fn tmpfs(target: &str, flags: std::ffi::c_ulong, options: &str) -> io::Result<()> {
    mount::mount(c"tmpfs", &c_string(target), c"tmpfs", flags, &c_string(options))
}

/// Names made here hold no zero bytes.
fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
