//! How often KVM left the guest, as KVM itself counts (KVM API, `KVM_GET_STATS_FD`).

use std::{
    fs::File,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::fs::FileExt,
    },
};

use kvm_ioctls::VcpuFd;

/// The request; Linux 5.14 and later know it.
const KVM_GET_STATS_FD: libc::Ioctl = 0xaece;
/// What the counter of all exits is called.
const NAME: &[u8] = b"exits";

/// Where each processor's count is found.
#[derive(Debug)]
pub(crate) struct Statistics(Vec<(File, u64)>);

impl Statistics {
    /// Finds the counters of `vcpus`; none where KVM has none.
    pub(crate) fn open(vcpus: &[VcpuFd]) -> Self {
        Self(vcpus.iter().filter_map(counter).collect())
    }

    /// All exits so far.
    pub(crate) fn exits(&self) -> Option<u64> {
        let counts = self.0.iter().map(|(file, offset)| {
            let mut value = [0; 8];
            file.read_exact_at(&mut value, *offset).ok().map(|()| u64::from_ne_bytes(value))
        });
        counts.sum::<Option<u64>>().filter(|_| !self.0.is_empty())
    }
}

fn counter(vcpu: &VcpuFd) -> Option<(File, u64)> {
    // SAFETY: the request takes no argument, and answers with a new descriptor or an error.
    let descriptor = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_GET_STATS_FD, 0) };
    // SAFETY: the descriptor is new and nobody else's.
    let file = (descriptor >= 0).then(|| unsafe { File::from_raw_fd(descriptor) })?;
    let mut header = [0; 24];
    file.read_exact_at(&mut header, 0).ok()?;
    // `flags`, `name_size`, `num_desc`, `id_offset`, `desc_offset`, `data_offset`.
    let mut words = header.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap_or_default()));
    let (_, name_size, count, _, descriptors, data) =
        (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    let mut descriptor = vec![0; usize::try_from(name_size.min(4096)).ok()? + 16];
    let stride = descriptor.len() as u64;
    for number in 0..u64::from(count.min(4096)) {
        file.read_exact_at(&mut descriptor, u64::from(descriptors) + number * stride).ok()?;
        let (fixed, name) = descriptor.split_at(16);
        if name.split(|byte| *byte == 0).next() == Some(NAME) {
            let offset = u32::from_ne_bytes(fixed[8..12].try_into().ok()?);
            return Some((file, u64::from(data) + u64::from(offset)));
        }
    }
    None
}
