//! Sparse files: which ranges of a file the archive holds, the rest being holes.

use super::error::Fault;
use super::header::unsigned;

/// Ranges that one file may have; the map of a larger one would only serve to exhaust memory.
const LIMIT: usize = 1 << 20;

/// A complete map: ranges in ascending order, none empty, none overlapping, all within the size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Map {
    /// Offset and length of what the archive holds.
    pub(super) data: Vec<(u64, u64)>,
    /// Size of the file with its holes.
    pub(super) size: u64,
}

impl Map {
    /// Bytes that the archive holds.
    pub(super) fn stored(&self) -> u64 {
        self.data.iter().map(|(_, length)| length).sum()
    }
}

/// A map that is being read.
#[derive(Debug, Clone, Default)]
pub(super) struct MapBuilder {
    data: Vec<(u64, u64)>,
    end: u64,
}

impl MapBuilder {
    /// Appends a range.
    pub(super) fn push(&mut self, offset: u64, length: u64) -> Result<(), Fault> {
        if offset < self.end {
            return Err(Fault::Sparse("its parts overlap or are out of order"));
        }
        self.end = offset.checked_add(length).ok_or(Fault::Sparse("a part is out of range"))?;
        if length > 0 {
            if self.data.len() == LIMIT {
                return Err(Fault::Sparse("it has too many parts"));
            }
            self.data.push((offset, length));
        }
        Ok(())
    }

    /// Appends the parts of a header block: offset and length in 12 digits each, empty ones being padding.
    pub(super) fn push_fields(&mut self, fields: &[u8]) -> Result<(), Fault> {
        for field in fields.chunks_exact(24) {
            if field[0] == 0 {
                break;
            }
            self.push(unsigned(&field[..12], "sparse offset")?, unsigned(&field[12..], "sparse length")?)?;
        }
        Ok(())
    }

    /// Ends the map of a file of `size` bytes.
    pub(super) fn finish(self, size: u64) -> Result<Map, Fault> {
        if self.end > size {
            return Err(Fault::Sparse("a part lies behind its end"));
        }
        Ok(Map { data: self.data, size })
    }
}

/// The most parts a map in front of the data may announce.
pub(super) fn part_limit() -> u64 {
    LIMIT as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(parts: &[(u64, u64)], size: u64) -> Result<Map, Fault> {
        let mut builder = MapBuilder::default();
        for (offset, length) in parts {
            builder.push(*offset, *length)?;
        }
        builder.finish(size)
    }

    #[test]
    fn maps_are_ascending_and_within_the_size() {
        assert_eq!(build(&[(0, 5), (5, 0), (10, 5), (20, 0)], 20).unwrap().data, [(0, 5), (10, 5)]);
        for (parts, size) in
            [(&[(0, 5), (4, 1)][..], 10), (&[(5, 6)], 10), (&[(u64::MAX, 1)], u64::MAX), (&[(11, 0)], 10)]
        {
            assert!(build(parts, size).is_err(), "{parts:?} in {size}");
        }
    }
}
