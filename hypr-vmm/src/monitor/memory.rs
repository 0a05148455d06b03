//! The guest's memory: private, anonymous, and given by the host page by page when it is touched.

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap, MmapRegion, mmap::MmapRegionBuilder,
};

use super::{
    arch::layout,
    failure::{Context, Failure},
};

/// The guest's memory.
pub type Memory = vm_memory::GuestMemoryMmap<()>;

/// The size of a large page: host and guest addresses that agree in these bits can share one, which takes one fault
/// where small pages take 512.
const LARGE_PAGE: usize = 2 << 20;

/// Reserves `bytes` of memory, with a hole for devices below 4 GiB.
pub fn reserve(bytes: u64) -> Result<Memory, Failure> {
    let action = "reserve the guest's memory";
    let low = bytes.min(layout::HOLE);
    let mut regions = vec![region(0, low)?];
    if bytes > low {
        regions.push(region(layout::HOLE_END, bytes - low)?);
    }
    Memory::from_regions(regions).context(action)
}

fn region(start: u64, length: u64) -> Result<GuestRegionMmap<()>, Failure> {
    let action = "reserve the guest's memory";
    let length = usize::try_from(length).context(action)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at a place of the kernel's choice.
    let reserved = unsafe { libc::mmap(std::ptr::null_mut(), length + LARGE_PAGE, libc::PROT_NONE, flags, -1, 0) };
    if reserved == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error()).context(action);
    }
    let aligned = reserved.wrapping_byte_add(reserved.align_offset(LARGE_PAGE));
    // SAFETY: the range lies in the mapping above, which nothing else knows of.
    if unsafe { libc::mprotect(aligned, length, protection) } != 0 {
        return Err(std::io::Error::last_os_error()).context(action);
    }
    // A host without large pages goes on with small ones.
    // SAFETY: the range lies in the mapping above.
    let _ = unsafe { libc::madvise(aligned, length, libc::MADV_HUGEPAGE) };
    let builder = MmapRegionBuilder::<()>::new(length).with_mmap_prot(protection).with_mmap_flags(flags);
    // SAFETY: the mapping is `length` bytes long, has this protection and these flags, and stays until the process ends.
    let builder = unsafe { builder.with_raw_mmap_pointer(aligned.cast()) };
    let region: MmapRegion<()> = builder.build().context(action)?;
    GuestRegionMmap::new(region, GuestAddress(start)).ok_or_else(|| Failure::new(action, "it wraps around"))
}

/// Makes `memory` that of `vm`.
pub(crate) fn register(vm: &VmFd, memory: &Memory) -> Result<(), Failure> {
    let action = "give the guest its memory";
    for (slot, region) in (0..).zip(memory.iter()) {
        let address = region.as_ptr().expose_provenance();
        let slot = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: u64::try_from(address).context(action)?,
        };
        // SAFETY: the region is mapped until the process ends: nothing unmaps it, and `Memory` lives in `main`.
        unsafe { vm.set_user_memory_region(slot) }.context(action)?;
    }
    Ok(())
}
