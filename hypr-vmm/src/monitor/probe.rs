//! Whether KVM here runs kernels: some interpret ordinary guests, slowly and not all of their instructions.

use kvm_ioctls::{Cap, Kvm, VcpuExit};
use vm_memory::{Bytes, GuestAddress};

use super::{
    arch,
    failure::{Context, Failure},
    memory,
};

/// A page that the guest's program is in.
const CODE: u64 = 0x10_0000;
/// A page that it writes to.
const DATA: u64 = 0x20_0000;
/// The port that it says its results to.
const PORT: u16 = 0x500;

/// A program for 64-bit mode: `mov rsi, DATA`; compares and exchanges 16 bytes there; writes 0x42 to the port; halts.
///
/// Every kernel for x86-64 has such exchanges, and what interprets guests tends not to know them.
const PROGRAM: [u8; 26] = [
    0x48, 0xc7, 0xc6, 0x00, 0x00, 0x20, 0x00, // mov rsi, 0x200000
    0x31, 0xc0, // xor eax, eax
    0x31, 0xd2, // xor edx, edx
    0xf0, 0x48, 0x0f, 0xc7, 0x0e, // lock cmpxchg16b [rsi]
    0xb0, 0x42, // mov al, 0x42
    0x66, 0xba, 0x00, 0x05, // mov dx, 0x500
    0xee, // out dx, al
    0xf4, // hlt
    0xeb, 0xfd, // jmp hlt
];

/// How many virtual processors a guest may have, or why KVM cannot be used.
pub(crate) fn probe(kvm: &Kvm) -> Result<Result<usize, String>, Failure> {
    for (capability, name) in [
        (Cap::Irqchip, "an in-kernel interrupt controller"),
        (Cap::Ioeventfd, "ioeventfd"),
        (Cap::Irqfd, "irqfd"),
        (Cap::UserMemory, "guest memory of the monitor's own"),
        (Cap::ExtCpuid, "a list of the processor's features"),
    ] {
        if !kvm.check_extension(capability) {
            return Ok(Err(format!("it lacks {name}")));
        }
    }
    Ok(run_program(kvm)?.map(|()| kvm.get_max_vcpus()))
}

/// Whether the program ran to its end, or why it did not.
fn run_program(kvm: &Kvm) -> Result<Result<(), String>, Failure> {
    let action = "try KVM";
    let vm = kvm.create_vm().context(action)?;
    let memory = memory::reserve(4 << 20)?;
    memory::register(&vm, &memory)?;
    memory.write_slice(&PROGRAM, GuestAddress(CODE)).context(action)?;
    let tables = arch::write_page_tables(&memory)?;
    let mut vcpu = vm.create_vcpu(0).context(action)?;
    vcpu.set_cpuid2(&arch::supported_cpuid(kvm)?).context(action)?;
    arch::enter_long_mode(&vcpu, CODE, tables, DATA)?;
    // A few exits at most: for signals, and the one that counts.
    for _ in 0..16 {
        match vcpu.run() {
            Ok(VcpuExit::IoOut(PORT, [0x42])) => return Ok(Ok(())),
            Ok(VcpuExit::Intr) => {}
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {}
            Ok(VcpuExit::InternalError) => {
                let reason = "it interprets guests instead of running them, and cannot run a kernel";
                return Ok(Err(reason.to_owned()));
            }
            Ok(other) => return Ok(Err(format!("a program of ten instructions ended in {other:?}"))),
            Err(error) => return Ok(Err(format!("a program of ten instructions does not run: {error}"))),
        }
    }
    Ok(Err("a program of ten instructions does not come to its end".to_owned()))
}
