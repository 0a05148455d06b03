//! Carries out a build graph: each step once its inputs are there, from the cache where it can.

mod arrangement;
mod changes;
mod copy;
mod error;
mod explain;
mod ground;
mod key;
mod mounts;
mod readers;
mod run;
mod shown;
mod stack;
mod user;
mod workdir;

use std::{
    collections::BTreeMap, num::NonZeroUsize, path::PathBuf, sync::Arc, thread::available_parallelism, time::Instant,
};

use tokio::{
    sync::{Semaphore, SetOnce},
    task::JoinSet,
};

pub use self::{error::StepError, user::UserError};
pub(crate) use self::{readers::Readers, stack::Piles};
use crate::{
    context::Tree,
    executor::{Executor, Limits},
    image::Platform,
    plan::{Graph, ImageRequest, Operation, Origin, Step},
    progress::{Event, ProgressSink},
    remote,
    secret::Secret,
    snapshot::{Layer, Snapshot},
    store::{Key, StepRecord, Store, Timestamp},
};

/// What a build graph is solved with.
pub(crate) struct Solver {
    pub(crate) store: Store,
    pub(crate) graph: Graph,
    /// The layers of every image in the graph.
    pub(crate) images: BTreeMap<ImageRequest, Snapshot>,
    pub(crate) context: Option<Arc<dyn Tree>>,
    /// The named contexts that are directories.
    pub(crate) named: BTreeMap<String, Arc<dyn Tree>>,
    /// Fetches sources of `ADD`.
    pub(crate) client: Arc<remote::Client>,
    pub(crate) executor: Option<Arc<dyn Executor>>,
    /// Whether a layer that this executor made is good enough.
    pub(crate) accepts: fn(&str) -> bool,
    pub(crate) limits: Limits,
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// The sockets of SSH agents.
    pub(crate) ssh: BTreeMap<String, PathBuf>,
    /// Whether to tell why steps are carried out.
    pub(crate) explains: bool,
    pub(crate) platform: Platform,
    pub(crate) sink: Arc<dyn ProgressSink>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) piles: Piles,
    pub(crate) slots: Slots,
}

/// How many things may happen at once.
#[derive(Debug)]
pub(crate) struct Slots {
    /// Sandboxes.
    runs: Arc<Semaphore>,
    /// Threads that compress and hash.
    work: Arc<Semaphore>,
}

impl Default for Slots {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        // A RUN mostly waits, for its compiler or for the disk; a packer never does.
        Self { runs: Arc::new(Semaphore::new((2 * cores).max(8))), work: Arc::new(Semaphore::new(cores)) }
    }
}

/// What a step came to.
#[derive(Debug, Clone)]
pub(crate) struct Solved {
    pub(crate) snapshot: Snapshot,
    /// The layer on top that the step made; `None` when it changed nothing.
    pub(crate) layer: Option<Layer>,
    /// When the layer was first made.
    pub(crate) created: Timestamp,
}

/// A step's failure, with the step.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) step: usize,
    pub(crate) error: StepError,
}

/// How a step's layer is made once the cache turned out not to have it.
struct Made {
    layer: Option<Layer>,
    data: BTreeMap<String, String>,
}

