//! One layer: from a blob to a layer of the store.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use hypr_squash::{
    Summary, Writer,
    tar::{EndMarker, ReadOptions, Stats, WarningKind, unpack_into},
};
use sha2::Digest as _;

use super::{ImageError, ImageSource, PullOptions, PullProgress, Pulled, ResolvedLayer, Sha256Digest};
use crate::{
    image::{
        decompress,
        source::{BlobReader, blocking},
    },
    snapshot::Layer,
    store::{Key, PendingBlob, StepRecord, Store, StoreError, Timestamp},
};

/// Raised when the same tar would give another layer than before.
const VERSION: &str = "1";

/// Bytes between two reports of progress.
const REPORT: u64 = 1 << 20;

/// The key under which a pulled layer is found again: what it holds, and how it was written.
fn key(layer: &ResolvedLayer, options: &PullOptions) -> Key {
    let encoder = format!("{:?} {}", options.encoder.codec, options.encoder.block_size.bytes());
    Key::new("pull").input("version", VERSION).input("encoder", encoder).input("diff id", layer.diff_id.to_string())
}

/// Finds the layer in the store or fetches it. The same layer wanted twice, by whatever process, is fetched once.
pub(super) async fn pull(
    source: &dyn ImageSource,
    layer: ResolvedLayer,
    store: &Store,
    options: &PullOptions,
) -> Result<Pulled, ImageError> {
    let digest = layer.descriptor.digest;
    let key = key(&layer, options);
    let known = || -> Result<Option<Layer>, StoreError> {
        let id = store.step(&key)?.and_then(|record| record.layer);
        Ok(id.and_then(|id| store.layer(&id)))
    };
    if let Some(found) = known()? {
        options.report(PullProgress::Cached { layer: digest });
        return Ok(Pulled { layer: found, resolved: layer, warnings: Vec::new() });
    }
    let _lock = store.lock_step(&key).await?;
    if let Some(found) = known()? {
        options.report(PullProgress::Cached { layer: digest });
        return Ok(Pulled { layer: found, resolved: layer, warnings: Vec::new() });
    }
    let size = layer.descriptor.size;
    options.report(PullProgress::Started { layer: digest, size });
    let started = Instant::now();
    let (input, blob) = open(source, &layer, store).await?;
    let cancelled = CancelOnDrop::default();
    let conversion = Conversion {
        image: source.name().to_owned(),
        store: store.clone(),
        options: options.clone(),
        size,
        digest,
        diff_id: layer.diff_id,
        cancelled: Arc::clone(&cancelled.0),
    };
    let (converted, stats) = blocking(move || conversion.run(input, blob)).await??;
    let data = [
        ("media type", layer.descriptor.media_type.clone()),
        ("digest", digest.to_string()),
        ("size", size.to_string()),
        ("source", source.name().to_owned()),
    ];
    store.publish_step(&StepRecord {
        key,
        layer: Some(converted.id),
        created: Timestamp::now(),
        duration: started.elapsed(),
        executor: None,
        data: data.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>(),
    })?;
    options.report(PullProgress::Finished { layer: digest });
    let warnings = stats.warnings.iter().map(|warning| {
        let what = match warning.kind {
            WarningKind::Acl => "access control lists",
            _ => "extended attributes of other classes",
        };
        let path = warning.path.escape_ascii();
        format!("{} file(s) of layer {digest} of {} lost {what}, the first is {path}", warning.count, source.name())
    });
    Ok(Pulled { layer: converted, warnings: warnings.collect(), resolved: layer })
}

/// The blob, out of the store if it is there, and the file to keep it in if not.
async fn open(
    source: &dyn ImageSource,
    layer: &ResolvedLayer,
    store: &Store,
) -> Result<(BlobReader, Option<PendingBlob>), ImageError> {
    let descriptor = &layer.descriptor;
    let (store, digest, size) = (store.clone(), descriptor.digest, descriptor.size);
    let kept = blocking(move || match store.blob(&digest).map(std::fs::File::open) {
        // One of another size is damaged; it is replaced.
        Some(Ok(file)) if file.metadata().is_ok_and(|metadata| metadata.len() == size) => Ok(Ok(file)),
        _ => store.new_blob(&digest, Some(size)).map(Err),
    });
    match kept.await?? {
        Ok(file) => Ok((Box::new(file), None)),
        Err(blob) => Ok((source.blob(descriptor).await?, Some(blob))),
    }
}

/// Tells the thread that works for a future that the future is gone.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a thread needs to convert one layer.
struct Conversion {
    image: String,
    store: Store,
    options: PullOptions,
    size: u64,
    digest: Sha256Digest,
    diff_id: Sha256Digest,
    cancelled: Arc<AtomicBool>,
}

