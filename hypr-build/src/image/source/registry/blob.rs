//! The transfer of a blob, which goes on where it broke.

use std::{
    io::{self, Read},
    sync::Arc,
};

use reqwest::{Response, StatusCode, header::CONTENT_RANGE};
use tokio::{sync::mpsc, task::JoinHandle};

use super::client::{ATTEMPTS, RegistryClient, Request, pause};
use crate::{
    http,
    image::{
        ImageError, Reference,
        source::{BlobReader, Descriptor},
    },
};

/// Chunks that wait for the reader; the client makes them as large as they come, some 16 KiB.
const CHUNKS: usize = 64;

type Chunk = Result<Vec<u8>, ImageError>;

/// Opens a blob. Errors that come before the first byte are returned here.
pub(super) async fn open(
    client: Arc<RegistryClient>,
    reference: Reference,
    descriptor: &Descriptor,
) -> Result<BlobReader, ImageError> {
    let transfer = Transfer { client, reference, wanted: descriptor.digest.to_string(), size: descriptor.size };
    let response = transfer.request(0).await?;
    let (sender, chunks) = mpsc::channel(CHUNKS);
    let task = tokio::spawn(transfer.pump(response, sender));
    Ok(Box::new(ChunkReader { chunks, current: Vec::new(), at: 0, task }))
}

struct Transfer {
    client: Arc<RegistryClient>,
    reference: Reference,
    wanted: String,
    size: u64,
}

impl Transfer {
    async fn request(&self, offset: u64) -> Result<Response, ImageError> {
        let Self { client, reference, wanted, .. } = self;
        client.get(Request { reference, kind: "blobs", wanted, accept: None, offset }).await
    }

    /// Passes chunks on until the blob ends, nobody wants it any more, or it broke too often in one place.
    async fn pump(self, mut response: Response, sender: mpsc::Sender<Chunk>) {
        let mut received = 0;
        let mut skip = 0;
        let mut attempt = 1;
        loop {
            let error = match response.chunk().await {
                Ok(None) => return,
                Ok(Some(chunk)) => {
                    let mut chunk = Vec::from(chunk);
                    if skip > 0 {
                        let count = chunk.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
                        skip -= count as u64;
                        chunk.drain(..count);
                    }
                    if !chunk.is_empty() {
                        received += chunk.len() as u64;
                        attempt = 1;
                        let is_enough = received > self.size;
                        // Whoever reads sees that there is more than promised; all of it nobody wants.
                        if sender.send(Ok(chunk)).await.is_err() || is_enough {
                            return;
                        }
                    }
                    continue;
                }
                Err(error) => error,
            };
            if attempt >= ATTEMPTS {
                let error = ImageError::CutOff {
                    image: self.reference.to_string(),
                    what: format!("blob {}", self.wanted),
                    received,
                    source: http::causes(&error).into(),
                };
                let _ = sender.send(Err(error)).await;
                return;
            }
            tracing::debug!(blob = self.wanted, received, attempt, "a transfer broke, going on");
            tokio::time::sleep(pause(attempt)).await;
            attempt += 1;
            response = match self.request(received).await {
                Ok(response) => response,
                Err(error) => {
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            };
            // A registry that cannot go on in the middle begins anew.
            skip = if goes_on(&response, received) { 0 } else { received };
        }
    }
}

fn goes_on(response: &Response, offset: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.trim().strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
    response.status() == StatusCode::PARTIAL_CONTENT && start.is_none_or(|start| start == offset)
}

/// The blocking end of a transfer. Dropping it ends the transfer; a transfer that is dropped, with its runtime, ends
/// the blob early, which its size tells.
struct ChunkReader {
    chunks: mpsc::Receiver<Chunk>,
    current: Vec<u8>,
    at: usize,
    task: JoinHandle<()>,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(Ok(chunk)) => (self.current, self.at) = (chunk, 0),
                Some(Err(error)) => return Err(io::Error::other(error)),
            }
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

impl Drop for ChunkReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}
