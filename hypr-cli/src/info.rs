//! `hypr info`: what this machine lets hypr do.

use clap::Args;
use hypr_build::{executor::NamespaceExecutor, kernel::Kernels};

use crate::{failure::Failure, kernel::KernelArg, root::RootArg, stdout};

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    kernel: KernelArg,
    #[command(flatten)]
    root: RootArg,
}

impl InfoArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let root = self.root.path()?;
        let mut lines = vec![("hypr", env!("CARGO_PKG_VERSION").to_owned()), ("store", root.display().to_string())];
        match hypr_build::probe_kvm() {
            Ok(kvm) => {
                lines.push(("kvm", format!("runs kernels, up to {} processors a guest", kvm.max_vcpus)));
                for (part, is_closed) in kvm.jail.parts() {
                    lines.push(("jail", format!("{part}: {}", if is_closed { "on" } else { "off" })));
                }
            }
            Err(error) => lines.push(("kvm", with_causes(&error))),
        }
        // Making a kernel ready keeps it, so a store that is not there yet is made.
        let store = hypr_build::store::Store::open(&root)?;
        let found = Kernels::new(store.folder("kernels")?).find(&self.kernel.source());
        lines.push((
            "guest kernel",
            match found {
                Ok(kernel) => format!("Linux {} of {}", kernel.version(), kernel.source()),
                Err(error) => with_causes(&error),
            },
        ));
        let scratch = store.work_dir()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        lines.push((
            "namespaces",
            match runtime.block_on(NamespaceExecutor::new(scratch.path()).check()) {
                Ok(()) => "work".to_owned(),
                Err(error) => with_causes(&error),
            },
        ));
        let text: String = lines.into_iter().map(|(name, value)| format!("{name:<14}{value}\n")).collect();
        stdout::bytes(text.as_bytes())
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
