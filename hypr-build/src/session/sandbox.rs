//! Which executor a build runs its commands with.

use std::{path::Path, sync::Arc};

use crate::{
    builder::Isolation,
    error::{Error, with_causes},
    executor::{Executor, ExecutorError, NamespaceExecutor, VmExecutor},
    kernel::{KernelSource, Kernels},
    plan::Graph,
    store::Store,
};

/// An executor and why it is this one.
pub(super) struct Chosen {
    pub(super) executor: Arc<dyn Executor>,
    pub(super) reason: String,
}

/// Whether a layer from the cache that this executor made will do.
pub(super) fn accepts(isolation: Isolation) -> fn(&str) -> bool {
    match isolation {
        Isolation::Vm => |executor| executor == "vm",
        Isolation::Auto | Isolation::Namespace => |_| true,
    }
}

/// The executor for this isolation, with what its steps write kept in `scratch` while they run.
///
/// # Errors
/// Fails when there is to be a microVM and none can run here.
pub(super) async fn choose(
    isolation: Isolation,
    kernel: &KernelSource,
    graph: &Graph,
    scratch: &Path,
    store: &Store,
) -> Result<Chosen, Error> {
    if isolation == Isolation::Namespace {
        return namespaces(scratch, store, "as asked for".to_owned()).await;
    }
    let machine = match graph.needs_network() {
        Some(line) => Err(format!("line {line} wants the host's network, which a microVM does not have")),
        None => machine(kernel, scratch, store).await,
    };
    match (isolation, machine) {
        (_, Ok(chosen)) => Ok(chosen),
        (Isolation::Vm, Err(reason)) => Err(Error::Isolation(ExecutorError::Unavailable { executor: "vm", reason })),
        (_, Err(reason)) => namespaces(scratch, store, format!("auto: {reason}")).await,
    }
}

/// The executor of microVMs, or why there is none.
async fn machine(source: &KernelSource, scratch: &Path, store: &Store) -> Result<Chosen, String> {
    let kernels = store.folder("kernels").map(Kernels::new).map_err(|error| with_causes(&error))?;
    let source = source.clone();
    let found = tokio::task::spawn_blocking(move || {
        let kvm = hypr_vmm::probe().map_err(|error| with_causes(&error))?;
        let kernel = kernels.find(&source).map_err(|error| with_causes(&error))?;
        Ok::<_, String>((kvm, kernel))
    });
    let (_, kernel) = found.await.map_err(|error| error.to_string())??;
    let reason = format!("Linux {} of {}", kernel.version(), kernel.source());
    Ok(Chosen { executor: Arc::new(VmExecutor::new(kernel, scratch)), reason })
}

/// The executor of namespaces.
///
/// With it at hand, what killed builds left in the store and only an executor can remove is removed too.
async fn namespaces(scratch: &Path, store: &Store, reason: String) -> Result<Chosen, Error> {
    let executor = NamespaceExecutor::new(scratch).keep_unpacked_in(store.folder("unpacked")?);
    for path in store.leftovers() {
        if let Err(error) = executor.remove(path).await {
            tracing::warn!(path = %path.display(), %error, "cannot remove what a killed build left");
        }
    }
    Ok(Chosen { executor: Arc::new(executor), reason })
}
