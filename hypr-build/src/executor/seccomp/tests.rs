//! The filter, run by a small interpreter of classic BPF over every call, and by the kernel over real programs.

use std::{
    process::{Command, Output, Stdio},
    thread,
};

use seccompiler::sock_filter;

use super::*;
use crate::executor::capabilities::Capability;

const X86_64: u32 = Abi::X86_64 as u32;
const I386: u32 = Abi::I386 as u32;
const AARCH64: u32 = Abi::Aarch64 as u32;
const ALLOW: u32 = 0x7fff_0000;

fn errno(number: u16) -> u32 {
    0x0005_0000 | u32::from(number)
}

fn filter(architecture: Architecture) -> Filter {
    Filter::new(architecture, Capabilities::DEFAULT).unwrap()
}

/// What the filter returns for a call.
fn run(filter: &Filter, abi: u32, number: u32, arguments: &[u64]) -> u32 {
    let mut data = [0u32; 16];
    (data[0], data[1]) = (number, abi);
    for (index, argument) in arguments.iter().enumerate() {
        data[4 + 2 * index] = u32::try_from(argument & 0xffff_ffff).unwrap();
        data[5 + 2 * index] = u32::try_from(argument >> 32).unwrap();
    }
    let (mut accumulator, mut at) = (0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = filter.0[at].clone();
        let taken = |condition: bool| usize::from(if condition { jt } else { jf });
        at += 1;
        match code {
            0x20 => accumulator = data[k as usize / 4],
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += taken(accumulator == k),
            0x25 => at += taken(accumulator > k),
            0x35 => at += taken(accumulator >= k),
            0x06 => return k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

#[test]
fn every_number_gets_the_verdict_of_the_profile() {
    for (architecture, abi, number) in [
        (Architecture::X86_64, X86_64, (|call| call.x86_64) as Column),
        (Architecture::X86_64, I386, |call| call.i386),
        (Architecture::Aarch64, AARCH64, |call| call.aarch64),
    ] {
        let filter = filter(architecture);
        let allowed: Vec<_> = ALWAYS.iter().filter_map(number).collect();
        let skipped: Vec<_> = [&CLONE, &CLONE3, &PERSONALITY, &SOCKET].into_iter().filter_map(number).collect();
        for call in 0..=HIGHEST {
            if skipped.contains(&call) {
                continue;
            }
            let chroot = WITH_CAPABILITY.iter().flat_map(|(_, calls)| *calls).find(|call| call.name == "chroot");
            let expected =
                if allowed.contains(&call) || number(chroot.unwrap()) == Some(call) { ALLOW } else { errno(EPERM) };
            assert_eq!(run(&filter, abi, call.into(), &[0; 6]), expected, "{abi:#x} {call}");
        }
        for call in [HIGHEST + 1, 1000, u16::MAX] {
            assert_eq!(run(&filter, abi, call.into(), &[]), errno(ENOSYS));
        }
    }
}

#[test]
fn a_name_is_in_the_profile_once() {
    let mut names: Vec<_> = ALWAYS.iter().map(|call| call.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn arguments_decide_on_namespaces_sockets_and_personalities() {
    let filter = filter(Architecture::X86_64);
    let (clone, socket, personality) = (56, 41, 135);
    for (number, argument, expected) in [
        // fork, and pthread_create, as glibc has them.
        (clone, 0x0120_0011, ALLOW),
        (clone, 0x003d_0f00, ALLOW),
        (clone, 0x1000_0011, errno(EPERM)),
        (clone, 0x0002_0011, errno(EPERM)),
        (clone, 0x4000_0011, errno(EPERM)),
        (socket, 1, ALLOW),
        (socket, 2, ALLOW),
        (socket, 10, ALLOW),
        (socket, 12, errno(EPERM)),
        (socket, 16, ALLOW),
        (socket, 17, ALLOW),
        (socket, 38, errno(EPERM)),
        (socket, 40, errno(EPERM)),
        // The kernel looks at the lower half alone.
        (socket, 40 | 1 << 32, errno(EPERM)),
        (socket, 45, ALLOW),
        (socket, 46, errno(EPERM)),
        (personality, 0, ALLOW),
        (personality, 8, ALLOW),
        (personality, 0x2_0008, ALLOW),
        (personality, 0xffff_ffff, ALLOW),
        // ADDR_NO_RANDOMIZE
        (personality, 0x0004_0000, errno(EPERM)),
    ] {
        assert_eq!(run(&filter, X86_64, number, &[argument]), expected, "{number}({argument:#x})");
    }
    assert_eq!(run(&filter, X86_64, 435, &[]), errno(ENOSYS));
    // The 32-bit numbers have the same rules.
    assert_eq!(run(&filter, I386, 120, &[0x1000_0000]), errno(EPERM));
    assert_eq!(run(&filter, I386, 359, &[40]), errno(EPERM));
}

#[test]
fn other_abis_are_unknown_calls() {
    let filter = filter(Architecture::X86_64);
    assert_eq!(run(&filter, X86_64, 0x4000_0000, &[]), errno(ENOSYS), "x32");
    assert_eq!(run(&filter, AARCH64, 0, &[]), errno(ENOSYS));
}

#[test]
fn capabilities_open_their_calls() {
    let (mount, chroot, clone, clone3) = (165, 161, 56, 435);
    let all = Capabilities::of(&[Capability::SysAdmin]);
    let filter = Filter::new(Architecture::X86_64, all).unwrap();
    for (number, expected) in [(mount, ALLOW), (clone, ALLOW), (clone3, ALLOW), (chroot, errno(EPERM))] {
        assert_eq!(run(&filter, X86_64, number, &[0x1000_0000]), expected, "{number}");
    }
}

#[test]
fn the_program_is_short_and_eight_bytes_an_instruction() {
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        let filter = filter(architecture);
        assert!(filter.0.len() < 1500, "{architecture:?}: {}", filter.0.len());
        assert_eq!(filter.to_bytes().len(), filter.0.len() * 8);
    }
    // Loads the ABI: BPF_LD | BPF_W | BPF_ABS, offset 4.
    assert_eq!(filter(Architecture::X86_64).to_bytes()[..8], [0x20, 0, 0, 0, 4, 0, 0, 0]);
}

/// Runs a program in a thread that has the filter, which the program inherits; `None` if there is no such program.
fn filtered(program: &str, arguments: &[&str]) -> Option<Output> {
    let filter = Filter::docker_default(Capabilities::DEFAULT).unwrap();
    thread::scope(|scope| {
        let run = || {
            seccompiler::apply_filter(&filter.0).unwrap();
            Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()
        };
        scope.spawn(run).join().unwrap()
    })
}

#[test]
fn ordinary_programs_run_under_the_filter() {
    let script = "mkdir d && cd d && (echo 1; echo 2) | sort -r | head -n 1 > f && ln -s f l && cat l && tar cf - . | wc -c \
                  && find . -type f -exec chmod 600 {} + ; sleep 0 & wait $!; cd ..; rm -r d";
    let threads = "import threading, subprocess, socket, tempfile, mmap, hashlib, multiprocessing\n\
                   t = threading.Thread(target=lambda: print('thread')); t.start(); t.join()\n\
                   socket.socketpair(); socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                   subprocess.run(['true'], check=True)";
    let dir = tempfile::tempdir().unwrap();
    let script = format!("cd {} && {script}", dir.path().display());
    for (program, arguments) in [
        ("sh", &["-ec", &script][..]),
        ("busybox", &["sh", "-ec", &script]),
        ("python3", &["-c", threads]),
        ("dpkg", &["--print-architecture"]),
        ("apt-cache", &["policy"]),
        ("perl", &["-e", "print `echo hello`; fork; wait"]),
        ("chroot", &["/", "true"]),
    ] {
        if let Some(output) = filtered(program, arguments) {
            // Root alone changes its root directory.
            let allowed = program != "chroot" || rustix::process::geteuid().is_root();
            assert_eq!(output.status.success(), allowed, "{program}: {output:?}");
        }
    }
}

#[test]
fn namespaces_are_refused_by_the_kernel() {
    for arguments in [["--user", "true"], ["--mount", "true"], ["--net", "true"]] {
        let Some(output) = filtered("unshare", &arguments) else { continue };
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("Operation not permitted"), "{said}");
    }
}

#[test]
fn calls_of_the_host_are_refused_by_the_kernel() {
    // mount, ptrace of oneself (PTRACE_TRACEME), keyctl, add_key, bpf, init_module, clone3, a call of the future.
    let calls = "import ctypes, errno\n\
                 libc = ctypes.CDLL(None, use_errno=True)\n\
                 for number in (165, 101, 250, 248, 321, 175, 435, 1000):\n\
                 \x20   ctypes.set_errno(0); libc.syscall(number, 0, 0, 0, 0, 0, 0)\n\
                 \x20   print(number, errno.errorcode.get(ctypes.get_errno(), 'allowed'))";
    if let Some(output) = filtered("python3", &["-c", calls])
        && std::env::consts::ARCH == "x86_64"
    {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = [
            "165 EPERM",
            "101 allowed",
            "250 EPERM",
            "248 EPERM",
            "321 EPERM",
            "175 EPERM",
            "435 ENOSYS",
            "1000 ENOSYS",
        ];
        assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{output:?}");
    }
}
