//! Layers as mounts that are attached nowhere.
//!
//! Each layer's file system is kept alive by one detached mount for as long as the executor lives, and every sandbox
//! gets a mount of its own of the same file system, which costs three system calls. Nothing has to be unmounted: the
//! last descriptor, or the end of the process that holds it, frees mount and loop device.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::loop_device::LoopDevice;
use crate::{Digest, executor::ExecutorError, snapshot::Layer};

/// The mounts of the layers that were used so far.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    mounted: Mutex<HashMap<Digest, Arc<Mounted>>>,
}

/// A layer that stays mounted.
#[derive(Debug)]
struct Mounted {
    device: PathBuf,
    _mount: OwnedFd,
}

impl Layers {
    /// A detached mount of each of `layers`, in their order. Where `/dev` lacks nodes they are made in `nodes`.
    ///
    /// # Errors
    /// Fails when a layer's file is gone or damaged, or the machine does not let it be mounted.
    pub(crate) fn mounts(&self, layers: &[&Layer], nodes: &Path) -> Result<Vec<OwnedFd>, ExecutorError> {
        layers.iter().map(|layer| self.mount_of(layer, nodes)).collect()
    }

    fn mount_of(&self, layer: &Layer, nodes: &Path) -> Result<OwnedFd, ExecutorError> {
        let failed = |source: io::Error| {
            let action = format!("mount the layer {}", layer.path.display());
            ExecutorError::Setup { action, source }
        };
        let mut mounted = self.mounted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = mounted.get(&layer.id.file) {
            let known = Arc::clone(known);
            drop(mounted);
            return mount(&known.device).map_err(failed);
        }
        let device = LoopDevice::attach(&layer.path, nodes).map_err(failed)?;
        let first = mount(device.path()).map_err(failed)?;
        let second = mount(device.path()).map_err(failed)?;
        let device = device.path().to_owned();
        mounted.insert(layer.id.file, Arc::new(Mounted { device, _mount: first }));
        Ok(second)
    }
}

/// A detached mount of the squashfs on `device`. The kernel has one instance of it however often it is mounted.
fn mount(device: &Path) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("squashfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", device)?;
    rustix::mount::fsconfig_set_flag(&context, "ro")?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOATIME;
    Ok(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}
