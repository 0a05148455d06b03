//! The layers of a step, one behind the other on one disk.

use std::{collections::HashMap, fs::File, sync::Arc};

use hypr_vmm::Extent;

use crate::{
    digest::Digest,
    executor::{
        ExecutorError,
        protocol::{self, Lower},
        request,
    },
    snapshot::{Layer, Snapshot},
};

/// Bytes of a page: where a layer begins on the disk is a multiple of it.
const PAGE: u64 = 4096;

/// Bytes of the disk, whatever is on it: far more than any stack of layers has.
pub(super) const CAPACITY: u64 = 1 << 44;

/// The most layers of one step: disks have no more partitions.
const MAX_LAYERS: usize = 255;

/// The disk of layers in the making. A layer is on it once, however often it is used.
#[derive(Debug, Default)]
pub(super) struct LayerDisk {
    numbers: HashMap<Digest, usize>,
    extents: Vec<Extent>,
}

impl LayerDisk {
    /// Puts the layers of `snapshot` on the disk; returns where the agent finds them, lowest first.
    ///
    /// # Errors
    /// Fails when a layer's file is gone, or there are too many of them.
    pub(super) fn add(&mut self, snapshot: &Snapshot) -> Result<Vec<Lower>, ExecutorError> {
        let layers = request::effective(snapshot);
        layers.into_iter().map(|layer| self.add_layer(layer)).collect()
    }

    fn add_layer(&mut self, layer: &Layer) -> Result<Lower, ExecutorError> {
        let next = self.extents.len();
        let number = *self.numbers.entry(layer.id.file).or_insert(next);
        if number == next {
            let action = || format!("put the layer {} on a disk", layer.path.display());
            if next == MAX_LAYERS {
                let source = std::io::Error::other(format!("a step cannot have more than {MAX_LAYERS}"));
                return Err(request::setup_error(&action(), source));
            }
            let opened = File::open(&layer.path).and_then(|file| Ok((file.metadata()?.len(), file)));
            let (length, file) = opened.map_err(|source| request::setup_error(&action(), source))?;
            let start = self.extents.last().map_or(0, |last| last.start + last.length);
            let length = length.next_multiple_of(PAGE);
            self.extents.push(Extent { start, length, file: Arc::new(file), offset: 0 });
        }
        Ok(Lower::Directory(protocol::layer_directory(number).into_bytes()))
    }

    /// What the monitor is to show.
    pub(super) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Where each layer is, as the agent is told.
    pub(super) fn places(&self) -> Vec<(u64, u64)> {
        self.extents.iter().map(|extent| (extent.start, extent.length)).collect()
    }
}
