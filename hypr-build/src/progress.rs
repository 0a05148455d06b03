//! What a build tells while it runs: typed events for whoever draws them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::Serialize;

use crate::{digest::Digest, executor::Usage, snapshot::LayerId};

/// Takes the events of a build, in order for each step, from several threads at once.
///
/// Called on the build's own path: an implementation hands on or draws, and returns soon.
pub trait ProgressSink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// A sink that drops every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl ProgressSink for Silent {
    fn event(&self, _: Event) {}
}

impl<F: Fn(Event) + Send + Sync> ProgressSink for F {
    fn event(&self, event: Event) {
        self(event);
    }
}

/// A step of the plan as events name it; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepInfo {
    /// Identifies the step within its build.
    pub id: usize,
    /// The stage's name, or its number where it has none.
    pub stage: Arc<str>,
    /// The step's number within its stage, from 1.
    pub number: usize,
    /// How many steps the stage has.
    pub of: usize,
    /// The instruction as history shows it.
    pub text: Arc<str>,
    /// The line of the Dockerfile, from 1; 0 for a step that no line asked for.
    pub line: usize,
}

/// Where a step's output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How far the transfer of a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PullState {
    /// It begins.
    Started {
        /// Bytes in all.
        size: u64,
    },
    /// Some of it is there.
    Received {
        /// Bytes so far.
        bytes: u64,
    },
    /// The layer is in the store.
    Finished,
}

/// One thing that happened in a build.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The plan stands.
    Planned {
        /// How many steps the target needs.
        steps: usize,
        /// The executor for `RUN`; `None` when the plan has none.
        executor: Option<&'static str>,
        /// Why this executor, for people.
        reason: Option<String>,
    },
    /// A step's inputs are ready and it is looked up in the cache.
    Started {
        /// The step.
        step: StepInfo,
    },
    /// Why a step is carried out, when [`Builder::explain`](crate::Builder::explain) asks for it.
    Explained {
        /// The step.
        step: StepInfo,
        /// The first input that no earlier record has, for people.
        reason: String,
    },
    /// The cache had the step's layer.
    Cached {
        /// The step.
        step: StepInfo,
    },
    /// A step's process wrote something.
    Output {
        /// The step.
        step: StepInfo,
        /// To which stream.
        stream: Stream,
        /// The bytes as they came; not always whole lines, not always UTF-8.
        #[serde(serialize_with = "lossy")]
        bytes: Vec<u8>,
    },
    /// A step wrote so much that no more of it is shown.
    Clipped {
        /// The step.
        step: StepInfo,
        /// Bytes that were shown.
        shown: u64,
        /// The file that has all of it; `None` when it could not be made.
        log: Option<PathBuf>,
    },
    /// A step's process has ended.
    Exited {
        /// The step.
        step: StepInfo,
        /// Its exit status.
        status: u8,
        /// What it used.
        usage: Usage,
    },
    /// A step was carried out.
    Finished {
        /// The step.
        step: StepInfo,
        /// Wall time.
        #[serde(serialize_with = "seconds")]
        duration: Duration,
        /// The layer it made; `None` when it changed nothing.
        layer: Option<LayerId>,
    },
    /// A step failed; the error that the build returns says why.
    Failed {
        /// The step.
        step: StepInfo,
    },
    /// A base image's layer is being fetched or converted.
    Pulling {
        /// The image as it was named.
        image: String,
        /// The layer's digest.
        layer: String,
        /// How far it is.
        state: PullState,
    },
    /// Something the user should know that does not stop the build.
    Warning {
        /// The line of the Dockerfile, if there is one.
        line: Option<usize>,
        /// What it is.
        message: String,
    },
    /// The image is in the store.
    Exported {
        /// BLAKE3 of the squashfs file.
        digest: Digest,
        /// Bytes of it.
        size: u64,
        /// The image's id.
        id: String,
        /// The names it got.
        names: Vec<String>,
    },
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn lossy<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}
