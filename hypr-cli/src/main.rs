//! `hypr`: container images from Dockerfiles, on the command line.
//!
//! A thin wrapper: every subcommand reads its arguments, calls the libraries and prints what came of it. Standard
//! output carries results, standard error everything said on the way. Exit status 0 is success, 1 an error, 2 wrong
//! usage, 130 an interruption.

#![forbid(unsafe_code)]

mod build;
mod check;
mod failure;
mod images;
mod info;
mod interrupt;
mod kernel;
mod load;
mod output;
mod parse;
mod progress;
mod root;
mod secret;
mod squashfs;
mod ssh;
mod stdout;
mod system;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds container images from Dockerfiles without a daemon.
#[derive(Debug, Parser)]
#[command(name = "hypr", version, propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build an image from a Dockerfile
    Build(Box<build::BuildArgs>),
    /// Check a Dockerfile without building it
    Check(Box<check::CheckArgs>),
    /// List images
    Images(images::ImagesArgs),
    /// Look at one image
    #[command(subcommand)]
    Image(images::ImageCommand),
    /// Remove names of images, and files that no name needs any more
    Rmi(images::RmiArgs),
    /// Import an image from an OCI layout or an archive
    Load(load::LoadArgs),
    /// List, import, compile and remove the kernels of microVMs
    #[command(subcommand)]
    Kernel(kernel::KernelCommand),
    /// Show what this machine lets hypr do
    Info(info::InfoArgs),
    /// Show how much room the store takes, and remove what nobody needs
    #[command(subcommand)]
    System(system::SystemCommand),
    /// Print the instructions of a Dockerfile as JSON
    Parse(parse::ParseArgs),
    /// Pack, merge, list, read and extract squashfs images
    Squashfs(squashfs::SquashfsArgs),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log = tracing_subscriber::EnvFilter::try_from_env("HYPR_LOG").unwrap_or_default();
    tracing_subscriber::fmt().with_env_filter(log).with_writer(std::io::stderr).init();
    raise_open_files();
    let result = match arguments.command {
        Command::Build(arguments) => arguments.run(),
        Command::Check(arguments) => arguments.run(),
        Command::Images(arguments) => arguments.run(),
        Command::Image(command) => command.run(),
        Command::Rmi(arguments) => arguments.run(),
        Command::Load(arguments) => arguments.run(),
        Command::Kernel(command) => command.run(),
        Command::Info(arguments) => arguments.run(),
        Command::System(command) => command.run(),
        Command::Parse(arguments) => arguments.run(),
        Command::Squashfs(arguments) => arguments.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Lets the process have as many files open as the system allows it at most, up to what thousands of layers need: every
/// layer of an image is a file, and the usual limit of 1,024 is for programs that still call select(2).
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const ENOUGH: u64 = 1 << 16;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    if current.is_some_and(|current| current < wanted) {
        // Where it is not allowed, a stack that deep fails with the system's words.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}
