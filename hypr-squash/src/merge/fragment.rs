//! The tails in fragment blocks.

use crate::{Error, FragmentReference, Table};

/// The bytes of one file in a decompressed fragment block.
pub(super) fn tail(fragment: &[u8], tail: FragmentReference) -> Result<&[u8], Error> {
    let start = tail.offset as usize;
    let range = start..start.saturating_add(tail.size as usize);
    fragment.get(range).ok_or(Error::corrupt(Table::Fragments, u64::from(tail.index), "a tail lies behind its block"))
}
