//! Tries to reach what no step may reach, and prints what it reached: compiled by the tests into one static program.

use std::{
    ffi::{CString, c_char, c_int, c_long, c_void},
    fs,
    os::unix::fs::OpenOptionsExt,
};

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn mknod(path: *const c_char, mode: u32, device: u64) -> c_int;
}

const PIDFD_OPEN: c_long = 434;
const PIDFD_GETFD: c_long = 438;
const PTRACE: c_long = 101;
const PROCESS_VM_READV: c_long = 310;
const IOPL: c_long = 172;
const FINIT_MODULE: c_long = 313;
const KEXEC_LOAD: c_long = 246;
const REBOOT: c_long = 169;
const BLOCK: u32 = 0o060_600;
const CHARACTER: u32 = 0o020_600;

fn main() {
    let tried = |what: &str, reached: bool| {
        if reached {
            println!("{what}");
        }
    };
    // SAFETY: the arguments are those of each system call, and what they point to lives as long as it is used.
    unsafe {
        let init = syscall(PIDFD_OPEN, 1_i64, 0_i64);
        for number in 0..64_i64 {
            tried("a descriptor of the init", syscall(PIDFD_GETFD, init, number, 0_i64) >= 0);
        }
        let attach = 16_i64;
        tried("the init, by ptrace", syscall(PTRACE, attach, 1_i64, 0_i64, 0_i64) >= 0);
        let mut buffer = [0_u8; 16];
        let local = [buffer.as_mut_ptr().cast::<c_void>() as u64, 16];
        let remote = [0x40_0000_u64, 16];
        let read = syscall(PROCESS_VM_READV, 1_i64, local.as_ptr(), 1_i64, remote.as_ptr(), 1_i64, 0_i64);
        tried("the memory of the init", read >= 0);
        tried("all ports", syscall(IOPL, 3_i64) >= 0);
        tried("modules", syscall(FINIT_MODULE, 0_i64, c"".as_ptr(), 0_i64) >= 0);
        tried("another kernel", syscall(KEXEC_LOAD, 0_i64, 0_i64, 0_i64, 0_i64) >= 0);
        tried("a reset", syscall(REBOOT, 0xfee1_dead_i64, 672_274_793_i64, 0x1234_567_i64, 0_i64) >= 0);
    }
    // Memory, ports and the kernel's log; consoles; ports of the channel; disks of machines and loop devices.
    let characters = [(1, 1), (1, 4), (1, 11), (4, 64), (5, 1), (10, 237), (229, 0)];
    let mut devices: Vec<(u32, u64, u64)> = characters.into_iter().map(|(a, b)| (CHARACTER, a, b)).collect();
    devices.extend((240..256).flat_map(|major| (0..4).map(move |minor| (CHARACTER, major, minor))));
    devices.extend((240..260).flat_map(|major| (0..20).map(move |minor| (BLOCK, major, minor))));
    devices.extend([(BLOCK, 7, 0), (BLOCK, 8, 0), (BLOCK, 259, 0)]);
    for (kind, major, minor) in devices {
        let name = format!("/tmp/node-{kind:o}-{major}-{minor}");
        let path = CString::new(name.clone()).unwrap();
        let device = (major & 0xfff) << 8 | (minor & 0xff) | (minor & !0xff) << 12;
        // SAFETY: the path ends in a zero.
        if unsafe { mknod(path.as_ptr(), kind, device) } == 0 {
            let opened = fs::OpenOptions::new().read(true).custom_flags(0o4000).open(&name);
            tried(&format!("the device {major}:{minor}"), opened.is_ok());
            fs::remove_file(&name).unwrap();
        }
    }
    for entry in fs::read_dir("/dev").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let is_known =
            ["vd", "vport", "loop", "sd", "mem", "port", "kmsg", "kvm"].iter().any(|one| name.starts_with(one));
        tried(&name, is_known);
    }
    // The numbers of its descriptors are told to root, but not what they are.
    let descriptors = fs::read_dir("/proc/1/fd").into_iter().flatten().flatten().map(|entry| entry.path());
    for path in descriptors.chain(["mem", "root", "cwd", "environ", "exe"].map(|name| format!("/proc/1/{name}").into()))
    {
        let read = fs::File::open(&path).is_ok_and(|mut file| {
            let mut byte = [0];
            std::io::Read::read(&mut file, &mut byte).is_ok_and(|count| count > 0)
        });
        tried(&path.display().to_string(), read || fs::read_link(&path).is_ok() || fs::read_dir(&path).is_ok());
    }
}
