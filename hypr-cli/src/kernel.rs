//! `hypr kernel`: the kernels that microVMs boot.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hypr_build::{
    kernel::{Compiler, GuestKernel, KernelError, KernelSource, Kernels},
    store::Store,
};

use crate::{failure::Failure, root::RootArg, stdout};

/// Which kernel microVMs boot.
#[derive(Debug, Args)]
pub(crate) struct KernelArg {
    /// The kernel of microVMs: a vmlinux, bzImage or Debian package. By default $HYPR_KERNEL, then the one
    /// that was imported or built last, then the newest that is installed
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The folder with that kernel's modules; by default ../lib/modules/VERSION beside it, then /lib/modules/VERSION
    #[arg(long, value_name = "DIR")]
    kernel_modules: Option<PathBuf>,
}

impl KernelArg {
    /// What was asked for, or what the environment says.
    pub(crate) fn source(&self) -> Result<KernelSource, Failure> {
        self.or(KernelSource::from_environment())
    }

    fn or(&self, named: KernelSource) -> Result<KernelSource, Failure> {
        let source = KernelSource { image: self.kernel.clone().or(named.image), modules: self.kernel_modules.clone() };
        // Also where no microVM is used in the end.
        if source.image.is_none() && source.modules.is_some() {
            return Err(Failure::Usage("--kernel-modules needs the kernel that they belong to: --kernel".to_owned()));
        }
        Ok(source)
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
                let store = Store::open(&root.path()?)?;
                let kernels = Kernels::new(store.folder("kernels")?);
                stdout::line(&shown(&kernels.import(&file, kernel_modules.as_deref())?))
            }
            Self::Build { source, jobs, root } => {
                let store = Store::open(&root.path()?)?;
                let mut compiler = Compiler::new(store.folder("tmp")?);
                if let Some(source) = source {
                    compiler = compiler.sources(source);
                }
                if let Some(jobs) = jobs {
                    compiler = compiler.jobs(jobs);
                }
                stdout::line(&shown(&Kernels::new(store.folder("kernels")?).compile(&compiler)?))
            }
            Self::Rm { kernel, root } => match root.open()? {
                Some(store) => stdout::line(&shown(&Kernels::new(store.folder("kernels")?).remove(&kernel)?)),
                None => Err(KernelError::Unknown(kernel).into()),
            },
        }
    }
}

fn list(root: &RootArg) -> Result<(), Failure> {
    let kernels = Kernels::new(root.path()?.join("kernels")).list();
    let mut text = format!("{:<14} {:<28} {:>7} {:<9} SOURCE\n", "KERNEL", "VERSION", "MODULES", "KEPT");
    for kernel in kernels {
        text.push_str(&shown(&kernel));
        text.push('\n');
    }
    stdout::bytes(text.as_bytes())
}

fn shown(kernel: &GuestKernel) -> String {
    let id = kernel.id().get(..12).unwrap_or_default();
    let kept = if kernel.is_imported() { "imported" } else { "cached" };
    format!("{id:<14} {:<28} {:>7} {kept:<9} {}", kernel.version(), kernel.module_count(), kernel.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_refused_without_their_kernel() {
        let [kernel, modules] = ["k", "m"].map(|name| Some(PathBuf::from(name)));
        let none = KernelSource::default();
        let alone = KernelArg { kernel: None, kernel_modules: modules.clone() };
        assert!(matches!(alone.or(none.clone()), Err(Failure::Usage(_))));
        let variable = KernelSource { image: kernel.clone(), modules: None };
        assert_eq!(alone.or(variable).unwrap(), KernelSource { image: kernel.clone(), modules: modules.clone() });
        let both = KernelArg { kernel: kernel.clone(), kernel_modules: modules.clone() };
        assert_eq!(both.or(none).unwrap(), KernelSource { image: kernel, modules });
    }
}
