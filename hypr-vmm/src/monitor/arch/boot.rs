//! Loading a kernel: by the PVH protocol as an ELF file, or as a bzImage by Linux's 64-bit protocol.

use std::fs::File;

use kvm_ioctls::VcpuFd;
use linux_loader::loader::{
    BzImage, Elf, KernelLoader,
    bootparam::{boot_params, setup_header},
    elf::{
        PvhBootCapability,
        start_info::{
            XEN_HVM_MEMMAP_TYPE_ACPI, XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry,
            hvm_modlist_entry, hvm_start_info,
        },
    },
};
use vm_memory::{ByteValued, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::{acpi, cpu, layout};
use crate::monitor::{
    failure::{Context, Failure},
    memory::Memory,
};

/// Where the 64-bit protocol's entry is in a loaded bzImage (Linux boot protocol, "64-bit boot protocol").
const LONG_MODE_OFFSET: u64 = 0x200;
/// The bit of `xloadflags` that says there is such an entry.
const XLF_KERNEL_64: u16 = 1;

/// What is loaded besides the kernel.
#[derive(Debug)]
pub(crate) struct Payload<'a> {
    pub(crate) initramfs: Option<(&'a File, u64)>,
    pub(crate) command_line: &'a str,
    pub(crate) vcpus: u8,
    pub(crate) interrupts: &'a [u32],
}

/// How the first processor enters the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// In 32-bit protected mode, with [`layout::START_INFO`] in `ebx`.
    Pvh(u64),
    /// In 64-bit mode, with the boot parameters in `rsi`.
    Long(u64),
}

impl Entry {
    /// Sets the registers of the first processor.
    pub(crate) fn prepare(self, vcpu: &VcpuFd) -> Result<(), Failure> {
        match self {
            Self::Pvh(address) => cpu::enter_pvh(vcpu, address, layout::START_INFO),
            Self::Long(address) => cpu::enter_long_mode(vcpu, address, layout::PAGE_TABLES, layout::START_INFO),
        }
    }
}

/// Puts the kernel and all that it looks for into `memory`.
pub(crate) fn load(memory: &Memory, kernel: &mut File, payload: &Payload<'_>) -> Result<Entry, Failure> {
    let (entry, header, kernel_end) = load_kernel(memory, kernel)?;
    let tables = acpi::tables(payload.vcpus, payload.interrupts);
    memory.write_slice(&tables, GuestAddress(layout::ACPI)).context("write the ACPI tables")?;
    write_command_line(memory, payload.command_line)?;
    let module = load_initramfs(memory, payload.initramfs, kernel_end)?;
    match entry {
        Entry::Pvh(_) => write_start_info(memory, module)?,
        Entry::Long(_) => write_boot_params(memory, header.unwrap_or_default(), module)?,
    }
    Ok(entry)
}

fn load_kernel(memory: &Memory, kernel: &mut File) -> Result<(Entry, Option<setup_header>, u64), Failure> {
    let high = GuestAddress(layout::HIGH_MEMORY);
    let action = "load the kernel";
    match Elf::load(memory, None, kernel, Some(high)) {
        Ok(loaded) => match loaded.pvh_boot_cap {
            PvhBootCapability::PvhEntryPresent(entry) => Ok((Entry::Pvh(entry.0), None, loaded.kernel_end)),
            _ => Err(Failure::new(action, "it has no PVH entry; it needs the option CONFIG_PVH")),
        },
        Err(linux_loader::loader::Error::Elf(
            linux_loader::loader::elf::Error::InvalidElfMagicNumber | linux_loader::loader::elf::Error::ReadElfHeader,
        )) => {
            let loaded = BzImage::load(memory, None, kernel, Some(high)).map_err(|error| {
                Failure::new(
                    action,
                    format!("it is neither an ELF file nor a bzImage that fits into the memory ({error})"),
                )
            })?;
            let header = loaded.setup_header.unwrap_or_default();
            if header.xloadflags & XLF_KERNEL_64 == 0 {
                return Err(Failure::new(action, "it has no 64-bit entry"));
            }
            // It unpacks itself to where it prefers to be, so that has to be free as well.
            let unpacked = header.pref_address.saturating_add(header.init_size.into());
            let entry = loaded.kernel_load.0.saturating_add(LONG_MODE_OFFSET);
            Ok((Entry::Long(entry), Some(header), loaded.kernel_end.max(unpacked)))
        }
        Err(error) => Err(Failure::new(action, error.to_string())),
    }
}

fn write_command_line(memory: &Memory, line: &str) -> Result<(), Failure> {
    let action = "write the kernel's command line";
    if line.len() > layout::COMMAND_LINE_MAX {
        let reason = format!("it has {} bytes; Linux takes {}", line.len(), layout::COMMAND_LINE_MAX);
        return Err(Failure::new(action, reason));
    }
    if line.contains('\0') {
        return Err(Failure::new(action, "it contains a zero byte"));
    }
    memory.write_slice(&[line.as_bytes(), &[0]].concat(), GuestAddress(layout::COMMAND_LINE)).context(action)
}

