//! Measures how long a machine takes until its first program speaks: ours beside QEMU's `microvm`, with the same kernel,
//! first file system and command line, in turns.
//!
//! `benches/boots/run.sh` has it run in the lab, where there is a KVM that runs kernels, and puts the table into
//! `benches/README.md`.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::{
    error::Error,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::{
        fd::AsRawFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use hypr_build::kernel::{KernelSource, Kernels};
use hypr_vmm::{Exits, Vm};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// That of hypr's machines.
const COMMAND_LINE: &str = "quiet loglevel=3 earlycon=uart8250,io,0x3f8 keep_bootcon rdinit=/init reboot=k panic=-1 \
    pci=off mitigations=off audit=0 cryptomgr.notests 8250.nr_uarts=0 tsc=reliable no_timer_check \
    random.trust_cpu=on swiotlb=noforce rcupdate.rcu_expedited=1 nowatchdog raid=noautodetect";
const MEMORY: u32 = 256;
/// The descriptor that QEMU finds the channel at.
const CHANNEL: i32 = 10;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Makes a kernel and a first file system ready in a folder
    Prepare { kernel: PathBuf, folder: PathBuf },
    /// Boots what folders hold and prints a table
    Measure {
        #[arg(long, default_value_t = 10)]
        rounds: usize,
        folders: Vec<PathBuf>,
    },
    /// Puts the table that comes on the standard input between two marks of a file
    Put { readme: PathBuf },
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Prepare { kernel, folder } => prepare(kernel, &folder),
        Task::Measure { rounds, folders } => measure(rounds, &folders),
        Task::Put { readme } => put(&readme),
    }
}

fn prepare(kernel: PathBuf, folder: &Path) -> Result<()> {
    let kept = tempfile::tempdir()?;
    let kernel = Kernels::new(kept.path()).find(&KernelSource { image: Some(kernel), modules: None })?;
    fs::create_dir_all(folder)?;
    fs::write(folder.join("version"), kernel.version())?;
    let files = kept.path().join(kernel.id());
    fs::copy(files.join("vmlinux"), folder.join("vmlinux"))?;
    let root = tempfile::tempdir()?;
    for directory in ["dev", "modules"] {
        fs::create_dir(root.path().join(directory))?;
    }
    let record: serde_json::Value = serde_json::from_slice(&fs::read(files.join("kernel.json"))?)?;
    let modules = record["modules"].as_array().into_iter().flatten().filter_map(|name| name.as_str());
    for (number, name) in modules.enumerate() {
        fs::copy(files.join(name), root.path().join(format!("modules/{number:04}-{name}")))?;
    }
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/boots/init.rs");
    run(Command::new("rustc")
        .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "panic=abort", "-o"])
        .arg(root.path().join("init"))
        .arg(source))?;
    let archive = File::create(folder.join("initramfs"))?;
    let script = "mknod dev/null c 1 3 && find . | cpio --quiet -o -H newc -R 0:0";
    run(Command::new("sh").args(["-ec", script]).current_dir(root.path()).stdout(archive))
}

fn run(command: &mut Command) -> Result<()> {
    match command.status()? {
        status if status.success() => Ok(()),
        status => Err(format!("{command:?}: {status}").into()),
    }
}

/// One boot.
#[derive(Debug, Clone, Copy)]
struct Boot {
    wall: Duration,
    /// User and system time of the monitor's process, the guest's included.
    cpu: Duration,
    /// Bytes of memory beside the guest's.
    own_memory: u64,
    exits: Option<Exits>,
}

