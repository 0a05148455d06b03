//! Extended headers: records of `length key=value\n` that override the fields of the header after them.

use super::error::Fault;
use super::sparse::{Map, MapBuilder};

/// Bytes that the records before one entry may take.
pub(super) const LIMIT: u64 = 1 << 20;

/// The overrides that matter, collected from the records before an entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<i64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    /// Extended attributes by name, in the order of the records.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether POSIX access control lists in text form were seen.
    pub(super) acl: bool,
    pub(super) sparse: Sparse,
}

/// What records say about a sparse file, in any of GNU tar's three versions.
#[derive(Debug, Clone, Default)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    map: MapBuilder,
    /// The offset of the version 0.0 that waits for its length.
    offset: Option<u64>,
    mapped: bool,
}

impl Sparse {
    /// Whether the map stands before the data of the entry.
    pub(super) fn map_is_in_data(&self) -> Result<bool, Fault> {
        match (self.major, self.minor) {
            (None, None) | (Some(0), Some(0 | 1)) => Ok(false),
            (Some(1), Some(0)) => Ok(true),
            _ => Err(Fault::Sparse("its version is not known")),
        }
    }

    /// The map given by the records, if there is one.
    pub(super) fn map(self) -> Result<Option<Map>, Fault> {
        match (self.mapped, self.offset) {
            (_, Some(_)) => Err(Fault::Sparse("an offset lacks its length")),
            (false, None) => Ok(None),
            (true, None) => {
                let size = self.size.ok_or(Fault::Sparse("its size is missing"))?;
                self.map.finish(size).map(Some)
            }
        }
    }
}

impl Extensions {
    /// Takes over the records of one extended header; later ones win.
    pub(super) fn parse(&mut self, mut records: &[u8]) -> Result<(), Fault> {
        while !records.is_empty() {
            let (record, rest) = split_record(records)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(Fault::Pax("a record has no `=`"))?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            if key.is_empty() || key.contains(&0) {
                return Err(Fault::Pax("a key is empty or holds a NUL byte"));
            }
            self.set(key, value)?;
            records = rest;
        }
        Ok(())
    }

    /// Whether a header for all following entries sets what can only hold for one.
    pub(super) fn names_one_entry(&self) -> bool {
        let named = self.path.is_some() || self.link.is_some() || self.size.is_some();
        named || self.sparse.is_set() || !self.xattrs.is_empty()
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        // An empty value takes the override back.
        let given = (!value.is_empty()).then_some(value);
        match key {
            b"path" => self.path = given.map(<[u8]>::to_vec),
            b"linkpath" => self.link = given.map(<[u8]>::to_vec),
            b"size" => self.size = given.map(decimal).transpose()?,
            b"uid" => self.uid = given.map(decimal).transpose()?,
            b"gid" => self.gid = given.map(decimal).transpose()?,
            b"mtime" => self.mtime = given.map(seconds).transpose()?,
            b"SCHILY.devmajor" => self.major = given.map(decimal).transpose()?,
            b"SCHILY.devminor" => self.minor = given.map(decimal).transpose()?,
            b"GNU.sparse.major" => self.sparse.major = Some(decimal(value)?),
            b"GNU.sparse.minor" => self.sparse.minor = Some(decimal(value)?),
            b"GNU.sparse.name" => self.sparse.name = given.map(<[u8]>::to_vec),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = Some(decimal(value)?),
            b"GNU.sparse.numblocks" => self.sparse.mapped = true,
            b"GNU.sparse.offset" => self.sparse.push_offset(decimal(value)?)?,
            b"GNU.sparse.numbytes" => self.sparse.push_length(decimal(value)?)?,
            b"GNU.sparse.map" => self.sparse.push_list(value)?,
            _ => self.set_attribute(key, given),
        }
        Ok(())
    }

    fn set_attribute(&mut self, key: &[u8], value: Option<&[u8]>) {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            let name = unescape(name);
            self.xattrs.retain(|(other, _)| *other != name);
            // Unlike other records, an attribute may well be empty.
            self.xattrs.push((name, value.unwrap_or_default().to_vec()));
        } else if key.starts_with(b"SCHILY.acl.") {
            self.acl |= value.is_some();
        }
    }
}

impl Sparse {
    /// Whether any record speaks of a sparse file.
    pub(super) fn is_set(&self) -> bool {
        self.major.is_some() || self.size.is_some() || self.name.is_some() || self.mapped || self.offset.is_some()
    }

    fn push_offset(&mut self, offset: u64) -> Result<(), Fault> {
        self.mapped = true;
        match self.offset.replace(offset) {
            None => Ok(()),
            Some(_) => Err(Fault::Sparse("an offset lacks its length")),
        }
    }

    fn push_length(&mut self, length: u64) -> Result<(), Fault> {
        let offset = self.offset.take().ok_or(Fault::Sparse("a length lacks its offset"))?;
        self.map.push(offset, length)
    }

