//! How an agent is told what to run, whatever it runs in.

use std::{collections::HashSet, io, num::NonZeroU64, os::unix::ffi::OsStrExt};

use super::{
    ExecutorError, Mount, MountAccess, MountContent, Network, RunStep,
    capabilities::Capabilities,
    network_files,
    protocol::{self, Access, Content, Lower, Program},
};
use crate::snapshot::{Layer, Snapshot};

/// The name of the machine that a process believes to run on.
const HOST_NAME: &str = "hypr";

/// Layers as the agent finds them.
#[derive(Debug)]
pub(super) struct Stacks {
    pub(super) root: Vec<Lower>,
    pub(super) mounts: Vec<protocol::Mount>,
}

/// The sandbox of `step`, over the layers in `lowers`.
pub(super) fn sandbox(
    step: &RunStep<'_>,
    lowers: Stacks,
    user_namespace: bool,
    cgroups: Vec<Vec<u8>>,
) -> protocol::Sandbox {
    let host_network = step.network == Network::Host;
    protocol::Sandbox {
        user_namespace,
        host_network,
        hostname: HOST_NAME.as_bytes().to_vec(),
        hosts: network_files::hosts(step.network, HOST_NAME),
        resolv_conf: network_files::resolv_conf(step.network),
        programs: step
            .script
            .iter()
            .map(|script| Program { path: script.path.as_bytes().to_vec(), content: script.content.to_vec() })
            .collect(),
        cgroups,
        lowers: lowers.root,
        mounts: lowers.mounts,
    }
}

/// A mount as the agent is told of it; `stack` finds layers for it.
pub(super) fn mount(
    mount: Mount,
    stack: &mut impl FnMut(&Snapshot) -> Result<Vec<Lower>, ExecutorError>,
) -> Result<protocol::Mount, ExecutorError> {
    let content = match mount.content {
        MountContent::Tree { snapshot, source, is_directory, access } => {
            let access = match access {
                MountAccess::ReadOnly => Access::ReadOnly,
                MountAccess::Discarded => Access::Discarded,
                MountAccess::Captured => Access::Captured,
            };
            Content::Tree { lowers: stack(&snapshot)?, source, is_directory, access }
        }
        MountContent::Tmpfs { size } => Content::Tmpfs { size: size.map_or(0, NonZeroU64::get) },
        MountContent::Secret { content, mode, uid, gid } => Content::File { content: content.to_vec(), mode, uid, gid },
        // What it leads to stays with the session.
        MountContent::SshAgent { mode, uid, gid, .. } => Content::Socket { mode, uid, gid },
    };
    Ok(protocol::Mount { target: mount.target.into_bytes(), content })
}

/// The process of `step`, confined by the filter `seccomp`.
pub(super) fn process(step: &RunStep<'_>, seccomp: Vec<u8>) -> protocol::Process {
    let strings = |list: &Option<Vec<String>>| -> Vec<Vec<u8>> {
        list.iter().flatten().map(|text| text.as_bytes().to_vec()).collect()
    };
    let user = step.process.user();
    protocol::Process {
        args: strings(step.process.args()),
        env: strings(step.process.env()),
        cwd: step.process.cwd().as_os_str().as_bytes().to_vec(),
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        capabilities: Capabilities::DEFAULT.bits(),
        seccomp,
    }
}

/// The program that `step` runs, for messages.
pub(super) fn program<'a>(step: &RunStep<'a>) -> &'a str {
    step.process.args().as_ref().and_then(|args| args.first()).map_or("", String::as_str)
}

/// The layers of `snapshot` that count. Of a layer that is there twice the higher one does: it has every entry and
/// every whiteout of the lower one, and overlayfs takes no layer twice.
pub(super) fn effective(snapshot: &Snapshot) -> Vec<&Layer> {
    let mut seen = HashSet::new();
    let mut layers: Vec<_> = snapshot.layers().into_iter().rev().filter(|layer| seen.insert(layer.id.file)).collect();
    layers.reverse();
    layers
}

/// Runs `work` where blocking is allowed. It runs to its end even when nobody waits for it any more; what it made is
/// dropped then.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExecutorError> + Send + 'static,
) -> Result<T, ExecutorError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ExecutorError::Lost(format!("its preparation was given up: {error}"))),
    }
}

/// `action` is a verb and its object.
pub(super) fn setup_error(action: &str, source: io::Error) -> ExecutorError {
    ExecutorError::Setup { action: action.to_owned(), source }
}

/// Whether what is written to `mount` is to be told.
pub(super) fn is_captured(mount: &Mount) -> bool {
    matches!(mount.content, MountContent::Tree { access: MountAccess::Captured, .. })
}
