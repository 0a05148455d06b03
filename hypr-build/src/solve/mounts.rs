//! `RUN --mount`: what is mounted for a step, what of it is in the step's key, and what a cache keeps of it.
//!
//! First a mount is looked at as far as the key needs it; only on a miss are layers made, secrets read and caches
//! locked.

use std::{collections::BTreeMap, num::NonZeroU64, sync::Arc};

use hypr_squash::{Metadata, Options, Overlay, Writer, merge};
use tokio::sync::SetOnce;

use super::{
    Solved, Solver,
    arrangement::Arrangement,
    changes::{Io, Packing},
    copy::{Placement, Trees},
    error::StepError,
    ground::Ground,
    key,
};
use crate::{
    context::{self, ContextError},
    executor::{self, MountAccess, MountContent},
    plan::{Files, Mount, MountKind, Run, Sharing, Step},
    secret::Sought,
    snapshot::{Layer, Snapshot},
    store::{CacheMount, Key, KeyLock, StepRecord, Timestamp},
};

/// Where files of a context lie in the layer that is made of them.
const PACKED: &str = "mounted";

/// Layers that a cache may have before they are merged.
const DEEPEST_CACHE: usize = 8;

/// A mount whose inputs are known.
pub(super) struct Prepared<'a> {
    mount: &'a Mount,
    tree: Option<Tree>,
}

/// A tree to mount.
enum Tree {
    /// Files of a context, for which there may be no layer yet.
    Packed { arrangement: Arrangement, trees: Trees, is_directory: bool, source: String },
    /// Part of a snapshot.
    Snapshot { snapshot: Snapshot, source: Vec<u8>, is_directory: bool },
}

/// All mounts of a step, ready for an executor.
pub(super) struct Ready {
    pub(super) mounts: Vec<executor::Mount>,
    /// Variables that hold secrets.
    pub(super) variables: Vec<(String, Vec<u8>)>,
    /// What must not get into the layer or the log.
    pub(super) sought: Sought,
    caches: Vec<Cache>,
}

/// A cache that a step writes to.
struct Cache {
    /// Of the mount.
    number: usize,
    held: CacheMount,
    sharing: Sharing,
    /// For as long as the step runs. Without it, a private cache is somebody else's, and these changes are not kept.
    lock: Option<KeyLock>,
}

