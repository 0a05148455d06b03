//! Which executor a build runs its commands with.

use std::{path::Path, sync::Arc};

use crate::{
    builder::Isolation,
    error::Error,
    executor::{Executor, NamespaceExecutor},
    store::Store,
};

/// An executor and why it is this one.
pub(super) struct Chosen {
    pub(super) executor: Arc<dyn Executor>,
    pub(super) reason: String,
}

/// Refuses what this version cannot isolate with, before any work is done.
pub(super) fn check(isolation: Isolation) -> Result<(), Error> {
    match isolation {
        Isolation::Vm => Err(Error::NotYet {
            what: "isolation in a microVM",
            instead: "use `--isolation namespace`, or leave the choice to `auto`",
        }),
        Isolation::Auto | Isolation::Namespace => Ok(()),
    }
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
/// With it at hand, what killed builds left in the store and only an executor can remove is removed too.
pub(super) async fn choose(isolation: Isolation, scratch: &Path, store: &Store) -> Result<Chosen, Error> {
    let reason = match (isolation, hypr_vmm::probe()) {
        (Isolation::Auto, Ok(_)) => "auto: KVM is here, but this version has no microVMs yet".to_owned(),
        (Isolation::Auto, Err(error)) => format!("auto: {error}"),
        (Isolation::Namespace | Isolation::Vm, _) => "as asked for".to_owned(),
    };
    let executor = NamespaceExecutor::new(scratch).keep_unpacked_in(store.folder("unpacked")?);
    for path in store.leftovers() {
        if let Err(error) = executor.remove(path).await {
            tracing::warn!(path = %path.display(), %error, "cannot remove what a killed build left");
        }
    }
    Ok(Chosen { executor: Arc::new(executor), reason })
}
