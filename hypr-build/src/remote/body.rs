//! A body on its way from the network, which comes in pieces, to a thread that reads it.

use std::io::{self, Read};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

/// Pieces that wait for the reader; the client makes them as large as they come, some 16 KiB.
const PIECES: usize = 64;

/// The end that is written to.
pub(super) struct BodyWriter(mpsc::Sender<Option<Vec<u8>>>);

/// The end that is read from, and hashed on the way. It fails where the writer went away before [`BodyWriter::end`].
pub(super) struct Body {
    pieces: mpsc::Receiver<Option<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
    ended: bool,
    hasher: Sha256,
}

/// Both ends.
pub(super) fn pipe() -> (BodyWriter, Body) {
    let (sender, pieces) = mpsc::channel(PIECES);
    (BodyWriter(sender), Body { pieces, current: Vec::new(), at: 0, ended: false, hasher: Sha256::new() })
}

impl BodyWriter {
    /// Passes a piece on; false if nobody wants it any more.
    pub(super) async fn write(&self, piece: Vec<u8>) -> bool {
        self.0.send(Some(piece)).await.is_ok()
    }

    /// Says that all of it came.
    pub(super) async fn end(self) {
        let _ = self.0.send(None).await;
    }
}

impl Body {
    /// SHA-256 of what was read, as `sha256:` and hexadecimal digits.
    pub(super) fn digest(self) -> String {
        use std::fmt::Write as _;
        let mut text = "sha256:".to_owned();
        for byte in self.hasher.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            if self.ended {
                return Ok(0);
            }
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => (self.current, self.at) = (piece, 0),
                Some(None) => self.ended = true,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the transfer broke off")),
            }
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.hasher.update(&buffer[..count]);
        self.at += count;
        Ok(count)
    }
}
