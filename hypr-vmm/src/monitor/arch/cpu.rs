//! Virtual processors: what they say they are, and how they begin.

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_cpuid_entry2, kvm_fpu, kvm_lapic_state, kvm_msr_entry, kvm_regs,
    kvm_segment,
};
use kvm_ioctls::{Kvm, VcpuFd};

use super::layout;
use crate::monitor::failure::{Context, Failure};

/// What `CPUID` says, but for what differs between the processors of one machine.
pub(crate) fn supported_cpuid(kvm: &Kvm) -> Result<CpuId, Failure> {
    let action = "ask KVM for the processor's features";
    let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).context(action)?;
    // Newer kernels list the first level of the topology alone; a machine has two.
    for function in [0xb, 0x1f] {
        let of_function = |entry: &&kvm_cpuid_entry2| entry.function == function;
        let first = cpuid.as_slice().iter().find(of_function).copied();
        if let Some(first) = first.filter(|_| cpuid.as_slice().iter().filter(of_function).count() == 1) {
            cpuid.push(kvm_cpuid_entry2 { index: 1, ..first }).context(action)?;
        }
    }
    Ok(cpuid)
}

/// Makes `vcpu` the processor number `id` of `count`.
pub(crate) fn set_up(vcpu: &VcpuFd, cpuid: &CpuId, id: u8, count: u8) -> Result<(), Failure> {
    vcpu.set_cpuid2(&numbered(cpuid, id, count)).context("set the processor's features")?;
    set_registers_of_the_reset(vcpu)?;
    set_interrupt_lines(vcpu)
}

/// Has `vcpu` begin in 32-bit protected mode without paging, as the PVH boot protocol has it.
pub(crate) fn enter_pvh(vcpu: &VcpuFd, entry: u64, start_info: u64) -> Result<(), Failure> {
    let mut special = vcpu.get_sregs().context("read the processor's registers")?;
    let flat = |kind, code| kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector: if code { 0x10 } else { 0x18 },
        type_: kind,
        present: 1,
        s: 1,
        db: 1,
        g: 1,
        ..kvm_segment::default()
    };
    special.cs = flat(0xb, true);
    let data = flat(0x3, false);
    (special.ds, special.es, special.fs, special.gs, special.ss) = (data, data, data, data, data);
    special.tr = kvm_segment { limit: 0x67, selector: 0x20, type_: 0xb, present: 1, ..kvm_segment::default() };
    // Protection on; the other bit is fixed at 1.
    special.cr0 = 0x11;
    (special.cr4, special.efer) = (0, 0);
    vcpu.set_sregs(&special).context("set the processor's registers")?;
    let general = kvm_regs { rip: entry, rbx: start_info, rflags: 2, ..kvm_regs::default() };
    vcpu.set_regs(&general).context("set the processor's registers")
}

/// Has `vcpu` begin in 64-bit mode on the page tables at `page_tables`, with `rsi` for what the 64-bit boot protocol of
/// Linux calls its boot parameters.
pub(crate) fn enter_long_mode(vcpu: &VcpuFd, entry: u64, page_tables: u64, rsi: u64) -> Result<(), Failure> {
    let mut special = vcpu.get_sregs().context("read the processor's registers")?;
    let segment = |selector, kind, long: u8| kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_: kind,
        present: 1,
        s: 1,
        db: 1 - long,
        l: long,
        g: 1,
        ..kvm_segment::default()
    };
    special.cs = segment(0x10, 0xb, 1);
    let data = segment(0x18, 0x3, 0);
    (special.ds, special.es, special.fs, special.gs, special.ss) = (data, data, data, data, data);
    // Paging, write protection and protection; physical address extension and SSE; long mode enabled and active.
    special.cr3 = page_tables;
    (special.cr0, special.cr4, special.efer) = (0x8001_0031, 0x620, 0x500);
    vcpu.set_sregs(&special).context("set the processor's registers")?;
    let general = kvm_regs { rip: entry, rsi, rflags: 2, rsp: layout::STACK, ..kvm_regs::default() };
    vcpu.set_regs(&general).context("set the processor's registers")
}

