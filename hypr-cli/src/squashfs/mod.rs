//! `hypr squashfs`: the image library from the command line.

mod encoding;
mod error;
mod listing;
mod make;
mod progress;
mod read;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use encoding::EncodingArgs;
pub(crate) use error::{SquashfsError, StdoutError};

use crate::failure::Failure;

/// The arguments of `hypr squashfs`.
#[derive(Debug, Args)]
pub(crate) struct SquashfsArgs {
    #[command(subcommand)]
    command: SquashfsCommand,
}

#[derive(Debug, Subcommand)]
enum SquashfsCommand {
    /// Make an image of a directory, or of a tar archive on standard input.
    Pack(PackArgs),
    /// Merge layers into one image, copying compressed data as it is.
    Merge(MergeArgs),
    /// Compress an image anew, with another compressor or level.
    Recompress(RecompressArgs),
    /// List everything in an image, or below a path of it.
    Ls(LsArgs),
    /// Write files of an image to standard output.
    Cat(CatArgs),
    /// Extract an image into a directory.
    Extract(ExtractArgs),
    /// Show what an image's superblock says.
    Info(InfoArgs),
    /// Read everything in an image and check it.
    Verify(ImageArgs),
}

#[derive(Debug, Args)]
struct PackArgs {
    /// A directory, or `-` for a tar archive on standard input.
    source: PathBuf,
    /// The image to write; an existing file is replaced once the new one is complete.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How deletions are written down in the archive. Defaults to none.
    #[arg(long, value_enum)]
    whiteouts: Option<WhiteoutsArg>,
    /// Fail where an image cannot hold something, such as POSIX access control lists, instead of leaving it out.
    #[arg(long)]
    strict: bool,
    /// Write the image's index beside it, as FILE with the extension `.index`: later merges need not read the content.
    #[arg(long)]
    index: bool,
    #[command(flatten)]
    encoding: EncodingArgs,
}

#[derive(Debug, Args)]
struct RecompressArgs {
    #[command(flatten)]
    image: ImageArgs,
    /// The image to write; an existing file is replaced once the new one is complete.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    encoding: EncodingArgs,
}

#[derive(Debug, Args)]
struct MergeArgs {
    /// The layers, lowest first. An index that lies beside a layer saves reading its content.
    #[arg(required = true, value_name = "LAYER")]
    layers: Vec<PathBuf>,
    /// The image to write; an existing file is replaced once the new one is complete.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Keep whiteouts and opaque directories, for an image that will lie on other layers.
    #[arg(long)]
    keep_whiteouts: bool,
    /// Write the image's index beside it, as FILE with the extension `.index`.
    #[arg(long)]
    index: bool,
    #[command(flatten)]
    encoding: EncodingArgs,
}

#[derive(Debug, Args)]
struct ImageArgs {
    /// The image.
    #[arg(value_name = "FILE")]
    image: PathBuf,
}

#[derive(Debug, Args)]
struct LsArgs {
    #[command(flatten)]
    image: ImageArgs,
    /// Where in the image to begin.
    #[arg(default_value = "/")]
    path: PathBuf,
    /// Show type, permissions, owner, size, time and link targets too.
    #[arg(short, long)]
    long: bool,
}

#[derive(Debug, Args)]
struct CatArgs {
    #[command(flatten)]
    image: ImageArgs,
    /// Files in the image; symbolic links are followed inside of it.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ExtractArgs {
    #[command(flatten)]
    image: ImageArgs,
    /// The directory to extract into, which is made if it does not exist. Only root can give files their owners and
    /// make devices; for others, files get the caller's owner and devices are left out.
    #[arg(short, long, value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Debug, Args)]
struct InfoArgs {
    #[command(flatten)]
    image: ImageArgs,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line a fact.
    Text,
    /// One JSON object.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WhiteoutsArg {
    /// The archive has none; `.wh.` is a name as any other.
    None,
    /// `.wh.NAME` and `.wh..wh..opq`, as in layers of OCI images.
    Oci,
    /// Devices 0:0 and `trusted.overlay.opaque`, as overlayfs has it.
    Overlay,
}

impl SquashfsArgs {
    /// Does what was asked for, with results on standard output.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.command {
            SquashfsCommand::Pack(arguments) => make::pack(&arguments),
            SquashfsCommand::Merge(arguments) => make::merge(&arguments),
            SquashfsCommand::Recompress(arguments) => make::recompress(&arguments),
            SquashfsCommand::Ls(arguments) => Ok(listing::list(&arguments)?),
            SquashfsCommand::Cat(arguments) => Ok(read::cat(&arguments)?),
            SquashfsCommand::Extract(arguments) => Ok(read::extract(&arguments)?),
            SquashfsCommand::Info(arguments) => Ok(read::info(&arguments)?),
            SquashfsCommand::Verify(arguments) => Ok(read::verify(&arguments)?),
        }
    }
}