fn measure(rounds: usize, folders: &[PathBuf]) -> Result<()> {
    println!("| kernel | machine | wall s | CPU s | of QEMU's | exits to the monitor | all exits | own memory MiB |");
    println!("|---|---|---|---|---|---|---|---|");
    for folder in folders {
        let version = fs::read_to_string(folder.join("version"))?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        // One of each beforehand, so that both find all files in memory.
        for round in 0..=rounds {
            let pair = (boot_ours(folder)?, boot_qemu(folder)?);
            if round > 0 {
                ours.push(pair.0);
                theirs.push(pair.1);
            }
        }
        let median = |boots: &[Boot], of: fn(&Boot) -> f64| {
            let mut values: Vec<f64> = boots.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let cpu = |boots: &[Boot]| median(boots, |boot| boot.cpu.as_secs_f64());
        for (name, boots) in [("hypr-vmm", &ours), ("QEMU microvm", &theirs)] {
            let ratio = cpu(boots) / cpu(&theirs);
            let wall = median(boots, |boot| boot.wall.as_secs_f64());
            let own = median(boots, |boot| boot.own_memory as f64 / f64::from(1 << 20));
            let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
            let exits = boots.iter().filter_map(|boot| boot.exits).next_back();
            let (ours, all) = (count(exits.map(|exits| exits.to_monitor())), count(exits.and_then(|exits| exits.all)));
            let cpu = cpu(boots);
            println!("| {version} | {name} | {wall:.2} | {cpu:.2} | {ratio:.2} | {ours} | {all} | {own:.1} |");
        }
    }
    Ok(())
}

fn boot_ours(folder: &Path) -> Result<Boot> {
    let begin = Instant::now();
    let mut vm = Vm::builder(File::open(folder.join("vmlinux"))?)
        .initramfs(File::open(folder.join("initramfs"))?)
        .whole_command_line(COMMAND_LINE)
        .memory(MEMORY)
        .start()?;
    expect_hello(vm.channel())?;
    let wall = begin.elapsed();
    let process = vm.process_id();
    let (cpu, own_memory) = (cpu_time(process)?, own_memory(process)?);
    let exits = Some(vm.stop()?.activity.exits);
    Ok(Boot { wall, cpu, own_memory, exits })
}

fn boot_qemu(folder: &Path) -> Result<Boot> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let begin = Instant::now();
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-M", "microvm,acpi=on,rtc=off", "-accel", "kvm", "-cpu", "host", "-smp", "1"])
        .args(["-m", &MEMORY.to_string(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(folder.join("vmlinux"))
        .arg("-initrd")
        .arg(folder.join("initramfs"))
        .args(["-append", COMMAND_LINE, "-serial", "null", "-device", "virtio-serial-device"])
        .args(["-chardev", &format!("socket,id=channel,fd={CHANNEL}"), "-device", "virtserialport,chardev=channel"])
        .stdin(Stdio::null());
    let descriptor = theirs.as_raw_fd();
    // SAFETY: only calls that may be made between fork and exec are made; the descriptor is open until the child is there.
    unsafe {
        command.pre_exec(move || match libc::dup2(descriptor, CHANNEL) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let mut child = command.spawn()?;
    drop(theirs);
    let result = expect_hello(&mut ours);
    let wall = begin.elapsed();
    let measured = cpu_time(child.id()).and_then(|cpu| Ok((cpu, own_memory(child.id())?)));
    child.kill()?;
    child.wait()?;
    result?;
    let (cpu, own_memory) = measured?;
    Ok(Boot { wall, cpu, own_memory, exits: None })
}

fn expect_hello(channel: &mut UnixStream) -> Result<()> {
    channel.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut line = String::new();
    BufReader::new(channel).read_line(&mut line)?;
    if line == "hello\n" { Ok(()) } else { Err(format!("the guest said {line:?}").into()) }
}

/// Time on a processor of a process and its guest, all threads together.
fn cpu_time(process: u32) -> Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        total += text.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// Bytes of memory that a process has to itself, without those of the guest: its largest mapping.
fn own_memory(process: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps"))?;
    let (mut all, mut largest) = (0, (0, 0));
    let mut size = 0;
    for line in text.lines() {
        let field = |name: &str| {
            let text = line.strip_prefix(name)?.trim().strip_suffix(" kB")?;
            text.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
        };
        if let Some(bytes) = field("Size:") {
            size = bytes;
        }
        if let Some(bytes) = field("Pss:") {
            all += bytes;
            largest = largest.max((size, bytes));
        }
    }
    Ok(all - largest.1)
}

/// Replaces what is between the marks.
fn put(readme: &Path) -> Result<()> {
    const BEGIN: &str = "<!-- boots: begin; written by `boots`, not by hand -->\n";
    const END: &str = "<!-- boots: end -->";
    let table = io::read_to_string(io::stdin())?;
    let text = fs::read_to_string(readme)?;
    let begin = text.find(BEGIN).ok_or("the file has no mark for the table")? + BEGIN.len();
    let end = begin + text[begin..].find(END).ok_or("the file has no mark for the table's end")?;
    let mut file = File::create(readme)?;
    file.write_all([&text[..begin], &table, &text[end..]].concat().as_bytes())?;
    Ok(())
}