impl Solver {
    /// Looks at the mounts of a step as far as its key needs it.
    pub(super) async fn prepare_mounts<'a>(
        &self,
        run: &'a Run,
        done: &[SetOnce<Solved>],
    ) -> Result<Vec<Prepared<'a>>, StepError> {
        let mut prepared = Vec::with_capacity(run.mounts.len());
        for mount in &run.mounts {
            let tree = match &mount.kind {
                MountKind::Bind { from, source, .. } => Some(self.tree_of(from, source, done).await?),
                MountKind::Cache { from: Some(from), source, .. } => Some(self.tree_of(from, source, done).await?),
                _ => None,
            };
            prepared.push(Prepared { mount, tree });
        }
        Ok(prepared)
    }

    async fn tree_of(&self, files: &Files, source: &str, done: &[SetOnce<Solved>]) -> Result<Tree, StepError> {
        let source = source.to_owned();
        let context = match files {
            Files::Tree(origin) => {
                let snapshot = self.snapshot(origin, done);
                let overlay = self.overlay(&snapshot).await?;
                return self.work(move || Tree::part_of(snapshot, &overlay, &source)).await;
            }
            Files::Context => self.context.clone(),
            Files::Named(name) => self.named.get(name).cloned(),
        };
        let Some(context) = context else { return Err(ContextError::NotFound { path: source }.into()) };
        self.work(move || {
            let found = context::resolve(&*context, source.as_bytes())?;
            let is_directory = match found {
                Some(entry) => entry.is_directory(),
                None => return Err(ContextError::NotFound { path: source }.into()),
            };
            let path = if source.is_empty() { ".".to_owned() } else { source.clone() };
            let placed =
                Placement::whole(path, PACKED).arrange(Ground::new(Overlay::new(Vec::new())), Some(context))?;
            Ok(Tree::Packed { arrangement: placed.arrangement, trees: placed.trees, is_directory, source })
        })
        .await
    }

    /// Makes what is mounted: layers, secrets, caches. Waits for caches that others have.
    pub(super) async fn mount(
        &self,
        step: &Step,
        prepared: Vec<Prepared<'_>>,
        io: impl FnOnce(&Sought) -> Result<(Io, Packing), StepError>,
    ) -> Result<(Ready, Io, Packing, Vec<Packing>), StepError> {
        let mut ready =
            Ready { mounts: Vec::new(), variables: Vec::new(), sought: Sought::default(), caches: Vec::new() };
        let mut secrets: Vec<Arc<[u8]>> = Vec::new();
        let mut locks = self.lock_caches(&prepared).await?;
        for Prepared { mount, tree } in prepared {
            let content = match &mount.kind {
                MountKind::Bind { writable, .. } => {
                    let access = if *writable { MountAccess::Discarded } else { MountAccess::ReadOnly };
                    let tree = tree.ok_or(StepError::Cancelled)?;
                    let (snapshot, source, is_directory) = self.realize(step, tree).await?;
                    MountContent::Tree { snapshot, source, is_directory, access }
                }
                MountKind::Cache { id, sharing, read_only, .. } => {
                    let held = self.cache_content(step, mount, tree).await?;
                    let layers = held.layers.iter().filter_map(|layer| self.store.layer(layer));
                    let snapshot: Snapshot = layers.collect();
                    let source = held.source.clone().into_bytes();
                    let access = if *read_only { MountAccess::ReadOnly } else { MountAccess::Captured };
                    if !read_only {
                        let lock = locks.remove(id).flatten();
                        let number = ready.mounts.len();
                        ready.caches.push(Cache { number, held, sharing: *sharing, lock });
                    }
                    MountContent::Tree { snapshot, source, is_directory: true, access }
                }
                MountKind::Tmpfs { size } => MountContent::Tmpfs { size: size.and_then(NonZeroU64::new) },
                MountKind::Secret { id, required, env, mode, uid, gid } => {
                    let Some(content) = self.secret(id, *required)? else { continue };
                    if let Some(env) = env {
                        ready.variables.push((env.clone(), content.to_vec()));
                    }
                    secrets.push(Arc::clone(&content));
                    if mount.target.is_empty() {
                        continue;
                    }
                    MountContent::Secret { content, mode: *mode, uid: *uid, gid: *gid }
                }
                MountKind::Ssh { id, required, mode, uid, gid } => match self.ssh.get(id) {
                    Some(socket) => {
                        MountContent::SshAgent { socket: socket.clone(), mode: *mode, uid: *uid, gid: *gid }
                    }
                    None if *required => return Err(StepError::NoSshAgent { id: id.clone() }),
                    None => continue,
                },
            };
            ready.mounts.push(executor::Mount { target: mount.target.clone(), content });
        }
        ready.sought = Sought::new(secrets.iter().map(|secret| &secret[..]));
        let (mut io, packing) = io(&ready.sought)?;
        let mut captures = Vec::new();
        for cache in &ready.caches {
            captures.push(io.capture_mount(&self.store, cache.number)?);
        }
        Ok((ready, io, packing, captures))
    }

    /// Takes the locks of caches that are to be used alone, in an order that lets nobody wait in a circle.
    async fn lock_caches(&self, prepared: &[Prepared<'_>]) -> Result<BTreeMap<String, Option<KeyLock>>, StepError> {
        let mut wanted = BTreeMap::new();
        for Prepared { mount, .. } in prepared {
            match &mount.kind {
                MountKind::Cache { id, sharing: Sharing::Locked, .. } => drop(wanted.insert(id, Sharing::Locked)),
                MountKind::Cache { id, sharing: Sharing::Private, .. } => {
                    wanted.entry(id).or_insert(Sharing::Private);
                }
                _ => {}
            }
        }
        let mut locks = BTreeMap::new();
        for (id, sharing) in wanted {
            let lock = match sharing {
                Sharing::Locked => Some(self.store.lock_cache_mount(id).await?),
                _ => self.store.try_lock_cache_mount(id)?,
            };
            locks.insert(id.clone(), lock);
        }
        Ok(locks)
    }

    fn secret(&self, id: &str, required: bool) -> Result<Option<Arc<[u8]>>, StepError> {
        match self.secrets.get(id) {
            Some(secret) => match secret.read() {
                Ok(content) => Ok(Some(content)),
                Err(source) => Err(StepError::Secret { id: id.to_owned(), source }),
            },
            None if required => Err(StepError::NoSecret { id: id.to_owned() }),
            None => Ok(None),
        }
    }

    /// The layers of a tree; those of a context are made, or taken from the cache.
    async fn realize(&self, step: &Step, tree: Tree) -> Result<(Snapshot, Vec<u8>, bool), StepError> {
        match tree {
            Tree::Snapshot { snapshot, source, is_directory } => {
                Ok((self.shallow(&snapshot).await?, source, is_directory))
            }
            Tree::Packed { arrangement, trees, is_directory, source } => {
                let key = key::arranged(self, "mount", &arrangement);
                let known = self.store.step(&key)?.and_then(|record| record.layer);
                let layer = match known.and_then(|id| self.store.layer(&id)) {
                    Some(layer) => Some(layer),
                    None => {
                        let lender = key::lender(&format!("{} mount {source}", step.info.stage), None);
                        let layer = self.make(arrangement, trees, Some(lender)).await?.layer;
                        self.remember(key, layer.as_ref())?;
                        layer
                    }
                };
                Ok((layer.into_iter().collect(), PACKED.as_bytes().to_vec(), is_directory))
            }
        }
    }

    fn remember(&self, key: Key, layer: Option<&Layer>) -> Result<(), StepError> {
        let (layer, created, duration) = (layer.map(|layer| layer.id), Timestamp::now(), Default::default());
        Ok(self.store.publish_step(&StepRecord {
            key,
            layer,
            created,
            duration,
            executor: None,
            data: BTreeMap::new(),
        })?)
    }

    /// What a cache holds; a new one holds what its mount says.
    async fn cache_content(&self, step: &Step, mount: &Mount, tree: Option<Tree>) -> Result<CacheMount, StepError> {
        let MountKind::Cache { id, mode, uid, gid, .. } = &mount.kind else { return Err(StepError::Cancelled) };
        if let Some(held) = self.store.cache_mount(id)? {
            return Ok(held);
        }
        if let Some(tree) = tree {
            let (snapshot, source, is_directory) = self.realize(step, tree).await?;
            let source = String::from_utf8(source).ok().filter(|_| is_directory);
            let source = source.ok_or_else(|| StepError::CacheSource { id: id.clone() })?;
            let layers = snapshot.layers().into_iter().map(|layer| layer.id).collect();
            return Ok(CacheMount { id: id.clone(), layers, source });
        }
        let mode = u16::try_from(*mode & 0o7777).unwrap_or(0o755);
        let (metadata, store) = (Metadata { mode, uid: *uid, gid: *gid, ..Metadata::default() }, self.store.clone());
        let layer = self
            .work(move || {
                let pending = store.new_layer()?;
                let mut writer = Writer::create(pending.file().try_clone()?, Options::default())?;
                writer.add_directory(b"", &metadata)?;
                Ok(pending.publish(&writer.finish()?)?)
            })
            .await?;
        Ok(CacheMount { id: id.clone(), layers: vec![layer.id], source: String::new() })
    }

    /// Keeps what a step wrote to its caches, whether it succeeded or not. What others kept meanwhile stays below it.
    pub(super) async fn keep_caches(&self, ready: Ready, captures: Vec<Packing>) -> Result<(), StepError> {
        for (cache, capture) in ready.caches.into_iter().zip(captures) {
            let (pending, summary) = capture.finish().await?;
            let Cache { held, sharing, lock, .. } = cache;
            let _lock = match (sharing, lock) {
                (Sharing::Private, None) => continue,
                (_, Some(lock)) => lock,
                (_, None) => self.store.lock_cache_mount(&held.id).await?,
            };
            let mut now = self.store.cache_mount(&held.id)?.unwrap_or(held);
            // The root alone is always told of; a new cache is kept even if it is empty.
            if summary.inodes > 1 {
                let layer = self.work(move || Ok(pending.publish(&summary)?)).await?;
                now.layers.push(layer.id);
            }
            if now.layers.len() > DEEPEST_CACHE {
                let layers: Snapshot = now.layers.iter().filter_map(|layer| self.store.layer(layer)).collect();
                let (store, readers) = (self.store.clone(), self.readers.clone());
                let merged = self
                    .work(move || {
                        let pending = store.new_layer()?;
                        let summary =
                            merge(&readers.layers(&layers)?, pending.file().try_clone()?, &Default::default())?;
                        Ok(pending.publish(&summary)?)
                    })
                    .await?;
                now.layers = vec![merged.id];
            }
            self.store.publish_cache_mount(&now)?;
        }
        Ok(())
    }
}

