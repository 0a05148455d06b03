//! `RUN`: a process in a sandbox, its changes as a layer.

use std::collections::BTreeMap;

use hypr_squash::{Metadata, Overlay, Reader};
use oci_spec::runtime::{ProcessBuilder, UserBuilder};
use tokio::sync::SetOnce;

use super::{
    Made, Solved, Solver,
    changes::Io,
    error::StepError,
    key,
    user::{Accounts, User},
};
use crate::{
    executor::{RunOutcome, RunStep, Script},
    plan::{Run, Step},
    progress::Event,
    secret::Sought,
    snapshot::Snapshot,
    store::{PendingLayer, Timestamp},
};

/// The largest passwd or group file that is read: they are the image's, and so hostile.
const LARGEST_ACCOUNTS: u64 = 16 << 20;

impl Solver {
    pub(super) async fn run(
        &self,
        step: &Step,
        run: &Run,
        parent: Snapshot,
        done: &[SetOnce<Solved>],
    ) -> Result<Solved, StepError> {
        let executor = self.executor.clone().ok_or(StepError::NoExecutor)?;
        let mounts = self.prepare_mounts(run, done).await?;
        let key = key::run(self, run, &parent, &mounts);
        self.explain(step, &key)?;
        let below = parent.clone();
        self.cached(step, parent, key, Some(executor.name()), || async move {
            let _slot = self.slots.runs.acquire().await.map_err(|_| StepError::Cancelled)?;
            let mounted = self.shallow(&below).await?;
            let readers = self.readers.clone();
            let (snapshot, user) = (mounted.clone(), run.user.clone());
            let user = self
                .work(move || {
                    let accounts = accounts(&readers.overlay(&snapshot)?)?;
                    Ok(accounts.user(&user)?)
                })
                .await?;
            // A slot is had before any cache, so that whoever has a cache can go on.
            let start = |sought: &Sought| Io::start(&self.store, &step.info, &self.sink, Timestamp::now().0, sought);
            let (ready, mut io, packing, captures) = self.mount(step, mounts, start).await?;
            let process = process(run, &user, &ready.variables);
            let script =
                run.script.as_ref().map(|script| Script { path: &script.path, content: script.text.as_bytes() });
            let request = RunStep {
                snapshot: &mounted,
                process: &process,
                script,
                mounts: &ready.mounts,
                network: run.network,
                limits: &self.limits,
            };
            let outcome = executor.run(request, &mut io).await;
            // The packer reads until this end is gone.
            drop(io);
            let packed = packing.finish().await;
            let outcome = match (outcome, &packed) {
                (Ok(outcome), _) => outcome,
                // What was wrong with the changes says more than that they were not taken.
                (Err(crate::executor::ExecutorError::Changes(_)), Err(_)) => {
                    return Err(packed.err().unwrap_or(StepError::Cancelled));
                }
                (Err(error), _) => return Err(error.into()),
            };
            let RunOutcome { status, usage } = outcome;
            self.sink.event(Event::Exited { step: step.info.clone(), status, usage });
            self.keep_caches(ready, captures).await?;
            if outcome.status != 0 {
                return Err(StepError::Status(outcome.status));
            }
            let (pending, summary) = packed?;
            let mut data = BTreeMap::new();
            if let Some(cpu) = outcome.usage.cpu {
                data.insert("cpu".to_owned(), format!("{:.6}", cpu.as_secs_f64()));
            }
            if let Some(memory) = outcome.usage.peak_memory {
                data.insert("peak-memory".to_owned(), memory.to_string());
            }
            // A step that changes neither the root nor anything in it has no layer.
            let layer = match summary.inodes {
                0 | 1 if self.same_root(&pending, &mounted)? => None,
                _ => Some(self.work(move || Ok(pending.publish(&summary)?)).await?),
            };
            Ok(Made { layer, data })
        })
        .await
    }
}

impl Solver {
    /// Whether the layer's root is that of the tree below it, times aside.
    fn same_root(&self, pending: &PendingLayer, below: &Snapshot) -> Result<bool, StepError> {
        let root = Reader::open(pending.file().try_clone()?)?.root().metadata()?;
        let root_below = self.readers.overlay(below)?.root()?.metadata()?;
        Ok(Metadata { mtime: 0, ..root } == Metadata { mtime: 0, ..root_below })
    }
}

/// The image's user database, found through the links of the image.
pub(super) fn accounts(overlay: &Overlay) -> Result<Accounts, StepError> {
    Ok(Accounts { passwd: small_file(overlay, b"etc/passwd")?, group: small_file(overlay, b"etc/group")? })
}

fn small_file(overlay: &Overlay, path: &[u8]) -> Result<Vec<u8>, StepError> {
    let Some(node) = overlay.resolve(path, b"")?.node else { return Ok(Vec::new()) };
    let mut content = Vec::new();
    if node.file_type() == hypr_squash::FileType::File {
        std::io::Read::read_to_end(&mut std::io::Read::take(node.open()?, LARGEST_ACCOUNTS), &mut content)?;
    }
    Ok(content)
}

/// The process as the runtime specification has it. `HOME` follows the user unless the image sets it.
fn process(run: &Run, user: &User, secrets: &[(String, Vec<u8>)]) -> oci_spec::runtime::Process {
    let mut env: Vec<String> =
        run.env.iter().chain(&run.unkeyed).map(|(name, value)| format!("{name}={value}")).collect();
    for (name, value) in secrets {
        env.retain(|entry| entry.split_once('=').is_none_or(|(known, _)| known != name));
        env.push(format!("{name}={}", String::from_utf8_lossy(value)));
    }
    if !run.env.iter().any(|(name, _)| name == "HOME") {
        env.push(format!("HOME={}", user.home));
    }
    let user = UserBuilder::default()
        .uid(user.uid)
        .gid(user.gid)
        .additional_gids(user.groups.clone())
        .umask(0o022_u32)
        .build()
        .expect("every field of a user has a default");
    ProcessBuilder::default()
        .args(run.args.clone())
        .env(env)
        .cwd(&run.cwd)
        .user(user)
        .build()
        .expect("every field of a process has a default")
}
