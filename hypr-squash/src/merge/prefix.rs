//! What two images of nearly the same layers begin with.
//!
//! An image's data begins with what was copied of its layers, lowest first. So an image of a big base and a changed
//! layer on it begins as the image before did, and only what follows has to be written.

use std::ops::Range;

use blake3::hazmat::ChainingValue;

use super::stored::Stretch;
use crate::write::{GROUP, Run, Writer};
use crate::{Digest, Error};

/// How the image of a merge begins: what was copied into it, and digests of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    encoder: String,
    /// Layers by the digests of their files, and bytes of them, in the order of the image.
    runs: Vec<(Digest, Range<u64>)>,
    /// Hashes of its whole groups behind the first.
    groups: Vec<ChainingValue>,
}

/// An earlier image that the file to be written holds, and the digests of the layers to be merged.
#[derive(Debug)]
pub(super) struct Beginning<'a> {
    pub(super) earlier: &'a Prefix,
    pub(super) names: &'a [Digest],
}

impl Beginning<'_> {
    /// Has the writer keep what the earlier image has of the runs, and returns these with the bytes that are kept of each.
    pub(super) fn keep(&self, runs: &[Stretch], writer: &mut Writer) -> Result<Vec<(Run, u64)>, Error> {
        let mut lengths = Vec::new();
        if self.earlier.encoder == writer.options().encoder() {
            for ((name, before), (layer, now)) in self.earlier.runs.iter().zip(runs) {
                if self.names.get(*layer) != Some(name) || before.start != now.start {
                    break;
                }
                lengths.push(before.end.min(now.end) - now.start);
                if before.end != now.end {
                    break;
                }
            }
        }
        // So little is not worth it, and what is behind the last whole group is hashed again.
        let end = writer.data_start() + lengths.iter().sum::<u64>();
        if end < 2 * GROUP as u64 {
            lengths.clear();
            writer.keep_nothing()?;
            return Ok(Vec::new());
        }
        let runs = writer.keep_runs(lengths.clone(), &self.earlier.groups)?;
        Ok(runs.into_iter().zip(lengths).collect())
    }
}

impl Prefix {
    const MAGIC: &[u8; 8] = b"hyprpfx1";

    pub(super) fn new(encoder: String, runs: Vec<(Digest, Range<u64>)>, groups: Vec<ChainingValue>) -> Self {
        Self { encoder, runs, groups }
    }

    /// Bytes of the image that are known in this way: what an image with the same beginning saves at most.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|(_, range)| range.end - range.start).sum()
    }

    /// Bytes that an image of these layers can have in common with it at most.
    pub fn common(&self, layers: &[Digest]) -> u64 {
        let mut layers = layers.iter().peekable();
        let from_layers = self.runs.iter().take_while(|(name, _)| {
            while layers.next_if(|layer| *layer != name).is_some() {}
            layers.peek().is_some()
        });
        from_layers.map(|(_, range)| range.end - range.start).sum()
    }

    /// As bytes, for a file beside the image.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Self::MAGIC.to_vec();
        let number = |out: &mut Vec<u8>, number: u64| out.extend_from_slice(&number.to_le_bytes());
        number(&mut out, self.encoder.len() as u64);
        out.extend_from_slice(self.encoder.as_bytes());
        number(&mut out, self.runs.len() as u64);
        for (layer, range) in &self.runs {
            out.extend_from_slice(layer.as_bytes());
            number(&mut out, range.start);
            number(&mut out, range.end);
        }
        number(&mut out, self.groups.len() as u64);
        out.extend(self.groups.iter().flatten());
        let digest = blake3::hash(&out);
        out.extend_from_slice(digest.as_bytes());
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) made.
    ///
    /// # Errors
    /// Fails when the bytes are damaged, cut short or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = Error::Index { reason: "it is damaged" };
        let Some((body, digest)) = bytes.split_last_chunk::<32>() else { return Err(damaged) };
        match body.strip_prefix(Self::MAGIC) {
            Some(body_after) if blake3::hash(body) == Digest::from_bytes(*digest) => {
                Self::parse(body_after).ok_or(damaged)
            }
            _ => Err(damaged),
        }
    }

    fn parse(mut input: &[u8]) -> Option<Self> {
        let input = &mut input;
        let length = number(input)?;
        let encoder = std::str::from_utf8(input.split_off(..length)?).ok()?.to_owned();
        let mut runs = Vec::new();
        for _ in 0..number(input)? {
            let layer = Digest::from_bytes(value(input)?);
            let range = u64::from_le_bytes(array(input)?)..u64::from_le_bytes(array(input)?);
            runs.push((layer, (range.start <= range.end).then_some(range)?));
        }
        let groups = (0..number(input)?).map(|_| value(input)).collect::<Option<Vec<_>>>()?;
        input.is_empty().then_some(Self { encoder, runs, groups })
    }
}

fn array<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    input.split_off(..N)?.try_into().ok()
}

fn value(input: &mut &[u8]) -> Option<[u8; 32]> {
    array(input)
}

fn number(input: &mut &[u8]) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(array(input)?)).ok()
}
