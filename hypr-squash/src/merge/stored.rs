//! Copies stored bytes into the result and remembers where they went.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::live::{Live, coalesce};
use crate::write::{Fragment, Run, Writer};
use crate::{Error, FileExtent, Reader};

/// Where the needed bytes of every layer are in the result.
#[derive(Debug)]
pub(super) struct Stored {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    /// Bytes of the layer and the run that they became, in ascending order.
    runs: Vec<(Range<u64>, Run)>,
    /// Fragment blocks that were copied whole.
    fragments: HashMap<u32, Fragment>,
}

impl Stored {
    /// Copies the live data blocks and the fragment blocks without a dead byte, layer by layer.
    pub(super) fn copy(live: &Live, layers: &[Arc<Reader>], writer: &mut Writer) -> Result<Self, Error> {
        let mut copied = Vec::with_capacity(layers.len());
        for (data, reader) in live.layers.iter().zip(layers) {
            let mut ranges = data.blocks.clone();
            let mut clean = Vec::new();
            for (&index, tails) in &data.fragments {
                let length = reader.fragment_length(index)?;
                if matches!(&coalesce(tails.clone())[..], [whole] if *whole == (0..length)) {
                    let entry = reader.fragment_entry(index)?;
                    ranges.push(entry.start..entry.start + u64::from(entry.size.bytes()));
                    clean.push((index, entry));
                }
            }
            let mut layer = Layer { runs: Vec::new(), fragments: HashMap::new() };
            for range in coalesce(ranges) {
                let run = writer.copy_run(reader, range.clone())?;
                layer.runs.push((range, run));
            }
            for (index, entry) in clean {
                let (run, offset) = layer.locate(entry.start);
                layer.fragments.insert(index, writer.add_fragment(run, offset, entry.size)?);
            }
            copied.push(layer);
        }
        Ok(Self { layers: copied })
    }

    /// Where the data blocks of a live file went; `None` when it has none that are stored.
    pub(super) fn data(&self, layer: usize, extent: &FileExtent) -> Option<(Run, u64)> {
        (extent.stored() > 0).then(|| self.layers[layer].locate(extent.start))
    }

    /// The copy of a fragment block, if it was copied.
    pub(super) fn fragment(&self, layer: usize, index: u32) -> Option<Fragment> {
        self.layers[layer].fragments.get(&index).copied()
    }
}

impl Layer {
    /// The run that holds the byte at `offset` of the layer, which was copied, and the offset in it.
    fn locate(&self, offset: u64) -> (Run, u64) {
        let at = self.runs.partition_point(|(range, _)| range.start <= offset);
        let (range, run) = &self.runs[at.checked_sub(1).expect("every live byte lies in a run")];
        (*run, offset - range.start)
    }
}
