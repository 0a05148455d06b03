//! The numbers, bytes and lists in the bodies of frames.

use super::{HEADER, Lower, Malformed, header};

/// A frame in the making.
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    pub(super) fn new(kind: u8) -> Self {
        Self(header(kind, 0).to_vec())
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn len(self, length: usize) -> Self {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX))
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let mut this = self.len(bytes.len());
        this.0.extend(bytes);
        this
    }

    pub(super) fn list(mut self, items: &[Vec<u8>]) -> Self {
        self = self.len(items.len());
        for item in items {
            self = self.bytes(item);
        }
        self
    }

    pub(super) fn lowers(mut self, lowers: &[Lower]) -> Self {
        self = self.len(lowers.len());
        for lower in lowers {
            self = match lower {
                Lower::Mount => self.u32(0),
                Lower::Directory(path) => self.u32(1).bytes(path),
            };
        }
        self
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = header(self.0[0], self.0.len() - HEADER);
        self.0[..HEADER].copy_from_slice(&length);
        self.0
    }
}

/// What is left of a body.
pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

impl Decoder<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(Malformed("a frame that is too short"))?;
        self.0 = tail;
        Ok(*head)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag that is neither 0 nor 1")),
        }
    }

    /// A number of items of at least four bytes each, which therefore all fit into what is left.
    pub(super) fn count(&mut self) -> Result<usize, Malformed> {
        match usize::try_from(self.u32()?) {
            Ok(count) if count <= self.0.len() / 4 => Ok(count),
            _ => Err(Malformed("a list longer than its frame")),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, Malformed> {
        let length = self.u32()?;
        let split = usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length));
        let (head, tail) = split.ok_or(Malformed("bytes longer than their frame"))?;
        self.0 = tail;
        Ok(head.to_vec())
    }

    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    pub(super) fn list(&mut self) -> Result<Vec<Vec<u8>>, Malformed> {
        (0..self.count()?).map(|_| self.bytes()).collect()
    }

    pub(super) fn lowers(&mut self) -> Result<Vec<Lower>, Malformed> {
        let lower = |this: &mut Self| match this.u32()? {
            0 => Ok(Lower::Mount),
            1 => Ok(Lower::Directory(this.bytes()?)),
            _ => Err(Malformed("a layer of an unknown kind")),
        };
        (0..self.count()?).map(|_| lower(self)).collect()
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("a frame with bytes to spare")) }
    }
}
