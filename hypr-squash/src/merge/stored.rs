//! Copies stored bytes into the result and remembers where they went.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::prefix::Beginning;
use super::survey::Copied;
use crate::write::{Fragment, Run, StoredFile, Tail, Writer};
use crate::{Error, FragmentEntry, FragmentReference, Reader, Table};

/// Where the needed bytes of every layer are in the result.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    readers: &'a [Arc<Reader>],
    layers: Vec<Layer>,
    stretches: Vec<Stretch>,
}

/// A layer by its place in the stack, and bytes of it.
pub(super) type Stretch = (usize, Range<u64>);

/// What of one layer is copied.
struct Planned {
    /// In ascending order, apart from each other.
    ranges: Vec<Range<u64>>,
    /// Fragment blocks without a dead byte.
    clean: Vec<(u32, FragmentEntry)>,
}

/// The needed stored bytes of one layer.
#[derive(Debug, Default)]
struct Needed {
    /// Bytes of the image, not sorted, perhaps overlapping.
    blocks: Vec<Range<u64>>,
    /// By index of the fragment block, the bytes of it, once decompressed, that files are left for.
    fragments: BTreeMap<u32, Vec<Range<u64>>>,
}

#[derive(Debug)]
struct Layer {
    /// Bytes of the layer and the run that they became, in ascending order.
    runs: Vec<(Range<u64>, Run)>,
    /// Fragment blocks that were copied whole.
    fragments: HashMap<u32, Fragment>,
}

impl<'a> Stored<'a> {
    /// Copies the data blocks of `contents` and the fragment blocks without a dead byte, layer by layer, but for what the
    /// file begins with already.
    pub(super) fn copy(
        contents: &[Copied],
        readers: &'a [Arc<Reader>],
        beginning: Option<Beginning<'_>>,
        writer: &mut Writer,
    ) -> Result<Self, Error> {
        let needed = needed(contents, readers.len()).into_iter().zip(readers);
        let planned = needed.map(|(needed, reader)| plan(needed, reader)).collect::<Result<Vec<_>, _>>()?;
        let of_layer = |(layer, planned): (usize, &Planned)| {
            planned.ranges.iter().map(|range| (layer, range.clone())).collect::<Vec<_>>()
        };
        let stretches: Vec<Stretch> = planned.iter().enumerate().flat_map(of_layer).collect();
        let kept = beginning.map_or(Ok(Vec::new()), |beginning| beginning.keep(&stretches, writer))?;
        let mut kept = kept.into_iter();
        let mut layers: Vec<Layer> =
            readers.iter().map(|_| Layer { runs: Vec::new(), fragments: HashMap::new() }).collect();
        for (layer, range) in &stretches {
            let run = match kept.next() {
                Some((run, length)) => {
                    if range.start + length < range.end {
                        writer.copy_more(run, &readers[*layer], range.start + length..range.end)?;
                    }
                    run
                }
                None => writer.copy_run(&readers[*layer], range.clone())?,
            };
            layers[*layer].runs.push((range.clone(), run));
        }
        for (layer, Planned { clean, .. }) in layers.iter_mut().zip(&planned) {
            for (index, entry) in clean {
                let (run, offset) = layer.locate(entry.start);
                layer.fragments.insert(*index, writer.add_fragment(run, offset, entry.size)?);
            }
        }
        Ok(Self { readers, layers, stretches })
    }

    /// All that was copied or kept, in order.
    pub(super) fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// Makes one of the copied contents known to the writer; returns its place there.
    pub(super) fn add(&self, content: Copied, writer: &mut Writer) -> Result<u32, Error> {
        let Copied { layer, extent, digest, .. } = content;
        let place = &self.layers[layer];
        let data = (extent.stored() > 0).then(|| place.locate(extent.start));
        let bytes;
        let tail = match extent.fragment {
            None => Tail::None,
            Some(reference) => match place.fragments.get(&reference.index) {
                Some(&fragment) => Tail::Fragment(fragment, reference.offset),
                None => {
                    bytes = self.readers[layer].fragment(reference.index)?;
                    Tail::Bytes(match tail(&bytes, reference) {
                        Some(tail) => tail,
                        None => {
                            let start = self.readers[layer].fragment_entry(reference.index)?.start;
                            return Err(Error::corrupt(Table::Fragments, start, "a tail lies behind its block"));
                        }
                    })
                }
            },
        };
        writer.add_stored(StoredFile { size: extent.size, digest, data, blocks: extent.blocks, tail })
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

/// Decides which bytes of a layer are copied.
fn plan(needed: Needed, reader: &Reader) -> Result<Planned, Error> {
    let mut ranges = needed.blocks;
    let mut clean = Vec::new();
    for (index, tails) in needed.fragments {
        let length = reader.fragment_length(index)?;
        if matches!(&coalesce(tails)[..], [whole] if *whole == (0..length)) {
            let entry = reader.fragment_entry(index)?;
            ranges.push(entry.start..entry.start + u64::from(entry.size.bytes()));
            clean.push((index, entry));
        }
    }
    Ok(Planned { ranges: coalesce(ranges), clean })
}

/// What is needed of each layer.
fn needed(contents: &[Copied], layers: usize) -> Vec<Needed> {
    let mut needed: Vec<Needed> = (0..layers).map(|_| Needed::default()).collect();
    for Copied { layer, extent, .. } in contents {
        let needed = &mut needed[*layer];
        let stored = extent.stored();
        if stored > 0 {
            needed.blocks.push(extent.start..extent.start + stored);
        }
        if let Some(tail) = extent.fragment {
            let start = u64::from(tail.offset);
            needed.fragments.entry(tail.index).or_default().push(start..start + u64::from(tail.size));
        }
    }
    needed
}

/// The union of ranges, in ascending order, with neighbours joined.
pub(super) fn coalesce(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match runs.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => runs.push(range),
        }
    }
    runs
}

/// The bytes of one file in a decompressed fragment block.
fn tail(fragment: &[u8], tail: FragmentReference) -> Option<&[u8]> {
    let start = tail.offset as usize;
    let range = start..start.saturating_add(tail.size as usize);
    fragment.get(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_and_overlaps_are_joined_and_gaps_kept() {
        let ranges = vec![10..20, 0..5, 20..30, 12..14, 31..32, 5..6];
        assert_eq!(coalesce(ranges), [0..6, 10..30, 31..32]);
    }
}
