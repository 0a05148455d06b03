//! What of each layer's data is still needed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use super::keys::Keys;
use crate::overlay::Identity;
use crate::{Digest, Error, FileType, Overlay};

/// The files that are left, and where their content lies in the layers that are copied from.
#[derive(Debug)]
pub(super) struct Live {
    files: HashMap<Identity, File>,
    compresses_again: bool,
    /// One a layer.
    pub(super) layers: Vec<Data>,
}

/// When two files count as equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Equality {
    /// When their contents are: what no index knows is read and decompressed for that.
    Content,
    /// When no index says otherwise, only if the same bytes are stored for them, or the same place is theirs.
    Stored,
}

/// A file that is left.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    /// That of the content, or what stands for it where files are compared as they are stored.
    pub(super) digest: Digest,
    /// Whether its stored bytes are copied; otherwise a file of equal content comes before it.
    pub(super) copied: bool,
}

/// The needed stored bytes of one layer.
#[derive(Debug, Default)]
pub(super) struct Data {
    /// Bytes of the image, not sorted, perhaps overlapping.
    pub(super) blocks: Vec<Range<u64>>,
    /// By index of the fragment block, the bytes of it, once decompressed, that files are left for.
    pub(super) fragments: BTreeMap<u32, Vec<Range<u64>>>,
}

impl Live {
    /// Goes through all files; `can_copy` tells the layers whose blocks are copied.
    pub(super) fn collect(overlay: &Overlay, can_copy: &[bool], equality: Equality) -> Result<Self, Error> {
        let mut layers: Vec<Data> = can_copy.iter().map(|_| Data::default()).collect();
        let mut files = HashMap::new();
        let mut contents = HashSet::new();
        let mut keys = Keys::new(overlay.layers());
        for visit in overlay.walk() {
            let (_, node) = visit?;
            let (Some(inode), Some(identity)) = (node.inode(), node.identity()) else { continue };
            let is_stored = node.file_type() == FileType::File && node.size() > 0;
            if !is_stored || !can_copy[identity.layer] || files.contains_key(&identity) {
                continue;
            }
            let extent = inode.extent()?;
            let digest = match equality {
                Equality::Content => inode.content_digest()?,
                Equality::Stored => keys.key(identity.layer, inode, &extent)?,
            };
            let copied = contents.insert((digest, node.size()));
            files.insert(identity, File { digest, copied });
            if copied {
                let data = &mut layers[identity.layer];
                if extent.stored() > 0 {
                    data.blocks.push(extent.start..extent.start + extent.stored());
                }
                if let Some(tail) = extent.fragment {
                    let start = u64::from(tail.offset);
                    let range = start..start + u64::from(tail.size);
                    data.fragments.entry(tail.index).or_default().push(range);
                }
            }
        }
        Ok(Self { files, compresses_again: can_copy.contains(&false), layers })
    }

    /// Whether a layer has another codec or block size than the result.
    pub(super) fn compresses_again(&self) -> bool {
        self.compresses_again
    }

    /// What is known of a file that has content and is of a layer that is copied from.
    pub(super) fn file(&self, identity: Identity) -> Option<File> {
        self.files.get(&identity).copied()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_and_overlaps_are_joined_and_gaps_kept() {
        let ranges = vec![10..20, 0..5, 20..30, 12..14, 31..32, 5..6];
        assert_eq!(coalesce(ranges), [0..6, 10..30, 31..32]);
    }
}