/// Loads the initramfs to the end of the memory below the hole; returns where it is and its length.
fn load_initramfs(memory: &Memory, file: Option<(&File, u64)>, kernel_end: u64) -> Result<Option<(u64, u64)>, Failure> {
    let Some((file, length)) = file else { return Ok(None) };
    let action = "load the initramfs";
    let top = memory.find_region(GuestAddress(0)).map_or(0, GuestMemoryRegion::len);
    let start = top.checked_sub(length).map(|start| start & !0xfff).filter(|start| *start >= kernel_end);
    let start = start.ok_or_else(|| {
        Failure::new(action, format!("{} MiB of memory are too few for it and the kernel", top >> 20))
    })?;
    let count = usize::try_from(length).context(action)?;
    memory.read_exact_volatile_from(GuestAddress(start), &mut &*file, count).context(action)?;
    Ok(Some((start, length)))
}

/// RAM, and the place of the ACPI tables, as the guest is told.
fn memory_map(memory: &Memory) -> Vec<(u64, u64, u32)> {
    let mut map = vec![
        (0, layout::LOW_MEMORY_END, XEN_HVM_MEMMAP_TYPE_RAM),
        (layout::ACPI, layout::HIGH_MEMORY - layout::ACPI, XEN_HVM_MEMMAP_TYPE_ACPI),
    ];
    for region in memory.iter() {
        let start = region.start_addr().0.max(layout::HIGH_MEMORY);
        let end = region.start_addr().0 + region.len();
        map.push((start, end.saturating_sub(start), XEN_HVM_MEMMAP_TYPE_RAM));
    }
    map
}

/// The start information of PVH (Xen's `hvm/start_info.h`).
fn write_start_info(memory: &Memory, module: Option<(u64, u64)>) -> Result<(), Failure> {
    let action = "write the start information";
    let map = memory_map(memory);
    let info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        nr_modules: module.is_some().into(),
        modlist_paddr: layout::MODULES,
        cmdline_paddr: layout::COMMAND_LINE,
        rsdp_paddr: layout::ACPI,
        memmap_paddr: layout::MEMORY_MAP,
        memmap_entries: u32::try_from(map.len()).unwrap_or_default(),
        ..hvm_start_info::default()
    };
    memory.write_obj(Plain(info), GuestAddress(layout::START_INFO)).context(action)?;
    if let Some((paddr, size)) = module {
        let entry = hvm_modlist_entry { paddr, size, ..hvm_modlist_entry::default() };
        memory.write_obj(Plain(entry), GuestAddress(layout::MODULES)).context(action)?;
    }
    let entries = map.into_iter().map(|(addr, size, type_)| hvm_memmap_table_entry { addr, size, type_, reserved: 0 });
    for (number, entry) in (0..).zip(entries) {
        memory.write_obj(Plain(entry), GuestAddress(layout::MEMORY_MAP + number * 24)).context(action)?;
    }
    Ok(())
}

/// The "zero page" and page tables of the 64-bit protocol.
fn write_boot_params(memory: &Memory, header: setup_header, module: Option<(u64, u64)>) -> Result<(), Failure> {
    let action = "write the boot parameters";
    let mut params = boot_params { hdr: header, ..boot_params::default() };
    params.hdr.type_of_loader = 0xff;
    params.hdr.cmd_line_ptr = u32::try_from(layout::COMMAND_LINE).context(action)?;
    params.hdr.cmdline_size = u32::try_from(layout::COMMAND_LINE_MAX).context(action)?;
    params.acpi_rsdp_addr = layout::ACPI;
    if let Some((start, length)) = module {
        params.hdr.ramdisk_image = u32::try_from(start).context(action)?;
        params.hdr.ramdisk_size = u32::try_from(length).context(action)?;
    }
    let map = memory_map(memory);
    params.e820_entries = u8::try_from(map.len()).context(action)?;
    for (entry, (addr, size, kind)) in params.e820_table.iter_mut().zip(map) {
        (entry.addr, entry.size, entry.r#type) = (addr, size, kind);
    }
    memory.write_obj(params, GuestAddress(layout::START_INFO)).context(action)?;
    write_page_tables(memory).map(drop)
}

/// Maps the first gigabyte to itself, in pages of 2 MiB; returns the address of the tables.
pub(crate) fn write_page_tables(memory: &Memory) -> Result<u64, Failure> {
    let action = "write the page tables";
    const PRESENT_AND_WRITABLE: u64 = 3;
    const LARGE: u64 = 0x80;
    let (directories, directory) = (layout::PAGE_TABLES + 0x1000, layout::PAGE_TABLES + 0x2000);
    memory.write_obj(directories | PRESENT_AND_WRITABLE, GuestAddress(layout::PAGE_TABLES)).context(action)?;
    memory.write_obj(directory | PRESENT_AND_WRITABLE, GuestAddress(directories)).context(action)?;
    for number in 0..512u64 {
        let entry = number << 21 | PRESENT_AND_WRITABLE | LARGE;
        memory.write_obj(entry, GuestAddress(directory + number * 8)).context(action)?;
    }
    Ok(layout::PAGE_TABLES)
}

/// A structure of the protocol as it lies in memory.
#[derive(Debug, Clone, Copy, Default)]
#[repr(transparent)]
struct Plain<T>(T);

// SAFETY: the structure is `repr(C)`, consists of integers alone and has no padding.
unsafe impl ByteValued for Plain<hvm_start_info> {}
// SAFETY: as above.
unsafe impl ByteValued for Plain<hvm_modlist_entry> {}
// SAFETY: as above.
unsafe impl ByteValued for Plain<hvm_memmap_table_entry> {}
