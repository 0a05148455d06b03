//! Where the content of a file lies inside an image.

use crate::format::StoredSize;

/// The place of a file's content: data blocks in one contiguous run, and perhaps a tail inside a fragment block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileExtent {
    /// Content length in bytes.
    pub size: u64,
    /// Byte offset of the first stored data block; of no meaning when every block is a hole.
    pub start: u64,
    /// One word a data block, in order; the last block may be short when there is no fragment.
    pub blocks: Vec<StoredSize>,
    /// The tail of the content, when it is kept in a fragment block.
    pub fragment: Option<FragmentReference>,
}

impl FileExtent {
    /// Bytes that the data blocks take in the image, without the fragment.
    pub fn stored(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.bytes())).sum()
    }
}

/// A file's tail inside a fragment block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FragmentReference {
    /// Index into the fragment table.
    pub index: u32,
    /// Byte offset of the tail in the decompressed fragment block.
    pub offset: u32,
    /// Bytes of the tail.
    pub size: u32,
}
