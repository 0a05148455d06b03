//! Results on standard output.

use std::io::{ErrorKind, Write};

use crate::failure::Failure;

/// Writes `bytes`. A reader that went away, as in `hypr images | head -1`, is no failure.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::doing("write to standard output", error)),
        _ => Ok(()),
    }
}

/// Writes `text` and a line end.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}
