//! Writes extended attributes: each set once, each longer value once.

use std::collections::HashMap;

use super::metadata_writer::{MetadataWriter, write_list};
use super::output::Output;
use crate::format::{NO_TABLE, NO_XATTRS, XattrEntry, XattrId, XattrPrefix, XattrTableHeader};
use crate::{Codec, Digest, Error, Xattrs};

/// Bytes of a reference to a value; shorter values are better repeated.
const REFERENCE: usize = 8;

/// Sets of extended attributes in the order in which inodes first need them.
#[derive(Debug)]
pub(super) struct XattrTable {
    codec: Codec,
    values: MetadataWriter,
    ids: Vec<u8>,
    count: u32,
    /// Index of a set by its number in the writer.
    known: HashMap<u32, u32>,
    /// Where a value is, by its hash.
    placed: HashMap<Digest, u64>,
}

impl XattrTable {
    pub(super) fn new(codec: Codec) -> Result<Self, Error> {
        let values = MetadataWriter::new(codec)?;
        Ok(Self { codec, values, ids: Vec::new(), count: 0, known: HashMap::new(), placed: HashMap::new() })
    }

    /// The index that an inode with these attributes holds.
    pub(super) fn index(&mut self, number: u32, set: &Xattrs) -> Result<u32, Error> {
        if set.is_empty() {
            return Ok(NO_XATTRS);
        }
        if let Some(&index) = self.known.get(&number) {
            return Ok(index);
        }
        let limit = || Error::Limit { what: "sets of extended attributes", limit: u64::from(NO_XATTRS) };
        let reference = self.values.position().reference();
        let mut size = 0;
        for (name, value) in set {
            size += self.write(name, value)?;
        }
        let count = u32::try_from(set.len()).map_err(|_| limit())?;
        XattrId { reference, count, size: u32::try_from(size).unwrap_or(u32::MAX) }.write(&mut self.ids);
        let index = self.count;
        self.count = self.count.checked_add(1).filter(|&count| count != NO_XATTRS).ok_or_else(limit)?;
        self.known.insert(number, index);
        Ok(index)
    }

    /// Appends both tables to the image; returns where the header is.
    pub(super) fn finish(self, output: &mut Output) -> Result<u64, Error> {
        if self.count == 0 {
            return Ok(NO_TABLE);
        }
        let (values, _) = self.values.finish(output)?;
        let mut ids = MetadataWriter::new(self.codec)?;
        ids.write(&self.ids)?;
        let (_, blocks) = ids.finish(output)?;
        let start = output.position();
        let mut header = Vec::with_capacity(XattrTableHeader::SIZE);
        XattrTableHeader { values, ids: self.count }.write(&mut header);
        output.append(&header)?;
        write_list(output, &blocks)?;
        Ok(start)
    }

    /// Writes one name with its value; returns the bytes written.
    fn write(&mut self, name: &[u8], value: &[u8]) -> Result<usize, Error> {
        let (prefix, rest) = XattrPrefix::split(name).expect("names were checked when they were added");
        let name_length = u16::try_from(rest.len()).expect("names were checked when they were added");
        let placed = if value.len() > REFERENCE { self.placed.get(&blake3::hash(value)).copied() } else { None };
        let mut bytes = Vec::new();
        XattrEntry { prefix, out_of_line: placed.is_some(), name_length }.write(&mut bytes);
        bytes.extend_from_slice(rest);
        self.values.write(&bytes)?;
        let reference = placed.map(u64::to_le_bytes);
        if reference.is_none() && value.len() > REFERENCE {
            self.placed.insert(blake3::hash(value), self.values.position().reference());
        }
        let stored = reference.as_ref().map_or(value, |reference| reference.as_slice());
        let length = u32::try_from(stored.len()).expect("values were checked when they were added");
        self.values.write(&length.to_le_bytes())?;
        self.values.write(stored)?;
        Ok(bytes.len() + 4 + stored.len())
    }
}
