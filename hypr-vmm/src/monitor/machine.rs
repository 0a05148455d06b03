//! Putting a machine together.

use std::{
    fs::File,
    os::{
        fd::{FromRawFd, IntoRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex, OnceLock},
};

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
use kvm_ioctls::{IoEventAddress, Kvm, VcpuFd, VmFd};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::{
    arch::{self, layout},
    devices::{Extents, VirtioDevice, block::Block, console::Console, legacy::Ports, mmio::MmioDevice},
    exits::Counters,
    failure::{Context, Failure},
    memory::{self, Memory},
    vcpu::Bus,
    worker::Attached,
};
use crate::wire;

/// A machine that has everything but a kernel.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) _vm: VmFd,
    pub(crate) vcpus: Vec<VcpuFd>,
    pub(crate) bus: Arc<Bus>,
    pub(crate) counters: Arc<Counters>,
    /// The disks, in order, and how large each is.
    pub(crate) disks: Vec<(Arc<OnceLock<Extents>>, u64)>,
    pub(crate) attached_disks: Vec<Attached>,
    /// The channel's.
    pub(crate) attached_console: Vec<Attached>,
    /// Until they are loaded.
    kernel: Option<File>,
    initramfs: Option<(File, u64)>,
    memory: Arc<Memory>,
    interrupts: Vec<u32>,
}

/// The descriptors that come with a machine, in the order of [`wire::Request::Start`].
pub(crate) struct Descriptors(std::vec::IntoIter<OwnedFd>);

impl Descriptors {
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> Self {
        Self(descriptors.into_iter())
    }

    pub(crate) fn next(&mut self, what: &str) -> Result<OwnedFd, Failure> {
        self.0.next().ok_or_else(|| Failure::new(format!("take over {what}"), "its descriptor was not passed"))
    }
}

impl Machine {
    /// Builds the machine that `start` describes.
    pub(crate) fn build(kvm: &Kvm, start: &wire::Start, mut descriptors: Descriptors) -> Result<Self, Failure> {
        let console = File::from(descriptors.next("the console")?);
        let kernel = File::from(descriptors.next("the kernel")?);
        let initramfs = start.has_initramfs.then(|| descriptors.next("the initramfs")).transpose()?;
        let channel = UnixStream::from(descriptors.next("the channel")?);
        let mut files: Vec<_> = descriptors.0.map(Some).collect();

        let vm = kvm.create_vm().context("make a virtual machine")?;
        let memory = Arc::new(memory::reserve(start.memory)?);
        memory::register(&vm, &memory)?;
        set_up_interrupts(&vm)?;
        let cpuid = arch::supported_cpuid(kvm)?;
        let vcpus = (0..start.vcpus).map(|id| {
            let vcpu = vm.create_vcpu(id.into()).context("make a virtual processor")?;
            arch::set_up(&vcpu, &cpuid, id, start.vcpus)?;
            Ok(vcpu)
        });
        let vcpus = vcpus.collect::<Result<Vec<_>, Failure>>()?;

        let counters = Arc::new(Counters::default());
        channel.set_nonblocking(true).context("open the channel")?;
        let watched = OwnedFd::from(channel.try_clone().context("open the channel")?);
        // First, since the guest names its port by the device's number.
        let mut devices: Vec<(Box<dyn VirtioDevice>, Option<OwnedFd>)> =
            vec![(Box::new(Console::new(channel)), Some(watched))];
        let mut disks = Vec::new();
        for disk in &start.disks {
            let extents = Arc::new(OnceLock::new());
            if !disk.extents.is_empty() {
                let bound = bound(disk.extents.clone(), &mut files, disk.capacity)?;
                let _ = extents.set(bound);
            }
            let block = Block::new(disk.capacity, disk.is_writable, Arc::clone(&extents), Arc::clone(&counters));
            devices.push((Box::new(block), None));
            disks.push((extents, disk.capacity));
        }

        let interrupts: Vec<u32> = (layout::FIRST_INTERRUPT..).take(devices.len()).collect();
        let mut attached = Vec::new();
        for ((device, socket), interrupt) in devices.into_iter().zip(&interrupts) {
            attached.push(attach(&vm, device, socket, attached.len(), *interrupt)?);
        }
        let bus = Bus {
            ports: Mutex::new(Ports::new(console)),
            devices: attached.iter().map(|attached| Arc::clone(&attached.device)).collect(),
            notifications: attached.iter().map(|attached| attached.notifications.clone()).collect(),
            memory: Arc::clone(&memory),
            counters: Arc::clone(&counters),
        };
        let attached_disks = attached.split_off(1);
        let initramfs = initramfs.map(|file| {
            let file = File::from(file);
            let length = file.metadata().context("look at the initramfs")?.len();
            Ok((file, length))
        });
        Ok(Self {
            _vm: vm,
            vcpus,
            bus: Arc::new(bus),
            counters,
            disks,
            attached_disks,
            attached_console: attached,
            kernel: Some(kernel),
            initramfs: initramfs.transpose()?,
            memory,
            interrupts,
        })
    }

