//! `hypr info`: what this machine lets hypr do. It only looks: nothing is made or changed, and what cannot be found out is
//! said in its place.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use hypr_build::{
    executor::NamespaceExecutor,
    kernel::{Candidate, Kernels},
    store::resolve_root,
};

use crate::{
    failure::{Failure, one_line},
    kernel::KernelArg,
    root::RootArg,
    stdout,
};

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    kernel: KernelArg,
    #[command(flatten)]
    root: RootArg,
}

impl InfoArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let source = self.kernel.source()?;
        let root = resolve_root(self.root.root.as_deref());
        let shown = root.as_ref().map_or_else(|error| one_line(error), |root| root.display().to_string());
        let mut lines = vec![("hypr", env!("CARGO_PKG_VERSION").to_owned()), ("store", shown)];
        let root = root.unwrap_or_else(|_| std::env::temp_dir());
        match hypr_build::probe_kvm() {
            Ok(kvm) => {
                lines.push(("kvm", format!("runs kernels, up to {} processors a guest", kvm.max_vcpus)));
                for (part, is_closed) in kvm.jail.parts() {
                    lines.push(("jail", format!("{part}: {}", if is_closed { "on" } else { "off" })));
                }
            }
            Err(error) => lines.push(("kvm", one_line(&error))),
        }
        let kernel = match Kernels::new(root.join("kernels")).look(&source) {
            Ok(Candidate::Ready(kernel)) => format!("Linux {} of {}", kernel.version(), kernel.source()),
            Ok(Candidate::File(path)) => format!("{}, which is made ready when it is first used", path.display()),
            Err(error) => one_line(&error),
        };
        lines.push(("guest kernel", kernel));
        lines.push(("namespaces", namespaces(&root).unwrap_or_else(|error| one_line(&*error))));
        let text: String = lines.into_iter().map(|(name, value)| format!("{name:<14}{value}\n")).collect();
        stdout::bytes(text.as_bytes())
    }
}

/// Whether steps can run in namespaces, with their files where the store at `root` is or would be.
fn namespaces(root: &Path) -> Result<String, Box<dyn Error>> {
    let root = std::path::absolute(root)?;
    let there = root.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    // Ordinary users unpack layers, which is tried as well.
    let unpacked = Temporary::new()?;
    let executor = NamespaceExecutor::new(there).keep_unpacked_in(unpacked.0.join("unpacked"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(executor.check())?;
    Ok("work".to_owned())
}

/// A folder that is gone with this.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> std::io::Result<Self> {
        use std::hash::{BuildHasher, Hasher};
        let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
        let folder = std::env::temp_dir().join(format!("hypr-info-{random:016x}"));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed is in a folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
