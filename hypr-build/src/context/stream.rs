//! What is piped into a build: an archive with the context in it, or a Dockerfile alone.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use super::{Context, ContextError, Layers};
use crate::{image::decompress, store::Store};
use hypr_squash::{
    Options, Overlay, Reader, Writer,
    tar::{self, EndMarker, ReadOptions, Whiteouts},
};

/// Bytes of a Dockerfile at most.
pub(crate) const MAX_DOCKERFILE: u64 = 16 << 20;

/// Size of a tar header.
const HEADER: usize = 512;

/// What a stream turned out to be.
#[derive(Debug)]
pub(crate) enum Streamed {
    /// A tar archive: the whole context, in which the Dockerfile is.
    Context(Context),
    /// Anything else is the Dockerfile of a build without context.
    Dockerfile(Vec<u8>),
}

/// Reads a stream to its end: a tar archive, plain or compressed with gzip, bzip2, xz or zstd, or a Dockerfile.
///
/// The archive is packed, as it comes, into a file in the store that has no name and vanishes with the context. No
/// path in it ever meets the host's file system.
pub(crate) fn receive(input: impl Read + Send, store: &Store) -> Result<Streamed, ContextError> {
    let failed = |source| ContextError::Stream { source };
    let mut input = BufReader::with_capacity(1 << 16, input);
    let start = peek(&mut input, 6).map_err(failed)?;
    let unsupported = match *start {
        [0x1f, 0x9d, ..] => Some("compress"),
        [b'P', b'K', 3, 4, ..] => Some("zip"),
        _ => None,
    };
    if let Some(name) = unsupported {
        return Err(ContextError::Compression(name));
    }
    let is_compressed = decompress::Compression::of(&start) != decompress::Compression::Plain;
    let input = decompress::bounded_reader(Cursor::new(start).chain(input)).map_err(failed)?;
    let mut input = BufReader::with_capacity(1 << 16, input);
    let start = peek(&mut input, HEADER).map_err(failed)?;
    let is_archive = is_compressed || is_header(&start);
    let mut input = Cursor::new(start).chain(input);
    if is_archive {
        return unpack(input, store).map(Streamed::Context);
    }
    let mut text = Vec::new();
    input.by_ref().take(MAX_DOCKERFILE + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_DOCKERFILE {
        return Err(ContextError::TooLarge { path: "Dockerfile".to_owned(), limit: MAX_DOCKERFILE });
    }
    Ok(Streamed::Dockerfile(text))
}

fn unpack(input: impl Read, store: &Store) -> Result<Context, ContextError> {
    let work = store.work_dir().map_err(ContextError::Store)?;
    let file = work.unnamed_file().map_err(ContextError::Store)?;
    let copy = file.try_clone().map_err(|source| ContextError::Stream { source })?;
    let mut writer = Writer::create(copy, Options::default()).map_err(ContextError::Tar)?;
    let options = ReadOptions {
        // A context is no layer: it has no deletions, whatever its files are called.
        whiteouts: Whiteouts::None,
        end_marker: EndMarker::Required,
        owner: Some((0, 0)),
        ..ReadOptions::default()
    };
    let stats = tar::unpack_into(&mut writer, input, &options).map_err(ContextError::Tar)?;
    for warning in stats.warnings {
        tracing::warn!(kind = ?warning.kind, path = %warning.path.escape_ascii(), count = warning.count, "not kept");
    }
    let summary = writer.finish().map_err(ContextError::Tar)?;
    let reader = Reader::open_with_index(file, summary.index).map_err(ContextError::Tar)?;
    Ok(Context::layers(Layers::new(Overlay::new(vec![reader.into()]))))
}

/// Takes up to `length` bytes from the start of a stream; fewer only if it ends there.
fn peek(input: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(length);
    input.by_ref().take(length as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// Whether a tar archive starts so: a header whose checksum is right, or the zeros at the end of an empty one.
fn is_header(start: &[u8]) -> bool {
    let Some(header) = start.first_chunk::<HEADER>() else { return false };
    if header.iter().all(|byte| *byte == 0) {
        return true;
    }
    let digits: Vec<u8> = header[148..156].iter().copied().filter(|byte| !matches!(byte, 0 | b' ')).collect();
    let stated = std::str::from_utf8(&digits).ok().and_then(|digits| u32::from_str_radix(digits, 8).ok());
    // The checksum counts itself as spaces.
    let sum = |range: std::ops::Range<usize>| header[range].iter().map(|byte| u32::from(*byte)).sum::<u32>();
    stated == Some(sum(0..148) + 8 * u32::from(b' ') + sum(156..HEADER))
}