impl Solver {
    /// Solves every step and returns what each came to, in the order of the graph.
    ///
    /// Each step is a task that waits for its inputs; the first failure ends the others. Dropping the future ends all.
    pub(crate) async fn solve(self: Arc<Self>) -> Result<Vec<Solved>, Failed> {
        let done: Arc<[SetOnce<Solved>]> = self.graph.steps.iter().map(|_| SetOnce::new()).collect();
        let mut tasks = JoinSet::new();
        for (id, step) in self.graph.steps.iter().enumerate() {
            let (solver, done) = (self.clone(), done.clone());
            let needs: Vec<usize> = step.needs().collect();
            tasks.spawn(async move {
                for need in needs {
                    done[need].wait().await;
                }
                let step = &solver.graph.steps[id];
                let result = solver.step(step, &done).await;
                match result {
                    Ok(solved) => {
                        // Set once: each id has one task.
                        let _ = done[id].set(solved);
                        Ok(())
                    }
                    Err(error) => {
                        solver.sink.event(Event::Failed { step: step.info.clone() });
                        Err(Failed { step: id, error })
                    }
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(result) => result?,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return Err(Failed { step: 0, error: StepError::Cancelled }),
            }
        }
        Ok(done.iter().filter_map(|cell| cell.get().cloned()).collect())
    }

    async fn step(&self, step: &Step, done: &[SetOnce<Solved>]) -> Result<Solved, StepError> {
        let parent = self.snapshot(&step.parent, done);
        self.sink.event(Event::Started { step: step.info.clone() });
        match &step.operation {
            Operation::Run(run) => self.run(step, run, parent, done).await,
            Operation::Copy(copy) => self.copy(step, copy, parent, done).await,
            Operation::Workdir(workdir) => self.workdir(step, workdir, parent).await,
        }
    }

    /// The tree of an origin whose step is solved.
    fn snapshot(&self, origin: &Origin, done: &[SetOnce<Solved>]) -> Snapshot {
        match origin {
            Origin::Scratch => Snapshot::empty(),
            Origin::Image(image) => self.images.get(image).cloned().unwrap_or_default(),
            Origin::Step(id) => done[*id].get().map(|solved| solved.snapshot.clone()).unwrap_or_default(),
        }
    }

    /// Takes the step's layer from the cache, or has it made by `make` and remembers it. The same step is made once,
    /// whoever else wants it at the same time.
    async fn cached<F>(
        &self,
        step: &Step,
        parent: Snapshot,
        key: Key,
        executor: Option<&'static str>,
        make: impl FnOnce() -> F,
    ) -> Result<Solved, StepError>
    where
        F: Future<Output = Result<Made, StepError>>,
    {
        if let Some(solved) = self.look_up(step, &parent, &key)? {
            return Ok(solved);
        }
        let _lock = self.store.lock_step(&key).await?;
        // Another build may have made it while this one waited.
        if let Some(solved) = self.look_up(step, &parent, &key)? {
            return Ok(solved);
        }
        let started = Instant::now();
        let made = make().await?;
        let duration = started.elapsed();
        let created = Timestamp::now();
        self.store.publish_step(&StepRecord {
            key,
            layer: made.layer.as_ref().map(|layer| layer.id),
            created,
            duration,
            executor: executor.map(str::to_owned),
            data: made.data,
        })?;
        let layer_id = made.layer.as_ref().map(|layer| layer.id);
        self.sink.event(Event::Finished { step: step.info.clone(), duration, layer: layer_id });
        Ok(Solved::on(parent, made.layer, created))
    }

    fn look_up(&self, step: &Step, parent: &Snapshot, key: &Key) -> Result<Option<Solved>, StepError> {
        if step.uncached {
            return Ok(None);
        }
        let Some(record) = self.store.step(key)? else { return Ok(None) };
        if record.executor.as_deref().is_some_and(|executor| !(self.accepts)(executor)) {
            return Ok(None);
        }
        let layer = match &record.layer {
            None => None,
            Some(id) => match self.store.layer(id) {
                Some(layer) => Some(layer),
                None => return Ok(None),
            },
        };
        self.sink.event(Event::Cached { step: step.info.clone() });
        Ok(Some(Solved::on(parent.clone(), layer, record.created)))
    }

    /// Runs CPU work off the async workers, as many at once as there are cores.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StepError> + Send + 'static,
    ) -> Result<T, StepError> {
        let slot = self.slots.work.clone().acquire_owned().await.map_err(|_| StepError::Cancelled)?;
        let task = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        match task.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(StepError::Cancelled),
        }
    }
}

impl Solved {
    fn on(parent: Snapshot, layer: Option<Layer>, created: Timestamp) -> Self {
        let snapshot = match &layer {
            Some(layer) => parent.with(layer.clone()),
            None => parent,
        };
        Self { snapshot, layer, created }
    }
}