impl Conversion {
    fn run(self, input: BlobReader, blob: Option<PendingBlob>) -> Result<(Layer, Stats), ImageError> {
        let pending = self.store.new_layer()?;
        let file = pending.file().try_clone().map_err(|error| StoreError::io("write", self.store.root(), error))?;
        let is_kept = blob.is_none();
        let mut transfer = Transfer {
            input,
            blob,
            size: self.size,
            received: 0,
            reported: 0,
            report: |received| self.options.report(PullProgress::Advanced { layer: self.digest, received }),
            cancelled: &self.cancelled,
            failure: None,
        };
        let converted = self.convert(file, &mut transfer);
        if converted.is_err() && transfer.failure.is_none() {
            // Data that was damaged on the way fails here in a thousand ways, all of which its digest explains.
            let _ = io::copy(&mut transfer, &mut io::sink());
        }
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(ImageError::Cancelled);
        }
        let (received, blob) = (transfer.received, transfer.blob.take());
        match transfer.failure.take() {
            Some(Failure::Size) => return Err(self.wrong_size(received)),
            Some(Failure::Read(error)) => return Err(self.unreadable(error, received)),
            Some(Failure::Write(error)) => return Err(error.into()),
            None if received != self.size => return Err(self.wrong_size(received)),
            None => {}
        }
        if let Some(blob) = blob {
            self.publish_blob(blob)?;
        }
        let (summary, stats) = converted.inspect_err(|error| {
            // The blob was checked when it came; now its disk may have failed it.
            if is_kept {
                tracing::warn!(blob = %self.digest, %error, "a blob of the store cannot be converted");
            }
        })?;
        Ok((pending.publish(&summary)?, stats))
    }

    /// Decompresses, hashes, unpacks and writes.
    fn convert(&self, file: std::fs::File, transfer: &mut (impl Read + Send)) -> Result<(Summary, Stats), ImageError> {
        let limit = self.options.growth.allowed(self.size);
        let decompress = |source| ImageError::Decompress { image: self.image.clone(), digest: self.digest, source };
        let mut tar = Tar {
            input: decompress::reader(transfer).map_err(decompress)?,
            hasher: sha2::Sha256::new(),
            read: 0,
            limit,
            failure: None,
        };
        let outcome = self.write(file, &mut tar);
        match tar.failure.take() {
            Some(TarFailure::Limit) => {
                return Err(ImageError::Bomb { image: self.image.clone(), digest: self.digest, limit });
            }
            Some(TarFailure::Read(error)) => return Err(decompress(error)),
            None => {}
        }
        let converted = outcome.map_err(|source| ImageError::Layer {
            image: self.image.clone(),
            digest: self.digest,
            source: Box::new(source),
        })?;
        let found = <[u8; 32]>::from(tar.hasher.finalize()).into();
        if found != self.diff_id {
            let (image, digest, expected) = (self.image.clone(), self.digest, self.diff_id);
            return Err(ImageError::DiffId { image, digest, expected, found });
        }
        Ok(converted)
    }

    fn write(&self, file: std::fs::File, tar: impl Read) -> Result<(Summary, Stats), hypr_squash::Error> {
        let mut writer = Writer::create(file, self.options.encoder.clone())?;
        // That nothing is cut off is what the diff id says.
        let options = ReadOptions { end_marker: EndMarker::Optional, ..ReadOptions::default() };
        let stats = unpack_into(&mut writer, tar, &options)?;
        Ok((writer.finish()?, stats))
    }

    fn publish_blob(&self, blob: PendingBlob) -> Result<(), ImageError> {
        let what = || format!("layer {}", self.digest);
        match blob.publish() {
            Ok(_) => Ok(()),
            Err(StoreError::BlobDigest { found, expected }) => {
                Err(ImageError::Digest { image: self.image.clone(), what: what(), expected, found })
            }
            Err(StoreError::BlobSize { found, .. }) => Err(self.wrong_size(found)),
            Err(error) => Err(error.into()),
        }
    }

    fn wrong_size(&self, found: u64) -> ImageError {
        let what = format!("layer {}", self.digest);
        ImageError::Size { image: self.image.clone(), what, expected: self.size, found }
    }

    fn unreadable(&self, error: io::Error, received: u64) -> ImageError {
        error.downcast::<ImageError>().unwrap_or_else(|error| ImageError::CutOff {
            image: self.image.clone(),
            what: format!("layer {}", self.digest),
            received,
            source: Box::new(error),
        })
    }
}

/// The blob as it comes: counted, kept, and stopped when it is longer than promised or nobody wants it any more.
///
/// What goes wrong is remembered, since those who read through several layers only see that something did.
struct Transfer<'a, F> {
    input: BlobReader,
    blob: Option<PendingBlob>,
    size: u64,
    received: u64,
    reported: u64,
    report: F,
    cancelled: &'a AtomicBool,
    failure: Option<Failure>,
}

enum Failure {
    Size,
    Read(io::Error),
    Write(StoreError),
}

impl<F: FnMut(u64)> Transfer<'_, F> {
    fn fail(&mut self, failure: Failure) -> io::Error {
        self.failure.get_or_insert(failure);
        io::Error::other("the transfer failed")
    }
}

impl<F: FnMut(u64)> Read for Transfer<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() || self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("the transfer has ended"));
        }
        let count = match self.input.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(self.fail(Failure::Read(error))),
        };
        self.received += count as u64;
        if self.received > self.size {
            return Err(self.fail(Failure::Size));
        }
        if let Some(blob) = &mut self.blob
            && let Err(error) = blob.write_all(&buffer[..count])
        {
            let error = StoreError::io("write", "the blobs of the store", error);
            return Err(self.fail(Failure::Write(error)));
        }
        if self.received - self.reported >= REPORT || (count == 0 && self.received > self.reported) {
            self.reported = self.received;
            (self.report)(self.received);
        }
        Ok(count)
    }
}

/// The decompressed tar: hashed, and stopped when there is too much of it.
struct Tar<R> {
    input: R,
    hasher: sha2::Sha256,
    read: u64,
    limit: u64,
    failure: Option<TarFailure>,
}

enum TarFailure {
    Limit,
    Read(io::Error),
}

impl<R: Read> Read for Tar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.input.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failure.get_or_insert(TarFailure::Read(error));
                return Err(io::Error::new(kind, "cannot decompress"));
            }
        };
        self.read += count as u64;
        if self.read > self.limit {
            self.failure = Some(TarFailure::Limit);
            return Err(io::Error::other("too much data"));
        }
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
