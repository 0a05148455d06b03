//! Streams: connections to sockets in the sandbox, whose other end is hypr's.
//!
//! Every connection that a process makes to a socket of [`Content::Socket`](super::Content::Socket) is a stream. The
//! agent opens it and numbers it; numbers are not used again. Both directions are alike from then on, each under the
//! window of its receiver: it takes [`WINDOW`] bytes, and more as it says so. A stream is over once both sides have
//! ended their direction, or either has closed it; what is said of it later means nothing.

use super::{Malformed, codec::Decoder, codec::Encoder};

/// The most streams that are open at a time; further connections wait.
pub(crate) const MAX_STREAMS: usize = 32;

/// Bytes that may be on their way in one direction of a stream before its receiver has taken any.
pub(crate) const WINDOW: usize = 64 << 10;

/// Bytes that one frame carries at most.
pub(crate) const MAX_DATA: usize = 16 << 10;

/// What is said of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flow {
    /// These bytes.
    Data(Vec<u8>),
    /// So many bytes were taken: as many more may come.
    Taken(u32),
    /// No more bytes come from this side.
    End,
    /// The stream is over, in both directions.
    Close,
}

impl Flow {
    pub(super) fn encode(&self, kind: u8, stream: u32) -> Vec<u8> {
        let to = Encoder::new(kind).u32(stream);
        match self {
            Self::Data(bytes) => to.u32(0).bytes(bytes),
            Self::Taken(count) => to.u32(1).u32(*count),
            Self::End => to.u32(2),
            Self::Close => to.u32(3),
        }
        .finish()
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<(u32, Self), Malformed> {
        let stream = from.u32()?;
        let flow = match from.u32()? {
            0 => Self::Data(from.bytes()?),
            1 => Self::Taken(from.u32()?),
            2 => Self::End,
            3 => Self::Close,
            _ => return Err(Malformed("a word on a stream of an unknown kind")),
        };
        match &flow {
            Self::Data(bytes) if bytes.is_empty() || bytes.len() > MAX_DATA => {
                Err(Malformed("bytes of a stream out of bounds"))
            }
            _ => Ok((stream, flow)),
        }
    }
}
