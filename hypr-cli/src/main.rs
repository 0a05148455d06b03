//! `hypr`, the command line.

#![forbid(unsafe_code)]

mod failure;
mod load;
mod output;
mod squashfs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds container images from Dockerfiles, every RUN behind a sandbox of its own.
#[derive(Debug, Parser)]
#[command(name = "hypr", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Import an image from an OCI layout or an archive.
    Load(load::LoadArgs),
    /// Pack, merge, list, read and extract squashfs images.
    Squashfs(squashfs::SquashfsArgs),
}

impl Command {
    fn run(self) -> Result<(), failure::Failure> {
        match self {
            Self::Load(arguments) => arguments.run(),
            Self::Squashfs(arguments) => Ok(arguments.run()?),
        }
    }
}

fn main() -> ExitCode {
    match Arguments::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure::report(&*failure),
    }
}
