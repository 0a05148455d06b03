//! Where things lie in the guest's physical memory.
//!
//! The first 640 KiB and everything from 1 MiB on is RAM, with a hole below 4 GiB for devices.

/// The start information of PVH, or the boot parameters of the 64-bit protocol, which take the whole page.
pub(crate) const START_INFO: u64 = 0x6000;
/// PVH's list of modules, which is the initramfs.
pub(crate) const MODULES: u64 = 0x6800;
/// PVH's memory map.
pub(crate) const MEMORY_MAP: u64 = 0x7000;
/// Where the first processor's stack begins, downwards, when it enters in 64-bit mode.
pub(crate) const STACK: u64 = 0x8ff0;
/// The page tables that 64-bit mode is entered on, three pages.
pub(crate) const PAGE_TABLES: u64 = 0x9000;
/// The kernel's command line.
pub(crate) const COMMAND_LINE: u64 = 0x2_0000;
/// The longest command line that Linux reads on x86, without its zero.
pub(crate) const COMMAND_LINE_MAX: usize = 2047;
/// Where conventional memory ends.
pub(crate) const LOW_MEMORY_END: u64 = 0xa_0000;
/// The ACPI tables; where firmware has them, so that a kernel without the boot protocol's hint finds them too.
pub(crate) const ACPI: u64 = 0xe_0000;
/// Where RAM goes on.
pub(crate) const HIGH_MEMORY: u64 = 0x10_0000;
/// The hole for devices begins.
pub(crate) const HOLE: u64 = 3 << 30;
/// The hole for devices ends.
pub(crate) const HOLE_END: u64 = 4 << 30;
/// The first virtio device's registers; one page a device.
pub(crate) const MMIO: u64 = 0xd000_0000;
/// Bytes between the registers of two devices.
pub(crate) const MMIO_STRIDE: u64 = 0x1000;
/// The first virtio device's interrupt.
pub(crate) const FIRST_INTERRUPT: u32 = 5;
/// The I/O APIC's registers.
pub(crate) const IO_APIC: u32 = 0xfec0_0000;
/// The local APIC's registers.
pub(crate) const LOCAL_APIC: u32 = 0xfee0_0000;
/// Three pages that KVM wants for itself on Intel processors.
pub(crate) const TSS: usize = 0xfffb_d000;
