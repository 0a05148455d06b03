//! `hypr kernel`: the kernels that microVMs boot.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hypr_build::kernel::{Compiler, GuestKernel, KernelSource, Kernels};

use crate::{failure::Failure, root::RootArg, stdout};

/// Which kernel microVMs boot.
#[derive(Debug, Args)]
pub(crate) struct KernelArg {
    /// The kernel of microVMs: a vmlinux, bzImage or Debian package. By default $HYPR_KERNEL, then one of the store,
    /// then the newest that is installed
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The folder with that kernel's modules; by default ../lib/modules/VERSION beside it, then /lib/modules/VERSION
    #[arg(long, value_name = "DIR")]
    kernel_modules: Option<PathBuf>,
}

impl KernelArg {
    /// What was asked for, or what the environment says.
    pub(crate) fn source(&self) -> KernelSource {
        let named = KernelSource::from_environment();
        KernelSource { image: self.kernel.clone().or(named.image), modules: self.kernel_modules.clone() }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum KernelCommand {
    /// List the kernels in the store
    Ls {
        #[command(flatten)]
        root: RootArg,
    },
    /// Put a kernel into the store: a vmlinux, a bzImage (vmlinuz) or a Debian kernel package
    Import {
        /// The kernel
        file: PathBuf,
        /// The folder with its modules; by default ../lib/modules/VERSION beside it, then /lib/modules/VERSION
        #[arg(long, value_name = "DIR")]
        kernel_modules: Option<PathBuf>,
        #[command(flatten)]
        root: RootArg,
    },
    /// Compile a small kernel for microVMs, which takes some minutes, and put it into the store
    Build {
        /// The kernel's source, an archive or a tree; by default Debian's linux-source in /usr/src
        #[arg(long, value_name = "PATH")]
        source: Option<PathBuf>,
        /// How many files to compile at once; by default one for each processor
        #[arg(short, long)]
        jobs: Option<usize>,
        #[command(flatten)]
        root: RootArg,
    },
    /// Remove a kernel from the store
    Rm {
        /// The beginning of its id or version
        kernel: String,
        #[command(flatten)]
        root: RootArg,
    },
}

impl KernelCommand {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Ls { root } => list(&root),
            Self::Import { file, kernel_modules, root } => {
                let kernel = open(&root)?.import(&file, kernel_modules.as_deref())?;
                stdout::line(&shown(&kernel))
            }
            Self::Build { source, jobs, root } => {
                let work = root.path()?.join("tmp").join(format!("kernel-{}", std::process::id()));
                let mut compiler = Compiler::new(work);
                if let Some(source) = source {
                    compiler = compiler.sources(source);
                }
                if let Some(jobs) = jobs {
                    compiler = compiler.jobs(jobs);
                }
                stdout::line(&shown(&open(&root)?.compile(&compiler)?))
            }
            Self::Rm { kernel, root } => stdout::line(&shown(&open(&root)?.remove(&kernel)?)),
        }
    }
}

fn list(root: &RootArg) -> Result<(), Failure> {
    let kernels = match root.open()? {
        Some(store) => Kernels::new(store.folder("kernels")?).list(),
        None => Vec::new(),
    };
    let mut text = format!("{:<14} {:<28} {:>7}   SOURCE\n", "KERNEL", "VERSION", "MODULES");
    for kernel in kernels {
        text.push_str(&shown(&kernel));
        text.push('\n');
    }
    stdout::bytes(text.as_bytes())
}

fn shown(kernel: &GuestKernel) -> String {
    let id = kernel.id().get(..12).unwrap_or_default();
    format!("{id:<14} {:<28} {:>7}   {}", kernel.version(), kernel.module_count(), kernel.source())
}

fn open(root: &RootArg) -> Result<Kernels, Failure> {
    Ok(Kernels::new(hypr_build::store::Store::open(&root.path()?)?.folder("kernels")?))
}
