//! Reads extended attributes.

use std::collections::btree_map::Entry;
use std::ops::Range;

use super::cursor::Cursor;
use super::image::Image;
use super::lookup_table::LookupTable;
use crate::format::{Position, XattrEntry, XattrId, XattrTableHeader};
use crate::{Error, Table, Xattrs};

/// Names and values of one inode in bytes; values that are shared count each time, so that they cannot multiply.
const TOTAL_MAX: usize = 1 << 20;

/// Where the attributes of an image are.
#[derive(Debug)]
pub(super) struct XattrTable {
    ids: LookupTable,
    values: Range<u64>,
}

impl XattrTable {
    pub(super) fn open(image: &Image, start: u64) -> Result<Self, Error> {
        let mut header = [0; XattrTableHeader::SIZE];
        image.read_at(Table::Xattrs, start, &mut header)?;
        let header = XattrTableHeader::from_bytes(&header);
        let list = start + XattrTableHeader::SIZE as u64;
        let ids = LookupTable::open(image, Table::Xattrs, list, u64::from(header.ids), XattrId::SIZE)?;
        // Without sets the list is empty, and the values end where the header begins.
        let end = ids.first_block().min(start);
        if header.values > end {
            return Err(Error::corrupt(Table::Xattrs, start, "values lie behind their index"));
        }
        Ok(Self { ids, values: header.values..end })
    }

    pub(super) fn read(&self, image: &Image, index: u32) -> Result<Xattrs, Error> {
        let set = XattrId::from_bytes(&self.ids.entry(image, u64::from(index))?);
        let mut cursor = self.cursor(image, set.reference)?;
        let mut xattrs = Xattrs::new();
        let mut total = 0;
        for _ in 0..set.count {
            let offset = cursor.offset();
            let corrupt = |reason| Error::corrupt(Table::Xattrs, offset, reason);
            let entry = XattrEntry::from_bytes(&cursor.array()?).ok_or(corrupt("a name has an unknown prefix"))?;
            let mut name = entry.prefix.as_bytes().to_vec();
            name.extend_from_slice(&cursor.bytes(usize::from(entry.name_length))?);
            let value = if entry.out_of_line {
                if u32::from_le_bytes(cursor.array()?) != 8 {
                    return Err(corrupt("a reference to a value is not eight bytes long"));
                }
                let reference = u64::from_le_bytes(cursor.array()?);
                value(&mut self.cursor(image, reference)?, &mut total)?
            } else {
                value(&mut cursor, &mut total)?
            };
            total += name.len();
            match xattrs.entry(name) {
                Entry::Vacant(vacant) => vacant.insert(value),
                Entry::Occupied(_) => return Err(corrupt("a name occurs twice")),
            };
        }
        Ok(xattrs)
    }

    fn cursor<'a>(&self, image: &'a Image, reference: u64) -> Result<Cursor<'a>, Error> {
        Cursor::new(image, Table::Xattrs, self.values.clone(), Position::from_reference(reference))
    }
}

fn value(cursor: &mut Cursor<'_>, total: &mut usize) -> Result<Vec<u8>, Error> {
    let length = u32::from_le_bytes(cursor.array()?) as usize;
    if length > TOTAL_MAX || *total + length > TOTAL_MAX {
        return Err(Error::corrupt(Table::Xattrs, cursor.offset(), "the attributes of one inode exceed 1 MiB"));
    }
    *total += length;
    cursor.bytes(length)
}