    fn push_list(&mut self, list: &[u8]) -> Result<(), Fault> {
        self.mapped = true;
        self.map = MapBuilder::default();
        if list.is_empty() {
            return Ok(());
        }
        for number in list.split(|byte| *byte == b',') {
            let number = decimal(number)?;
            if self.offset.is_none() { self.push_offset(number)? } else { self.push_length(number)? }
        }
        if self.offset.is_some() { Err(Fault::Sparse("an offset lacks its length")) } else { Ok(()) }
    }
}

/// The first record without its length and line feed, and what follows it.
fn split_record(records: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let space = records.iter().take(8).position(|byte| *byte == b' ').ok_or(Fault::Pax("a record has no length"))?;
    let length = decimal(&records[..space]).ok().and_then(|length| usize::try_from(length).ok());
    match length {
        Some(length) if length > space + 1 && length <= records.len() && records[length - 1] == b'\n' => {
            Ok((&records[space + 1..length - 1], &records[length..]))
        }
        _ => Err(Fault::Pax("a record's length is wrong")),
    }
}

/// A decimal number without a sign.
pub(super) fn decimal(text: &[u8]) -> Result<u64, Fault> {
    let number = || -> Option<u64> {
        text.iter().try_fold(0u64, |value, digit| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            value.checked_mul(10)?.checked_add(digit)
        })
    };
    if text.is_empty() { None } else { number() }.ok_or(Fault::Pax("a number is malformed or too large"))
}

/// Seconds with an optional sign and fraction, rounded down to whole seconds.
fn seconds(text: &[u8]) -> Result<i64, Fault> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let whole = decimal(parts.next().unwrap_or_default())?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Pax("a time is malformed"));
    }
    let whole = i64::try_from(whole).map_err(|_| Fault::Pax("a time is out of range"))?;
    let below = negative && fraction.iter().any(|digit| *digit != b'0');
    Ok(if negative { -whole - i64::from(below) } else { whole })
}

/// Appends one record to `out`; its length counts its own digits.
pub(super) fn push_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len() + value.len() + 3;
    let mut length = body + decimal_digits(body);
    if decimal_digits(length) != decimal_digits(body) {
        length = body + decimal_digits(length);
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn decimal_digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// The key of an extended attribute; `=` would end it early and is written as GNU tar does.
pub(super) fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'=' => key.extend_from_slice(b"%3D"),
            b'%' => key.extend_from_slice(b"%25"),
            byte => key.push(*byte),
        }
    }
    key
}

fn unescape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, tail)) = rest.split_first() {
        let (byte, taken) = match rest {
            [b'%', b'3', b'D', ..] => (b'=', 3),
            [b'%', b'2', b'5', ..] => (b'%', 3),
            _ => (*first, 1),
        };
        out.push(byte);
        rest = &tail[taken - 1..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(records: &[u8]) -> Result<Extensions, Fault> {
        let mut extensions = Extensions::default();
        extensions.parse(records).map(|()| extensions)
    }

    #[test]
    fn records_count_their_own_length() {
        for length in (0..120).chain(980..1010) {
            let mut records = Vec::new();
            push_record(&mut records, b"path", &vec![b'x'; length]);
            let (record, rest) = split_record(&records).unwrap();
            assert_eq!((record.len(), rest.len()), (length + 5, 0));
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for records in [
            &b"x"[..],
            b"5 a=b",
            b"6 a=b",
            b"7 a=b\n",
            b"06 a=\nb",
            b"5 ab\n",
            b"4 =\n",
            b"-6 a=b\n",
            b"3 \n",
            b"0 ",
            b"99999999999999999999 a=b\n",
            b"\0\0\0",
            b"10 size=-1\n",
            b"9 size=x\n",
            b"11 mtime=1e\n",
        ] {
            assert!(parse(records).is_err(), "{}", records.escape_ascii());
        }
        assert!(parse(b"6 a=b\n").is_ok());
    }

    #[test]
    fn times_round_down() {
        for (text, expected) in [("12", 12), ("12.9", 12), ("-1", -1), ("-1.5", -2), ("-1.0", -1), ("-0.1", -1)] {
            assert_eq!(seconds(text.as_bytes()).unwrap(), expected, "{text}");
        }
        assert!(seconds(b"1.-5").is_err());
    }

    #[test]
    fn attribute_names_survive_equals_and_percent_signs() {
        let mut records = Vec::new();
        push_record(&mut records, &xattr_key(b"user.a=b%3D"), b"1=2\n");
        assert_eq!(parse(&records).unwrap().xattrs, [(b"user.a=b%3D".to_vec(), b"1=2\n".to_vec())]);
    }

    #[test]
    fn an_empty_value_takes_the_override_back() {
        let extensions = parse(b"8 uid=5\n7 uid=\n").unwrap();
        assert_eq!(extensions.uid, None);
    }
}
