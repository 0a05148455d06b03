//! Boots a kernel with an initramfs and prints what the guest says on its channel, until it closes that or ends:
//! `cargo run --example boot -- VMLINUX INITRAMFS [DISK]`.

#![expect(clippy::print_stderr, reason = "a program for people")]

use std::{error::Error, fs::File, io};

use hypr_vmm::{Disk, Vm};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(kernel), Some(initramfs)) = (arguments.next(), arguments.next()) else {
        return Err("usage: boot VMLINUX INITRAMFS [DISK]".into());
    };
    let mut machine = Vm::builder(hypr_vmm::kernel::open(&kernel)?).initramfs(File::open(initramfs)?).memory(256);
    if let Some(disk) = arguments.next() {
        machine = machine.disk(Disk::read_only(File::open(disk)?)?);
    }
    let mut vm = machine.start()?;
    io::copy(vm.channel(), &mut io::stdout())?;
    let ended = vm.stop()?;
    eprintln!("{}, after {} exits to the monitor", ended.end, ended.activity.exits.to_monitor());
    eprint!("{}", vm.console());
    Ok(())
}
