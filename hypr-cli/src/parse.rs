//! `hypr parse`: what a Dockerfile consists of, as JSON.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use hypr_build::dockerfile::{self, ParseErrors};

use crate::{failure::Failure, stdout};

/// The arguments of `hypr parse`.
#[derive(Debug, Args)]
pub(crate) struct ParseArgs {
    /// The Dockerfile, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// A file that is no Dockerfile.
#[derive(Debug, thiserror::Error)]
#[error("cannot parse {file}")]
pub(crate) struct NotParsed {
    file: String,
    source: ParseErrors,
}

impl NotParsed {
    /// The lines that the errors are about, a caret under each fault.
    pub(crate) fn excerpt(&self) -> String {
        self.source.render(&self.file)
    }
}

impl ParseArgs {
    /// Prints the instructions of the file.
    ///
    /// # Errors
    /// Fails when the file cannot be read or parsed, and when the output cannot be written.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let file = self.file.to_string_lossy().into_owned();
        let bytes = read(&self.file).map_err(|error| Failure::doing(format!("read {file}"), error))?;
        let syntax = dockerfile::parse_syntax_bytes(&bytes).map_err(|source| NotParsed { file, source })?;
        let mut json = serde_json::to_vec_pretty(&syntax)?;
        json.push(b'\n');
        stdout::bytes(&json)
    }
}

/// Reads a Dockerfile; of one that is too large no more than it takes to say so.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let limit = dockerfile::MAX_FILE as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