fn numbered(cpuid: &CpuId, id: u8, count: u8) -> CpuId {
    const HYPERVISOR: u32 = 1 << 31;
    const DEADLINE_TIMER: u32 = 1 << 24;
    const HYPER_THREADING: u32 = 1 << 28;
    // Virtualization of its own is not for guests: much of the host's kernel is reached by it.
    const INTEL_VIRTUALIZATION: u32 = 1 << 5;
    const AMD_VIRTUALIZATION: u32 = 1 << 2;
    let mut cpuid = cpuid.clone();
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            0x1 => {
                entry.ebx = entry.ebx & 0xffff | u32::from(count) << 16 | u32::from(id) << 24;
                entry.ecx = entry.ecx & !INTEL_VIRTUALIZATION | HYPERVISOR | DEADLINE_TIMER;
                entry.edx = if count > 1 { entry.edx | HYPER_THREADING } else { entry.edx & !HYPER_THREADING };
            }
            // Caches: each is of one core alone.
            0x4 => entry.eax = entry.eax & 0x3fff | u32::from(count.saturating_sub(1)).min(63) << 26,
            // The topology: one thread a core, all cores in one package.
            0xb | 0x1f => {
                entry.edx = id.into();
                let width = u8::BITS - count.saturating_sub(1).leading_zeros();
                (entry.eax, entry.ebx, entry.ecx) = match entry.index {
                    0 => (0, 1, 1 << 8),
                    1 => (width, count.into(), 2 << 8 | 1),
                    index => (0, 0, index),
                };
            }
            0x8000_0001 => entry.ecx &= !AMD_VIRTUALIZATION,
            0x8000_000a => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
            // AMD: the number of cores, and the processor's own number.
            0x8000_0008 => entry.ecx = entry.ecx & !0xf0ff | u32::from(count.saturating_sub(1)),
            0x8000_001e => {
                entry.eax = id.into();
                entry.ebx = entry.ebx & !0xffff | u32::from(id);
            }
            _ => {}
        }
    }
    cpuid
}

fn set_registers_of_the_reset(vcpu: &VcpuFd) -> Result<(), Failure> {
    const MISC_ENABLE: u32 = 0x1a0;
    const MTRR_DEFAULT: u32 = 0x2ff;
    let entry = |index, data| kvm_msr_entry { index, data, ..kvm_msr_entry::default() };
    // Fast string operations; all memory is write-back.
    let entries = [entry(MISC_ENABLE, 1), entry(MTRR_DEFAULT, 1 << 11 | 6)];
    let registers = Msrs::from_entries(&entries).context("list model specific registers")?;
    vcpu.set_msrs(&registers).context("set model specific registers")?;
    let floats = kvm_fpu { fcw: 0x37f, mxcsr: 0x1f80, ..kvm_fpu::default() };
    vcpu.set_fpu(&floats).context("set the floating point unit")
}

/// Routes the legacy interrupt line and the non-maskable one, as firmware does.
fn set_interrupt_lines(vcpu: &VcpuFd) -> Result<(), Failure> {
    const LINT0: usize = 0x350;
    const LINT1: usize = 0x360;
    const MODE: u32 = 0x700;
    const EXTERNAL: u32 = 0x700;
    const NON_MASKABLE: u32 = 0x400;
    let mut apic = vcpu.get_lapic().context("read the local APIC")?;
    for (register, mode) in [(LINT0, EXTERNAL), (LINT1, NON_MASKABLE)] {
        let value = register_of(&apic, register) & !MODE | mode;
        set_register(&mut apic, register, value);
    }
    vcpu.set_lapic(&apic).context("set the local APIC")
}

fn register_of(apic: &kvm_lapic_state, offset: usize) -> u32 {
    let byte = |number: usize| apic.regs.get(offset + number).map_or(0, |byte| byte.cast_unsigned());
    u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
}

fn set_register(apic: &mut kvm_lapic_state, offset: usize, value: u32) {
    for (place, byte) in apic.regs.iter_mut().skip(offset).zip(value.to_le_bytes()) {
        *place = byte.cast_signed();
    }
}
