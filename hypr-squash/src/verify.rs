//! Reads an image through and through.

use std::collections::{HashMap, HashSet};

use crate::{Digest, Error, FileExtent, Node, Reader, Table};

/// What [`verify`] went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Report {
    /// Number of paths, the root included.
    pub paths: u64,
    /// Number of inodes.
    pub inodes: u64,
    /// Bytes of content of all regular files.
    pub content_bytes: u64,
    /// Number of fragment blocks.
    pub fragments: u64,
}

/// Checks all that an image holds: every table entry, every block, and that they agree with each other.
///
/// # Errors
/// Fails with the first contradiction.
pub fn verify(reader: &Reader) -> Result<Report, Error> {
    let mut report = Report { fragments: u64::from(reader.info().fragments), ..Report::default() };
    let mut inodes: HashMap<u32, Names> = HashMap::new();
    let mut read: HashSet<Extent> = HashSet::new();
    for entry in reader.walk() {
        let (_, node) = entry?;
        report.paths += 1;
        if let Some(names) = inodes.get_mut(&node.inode_number()) {
            names.found += 1;
            if names.reference != node.reference() {
                return Err(node.corrupt("two inodes have one number"));
            }
            continue;
        }
        let expected = if node.is_directory() { 1 } else { u64::from(node.nlink()) };
        inodes.insert(node.inode_number(), Names { reference: node.reference(), found: 1, expected });
        check_node(reader, &node)?;
        // A walk reads listings from front to back, a look-up goes through the index of long ones.
        node.check_index()?;
        report.content_bytes = report.content_bytes.saturating_add(node.size());
        let extent = node.extent()?;
        if read.insert(Extent::from(&extent)) {
            let mut content = node.open()?;
            while content.next_piece()?.is_some() {}
        }
    }
    let wrong = inodes.values().filter(|names| names.found != names.expected).map(|names| names.reference).min();
    if let Some(reference) = wrong {
        return Err(reader.node_at(reference)?.corrupt("an inode has more or fewer names than it says"));
    }
    report.inodes = inodes.len() as u64;
    if report.inodes != u64::from(reader.info().inodes) {
        let reason = "it counts another number of inodes than there are";
        return Err(Error::corrupt(Table::Superblock, 4, reason));
    }
    for index in 0..reader.info().fragments {
        reader.fragment(index)?;
    }
    Ok(report)
}

/// The names of an inode.
struct Names {
    reference: u64,
    found: u64,
    expected: u64,
}

/// What tells one place of content from another.
#[derive(PartialEq, Eq, Hash)]
struct Extent(u64, u64, Digest, Option<crate::FragmentReference>);

impl From<&FileExtent> for Extent {
    fn from(extent: &FileExtent) -> Self {
        // A digest, so that many files with one long list of blocks take no memory for each.
        let mut blocks = blake3::Hasher::new();
        extent.blocks.iter().for_each(|block| _ = blocks.update(&block.word().to_le_bytes()));
        Self(extent.size, extent.start, blocks.finalize(), extent.fragment)
    }
}

fn check_node(reader: &Reader, node: &Node) -> Result<(), Error> {
    node.metadata()?;
    node.kind()?;
    if reader.export_reference(node.inode_number())?.is_some_and(|reference| reference != node.reference()) {
        return Err(reader.export_error(node.inode_number()));
    }
    Ok(())
}