    /// Loads the kernel, which is the first thing here that is not hypr's own.
    pub(crate) fn load(&mut self, start: &wire::Start) -> Result<(), Failure> {
        let initramfs = self.initramfs.take();
        let payload = arch::Payload {
            initramfs: initramfs.as_ref().map(|(file, length)| (file, *length)),
            command_line: &start.command_line,
            vcpus: start.vcpus,
            interrupts: &self.interrupts,
        };
        match (self.kernel.take(), self.vcpus.first()) {
            (Some(mut kernel), Some(first)) => arch::load(&self.memory, &mut kernel, &payload)?.prepare(first),
            _ => Err(Failure::new("start the machine", "it has no processor")),
        }
    }

    /// Shows `extents` on a disk that has none.
    pub(crate) fn bind(&self, disk: usize, extents: Vec<wire::Extent>, files: Vec<OwnedFd>) -> Result<(), Failure> {
        let refused = |reason: &str| Failure::new("lay out a disk", reason);
        let (slot, capacity) = self.disks.get(disk).ok_or_else(|| refused("there is no disk of this number"))?;
        let mut files: Vec<_> = files.into_iter().map(Some).collect();
        let extents = bound(extents, &mut files, *capacity)?;
        slot.set(extents).map_err(|_| refused("the disk shows something already"))
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

/// `extents` with those of `files` that they name, each of which belongs to one of them.
fn bound(mut extents: Vec<wire::Extent>, files: &mut [Option<OwnedFd>], capacity: u64) -> Result<Extents, Failure> {
    let mut own = Vec::with_capacity(extents.len());
    for extent in &mut extents {
        let file = files.get_mut(extent.file).and_then(Option::take);
        own.push(file.ok_or_else(|| Failure::new("lay out a disk", "an extent's file was not passed"))?);
        extent.file = own.len() - 1;
    }
    Extents::new(extents, own, capacity)
}

/// Takes over `/dev/kvm`.
pub(crate) fn kvm(descriptor: OwnedFd) -> Kvm {
    // SAFETY: the descriptor is owned, and nobody else's from here on.
    unsafe { Kvm::from_raw_fd(descriptor.into_raw_fd()) }
}

fn set_up_interrupts(vm: &VmFd) -> Result<(), Failure> {
    vm.set_tss_address(layout::TSS).context("give KVM its pages")?;
    vm.create_irq_chip().context("make the interrupt controllers")?;
    // Kernels calibrate by it, and read the speaker's port to do so.
    let timer = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..kvm_pit_config::default() };
    vm.create_pit2(timer).context("make the timer")
}

fn attach(
    vm: &VmFd,
    device: Box<dyn VirtioDevice>,
    socket: Option<OwnedFd>,
    number: usize,
    interrupt: u32,
) -> Result<Attached, Failure> {
    let action = "attach a device";
    let base = layout::MMIO + layout::MMIO_STRIDE * u64::try_from(number).context(action)?;
    let line = EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK).context(action)?;
    vm.register_irqfd(&line, interrupt).context(action)?;
    let device = MmioDevice::new(device, line)?;
    let mut notifications = Vec::new();
    for queue in (0u32..).take(device.queue_count()) {
        let notification = EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK).context(action)?;
        vm.register_ioevent(&notification, &IoEventAddress::Mmio(base + 0x50), queue).context(action)?;
        notifications.push(Arc::new(notification));
    }
    Ok(Attached { device: Arc::new(device), notifications, socket })
}
