//! Machines from outside: what their process may do, and how they end. Their guests are a few instructions long, so that
//! any `/dev/kvm` runs them.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use hypr_vmm::{Disk, End, Error, Extent, Vm};

/// Where a guest is loaded and begins, in 32-bit protected mode.
const BASE: u32 = 0x10_0000;

// `hlt` with interrupts off, which lasts.
const WAIT: &[u8] = &[0xfa, 0xf4, 0xeb, 0xfc];
/// `mov dx, 0x3f8; mov al, 'h'; out dx, al; mov al, '\n'; out dx, al`.
const PRINT: &[u8] = &[0x66, 0xba, 0xf8, 0x03, 0xb0, b'h', 0xee, 0xb0, b'\n', 0xee];
/// `mov al, 0xfe; out 0x64, al`.
const RESET: &[u8] = &[0xb0, 0xfe, 0xe6, 0x64];

/// A kernel of these instructions: an ELF file with a PVH entry.
fn kernel(code: &[&[u8]]) -> File {
    let code = code.concat();
    let header = |kind: u32, offset: u64, address: u64, length: u64| {
        let words = [offset, address, address, length, length, 4];
        [&kind.to_le_bytes()[..], &7_u32.to_le_bytes(), &words.map(u64::to_le_bytes).concat()].concat()
    };
    let note = [&[4_u32, 4, 18].map(u32::to_le_bytes).concat()[..], b"Xen\0", &BASE.to_le_bytes()].concat();
    let mut image = [&b"\x7fELF\x02\x01\x01"[..], &[0; 9], &[2, 0, 62, 0, 1, 0, 0, 0]].concat();
    image.extend([u64::from(BASE), 64, 0].map(u64::to_le_bytes).concat());
    image.extend([0_u16, 0, 64, 56, 2, 64, 0, 0].map(u16::to_le_bytes).concat());
    image.extend(header(1, 0x1000, BASE.into(), code.len() as u64));
    image.extend(header(4, 64 + 2 * 56, 0, note.len() as u64));
    image.extend(note);
    image.resize(0x1000, 0);
    image.extend(code);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&image).unwrap();
    file
}

/// A machine of these instructions, or `None` without KVM.
fn machine(code: &[&[u8]]) -> Option<Vm> {
    let scratch = tempfile::tempfile().unwrap();
    scratch.set_len(1 << 20).unwrap();
    let disk = Disk::writable(scratch).unwrap();
    match Vm::builder(kernel(code)).memory(32).disk(disk).disk(Disk::unbound(1 << 20)).start() {
        Err(Error::Missing | Error::Denied { .. } | Error::Open(_) | Error::Architecture) => None,
        other => Some(other.unwrap()),
    }
}

fn status(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn every_thread_of_a_monitor_is_in_the_jail() {
    let Some(vm) = machine(&[WAIT]) else { return };
    let process = PathBuf::from(format!("/proc/{}", vm.process_id()));
    let threads = fs::read_dir(process.join("task")).unwrap().map(|entry| status(entry.unwrap().path().join("status")));
    // Newer kernels have a thread of their own in each process that has a machine.
    let threads: Vec<_> = threads.filter(|status| !status.starts_with("Name:\tkvm-")).collect();
    assert_eq!(threads.len(), 3, "the main thread, the disks' and one processor's: {threads:#?}");
    for status in threads {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name}: {status}")).trim().to_owned()
        };
        assert_eq!((field("Seccomp:"), field("NoNewPrivs:")), ("2".to_owned(), "1".to_owned()));
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            // Who has none may not give up those that others could give.
            let is_root = rustix::process::geteuid().is_root();
            assert!(field(set) == "0000000000000000" || set == "CapBnd:" && !is_root, "{set} {status}");
        }
        if rustix::process::geteuid().is_root() {
            assert_eq!(field("Uid:"), "65534\t65534\t65534\t65534");
        }
    }
    for (what, is_closed) in vm.jail().parts() {
        assert!(is_closed || what.ends_with("landlock") || what == "unprivileged user", "{what}");
    }
}

#[test]
fn a_machine_tells_how_it_ended() {
    let Some(mut vm) = machine(&[PRINT, RESET, WAIT]) else { return };
    let ended = vm.wait().unwrap();
    assert_eq!((ended.end, vm.console()), (End::Reset, "h\n".to_owned()));
    assert_eq!(ended.activity.exits.port_writes, 2, "the reset is no exit that is gone on from");
    let Some(mut vm) = machine(&[WAIT]) else { return };
    assert_eq!(vm.stop().unwrap().end, End::Stopped);
    assert!(matches!(vm.stop(), Err(Error::Lost { .. })), "it was stopped already");
}

#[test]
fn a_machine_ends_with_its_value_and_its_channel_with_it() {
    let Some(mut vm) = machine(&[WAIT]) else { return };
    let process = PathBuf::from(format!("/proc/{}", vm.process_id()));
    let mut channel = vm.channel().try_clone().unwrap();
    drop(vm);
    assert!(!process.exists());
    let mut said = Vec::new();
    channel.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // Nothing, or that nobody is there any more.
    let begin = Instant::now();
    let _ = channel.read_to_end(&mut said);
    assert!(said.is_empty() && begin.elapsed() < Duration::from_secs(60));
}

#[test]
fn extents_that_cannot_be_shown_are_refused_and_the_machine_goes_on() {
    let Some(mut vm) = machine(&[WAIT]) else { return };
    let file = Arc::new(tempfile::tempfile().unwrap());
    let extent = |start, length| Extent { start, length, file: Arc::clone(&file), offset: 0 };
    for (disk, extents, reason) in [
        (2, vec![extent(0, 4096)], "no disk of this number"),
        (0, vec![extent(0, 4096)], "shows something already"),
        (1, vec![extent(0, 4096), extent(512, 4096)], "overlap"),
        (1, vec![extent(1 << 20, 512)], "not on it"),
        (1, vec![extent(0, 512); 4097], "4096 extents"),
    ] {
        let error = vm.bind(disk, &extents).unwrap_err();
        assert!(matches!(error, Error::Extents { .. }) && error.to_string().contains(reason), "{error}");
    }
    vm.bind(1, &[extent(4096, 4096), extent(0, 512)]).unwrap();
    let error = vm.bind(1, &[extent(0, 512)]).unwrap_err().to_string();
    assert!(error.contains("shows something already"), "{error}");
    assert_eq!(vm.stop().unwrap().end, End::Stopped);
}

#[test]
fn what_is_no_kernel_is_refused_with_the_reason() {
    if machine(&[WAIT]).is_none() {
        return;
    }
    let file = |content: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    };
    let mut without_entry = Vec::new();
    let mut kernel = kernel(&[WAIT]);
    std::io::Seek::rewind(&mut kernel).unwrap();
    kernel.read_to_end(&mut without_entry).unwrap();
    without_entry[64 + 2 * 56 + 8] = 17;
    for (content, reason) in [
        (&b""[..], "neither an ELF file nor a bzImage"),
        (&[0; 8192], "neither an ELF file nor a bzImage"),
        (&without_entry, "CONFIG_PVH"),
    ] {
        let error = Vm::builder(file(content)).start().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let many = (0..17).fold(Vm::builder(file(&without_entry)), |builder, _| builder.disk(Disk::unbound(512)));
    assert!(many.start().unwrap_err().to_string().contains("16 disks"));
    let large = Vm::builder(file(&without_entry)).command_line(&"x".repeat(3000)).start().unwrap_err().to_string();
    assert!(large.contains("CONFIG_PVH") || large.contains("2047"), "{large}");
}
