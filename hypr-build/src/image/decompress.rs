//! Decompression that tells the format from the first bytes.
//!
//! Media types are wrong often enough that clients of registries came to look at the bytes; what the image means to
//! hold is settled by the digest of the decompressed content anyway.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Bytes that tell the format.
const START: usize = 6;

/// Bytes of memory that a stream of xz may ask for; `xz -9` asks for 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// What a stream is compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
    Plain,
}

impl Compression {
    /// Tells from the first bytes of a stream, of which six are enough.
    pub(crate) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame, as files with an index in front begin with.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::Plain,
        }
    }
}

/// The decompressed bytes of `input`. Memory is bounded whatever the input says: zstd windows over 128 MiB and xz
/// dictionaries over 256 MiB are refused.
pub(crate) fn reader<'a, R: Read + Send + 'a>(input: R) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut input = BufReader::with_capacity(128 << 10, input);
    // The first read of a socket may be short of them; then the rest is waited for.
    let mut start = Vec::with_capacity(START);
    while start.len() < START {
        let available = match input.fill_buf() {
            Ok([]) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let count = available.len().min(START - start.len());
        start.extend_from_slice(&available[..count]);
        input.consume(count);
    }
    let compression = Compression::of(&start);
    let input = BufReader::with_capacity(128 << 10, io::Cursor::new(start).chain(input));
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Compression::Plain => Box::new(input),
    })
}

/// The decompressed bytes of `input`, which fail where they become more than the default [`GrowthLimit`] allows for what
/// was read of it.
pub(crate) fn bounded_reader<'a, R: Read + Send + 'a>(input: R) -> io::Result<Box<dyn Read + Send + 'a>> {
    let taken = Arc::new(AtomicU64::new(0));
    let inner = reader(Counted { inner: input, taken: Arc::clone(&taken) })?;
    Ok(Box::new(Bounded { inner, taken, given: 0, limit: GrowthLimit::default() }))
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Fails once it has given more than its source may become.
struct Bounded<R> {
    inner: R,
    taken: Arc<AtomicU64>,
    given: u64,
    limit: GrowthLimit,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.given += count as u64;
        let taken = self.taken.load(Ordering::Relaxed);
        if self.given > self.limit.allowed(taken) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{taken} bytes become more than {}, which is the limit", self.limit.allowed(taken)),
            ));
        }
        Ok(count)
    }
}

/// How much a compressed stream may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrowthLimit {
    /// Bytes that are always allowed.
    pub floor: u64,
    /// Decompressed bytes that are allowed for a compressed one.
    pub ratio: u64,
}

impl GrowthLimit {
    /// How many bytes `compressed` bytes may become.
    pub fn allowed(&self, compressed: u64) -> u64 {
        compressed.saturating_mul(self.ratio).max(self.floor)
    }
}

impl Default for GrowthLimit {
    /// 8 GiB, or 1,100 to one, which is a little more than gzip can do.
    fn default() -> Self {
        Self { floor: 8 << 30, ratio: 1100 }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Gives one byte a read, as a slow connection may.
    struct Slow(Vec<u8>, usize);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(byte) = self.0.get(self.1) else { return Ok(0) };
            buffer[0] = *byte;
            self.1 += 1;
            Ok(1)
        }
    }

    #[test]
    fn format_is_told_from_the_bytes() -> io::Result<()> {
        let text = b"a tar, let us say".repeat(100);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text)?;
        // Several members make one stream.
        let mut members = gzip.finish()?;
        members.extend_from_within(..);
        let zstd = zstd::encode_all(&text[..], 1)?;
        let mut skippable = vec![0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
        skippable.extend(&zstd);
        for (bytes, copies) in [(text.clone(), 1), (members, 2), (zstd, 1), (skippable, 1)] {
            let mut out = Vec::new();
            reader(Slow(bytes, 0))?.read_to_end(&mut out)?;
            assert_eq!(out, text.repeat(copies));
        }
        for short in [&b""[..], b"a", b"\x1f"] {
            let mut out = Vec::new();
            reader(short)?.read_to_end(&mut out)?;
            assert_eq!(out, short);
        }
        Ok(())
    }

    #[test]
    fn what_grows_too_much_is_stopped() {
        let taken = Arc::new(AtomicU64::new(10));
        for (given, fits) in [(1000, true), (3000, true), (3001, false)] {
            let limit = GrowthLimit { floor: 2000, ratio: 300 };
            let mut bounded = Bounded { inner: io::repeat(0).take(given), taken: Arc::clone(&taken), given: 0, limit };
            assert_eq!(io::copy(&mut bounded, &mut io::sink()).is_ok(), fits, "{given}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        for bytes in [&b"\x1f\x8b\x08\0\0\0\0\0\0\xffabc"[..], b"\x28\xb5\x2f\xfdabcdefgh", b"\x1f\x8b"] {
            let outcome = reader(bytes).and_then(|mut reader| reader.read_to_end(&mut Vec::new()));
            assert!(outcome.is_err(), "{bytes:?}");
        }
    }
}