impl Tree {
    fn part_of(snapshot: Snapshot, overlay: &Overlay, source: &str) -> Result<Self, StepError> {
        let missing = || StepError::MountSource { path: source.to_owned() };
        let resolved = overlay.resolve(source.as_bytes(), b"")?;
        let node = resolved.node.ok_or_else(missing)?;
        Ok(Self::Snapshot { snapshot, source: resolved.path, is_directory: node.is_directory() })
    }
}

impl Prepared<'_> {
    /// The mount as the step's key has it: where files come from by their content, secrets by their names alone.
    pub(super) fn key(&self) -> String {
        let target = &self.mount.target;
        let tree = match &self.tree {
            None => String::new(),
            Some(Tree::Packed { arrangement, .. }) => format!(" files {}", arrangement.digest()),
            Some(Tree::Snapshot { snapshot, source, .. }) => {
                format!(" tree {} at {}", snapshot.content(), source.escape_ascii())
            }
        };
        match &self.mount.kind {
            MountKind::Bind { writable, .. } => format!("bind {target}{tree} writable {writable}"),
            MountKind::Cache { id, read_only, .. } => format!("cache {target}{tree} id {id:?} read-only {read_only}"),
            MountKind::Tmpfs { size } => format!("tmpfs {target} size {size:?}"),
            MountKind::Secret { id, env, mode, uid, gid, .. } => {
                format!("secret {target} id {id:?} variable {env:?} mode {mode:o} owner {uid}:{gid}")
            }
            MountKind::Ssh { id, mode, uid, gid, .. } => {
                format!("ssh {target} id {id:?} mode {mode:o} owner {uid}:{gid}")
            }
        }
    }
}
