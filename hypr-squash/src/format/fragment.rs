//! Entries of the fragment table: where a block of file tails lies.

use super::StoredSize;
use super::fields::Fields;

/// A fragment block: tails of several files compressed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentEntry {
    /// Byte offset of the block in the image.
    pub start: u64,
    /// How it is stored; never a hole.
    pub size: StoredSize,
}

impl FragmentEntry {
    /// Bytes of an entry; 512 of them fill a metadata block exactly.
    pub(crate) const SIZE: usize = 16;

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.start.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.size.word().to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let mut fields = Fields::new(bytes);
        Self { start: fields.u64(), size: StoredSize::from_word(fields.u32()) }
    }
}
