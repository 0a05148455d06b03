//! What can be wrong with a Dockerfile that is well formed.

use std::{error::Error, fmt};

use crate::{
    dockerfile::{Span, nearest, words::WordError},
    lint::InvalidSettings,
};

/// Why a Dockerfile cannot be planned, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    /// The place in the Dockerfile; `None` for what the build itself asked for.
    pub span: Option<Span>,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl Error for PlanError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem.source()
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// There is no `FROM`.
    #[error("the Dockerfile has no FROM; begin with `FROM scratch` or a base image")]
    NoStage,
    /// `--target` names no stage.
    #[error("there is no stage `{name}` to build{}", known(.name, .stages))]
    UnknownTarget {
        /// As asked for.
        name: String,
        /// The stages that have names.
        stages: Vec<String>,
    },
    /// `COPY --from` gives the number of a stage that does not exist.
    #[error("there is no stage number {number}; the Dockerfile has {stages} stages, counted from 0")]
    UnknownStageNumber {
        /// As written.
        number: usize,
        /// How many there are.
        stages: usize,
    },
    /// Stages need each other.
    #[error("the stages {} need each other", .0.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" -> "))]
    Cycle(Vec<String>),
    /// A variable could not be expanded.
    #[error("cannot expand `{word}`")]
    Expand {
        /// The word as written.
        word: String,
        /// Why not.
        source: WordError,
    },
    /// A word that must not be empty is empty after expansion.
    #[error("{what} is empty after expansion of `{word}`; {}", or_else(.near))]
    EmptyImage {
        /// `the image` or `the stage`.
        what: &'static str,
        /// The word as written.
        word: String,
        /// An argument whose name is nearly that of one that is not set.
        near: Option<String>,
    },
    /// A value that does not fit its instruction.
    #[error("{value:?} is not {expected}")]
    Value {
        /// After expansion.
        value: String,
        /// What would fit.
        expected: &'static str,
    },
    /// A limit that keeps hostile files from exhausting the machine.
    #[error("{what} is larger than the limit of {limit}")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// The limit and its unit.
        limit: String,
    },
    /// `# check=` with something that is no setting of the checks.
    #[error(transparent)]
    Check(#[from] InvalidSettings),
    /// `RUN --mount` with options that do not go together.
    #[error("{0}")]
    Mount(String),
    /// `COPY --from=$X`.
    #[error("--from takes no variables; name a stage with `FROM $IMAGE AS name` and copy from that")]
    VariableInFrom,
    /// Several sources need a directory as destination.
    #[error("several sources need a directory as destination: end `{0}` with a slash")]
    DestinationNotDirectory(String),
    /// Part of the Dockerfile reference that this version cannot do.
    #[error("{0} is not supported yet")]
    NotYet(String),
    /// Something that the user has not allowed.
    #[error("{0}")]
    NotAllowed(String),
    /// An `ONBUILD` trigger of the base image that does not parse.
    #[error("the base image's trigger `ONBUILD {trigger}` is not well formed: {reason}")]
    Trigger {
        /// As the image's configuration has it.
        trigger: String,
        /// What is wrong with it.
        reason: String,
    },
}

fn known(name: &str, stages: &[String]) -> String {
    match nearest(name, stages.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if stages.is_empty() => String::from("; no stage has a name"),
        None => format!("; there are {}", stages.join(", ")),
    }
}

fn or_else(near: &Option<String>) -> String {
    match near {
        Some(near) => format!("did you mean `${near}`?"),
        None => "declare its ARG before the first FROM, or give it a default".to_owned(),
    }
}

impl Problem {
    /// This problem at a place.
    pub(crate) fn at(self, span: Span) -> PlanError {
        PlanError { span: Some(span), problem: self }
    }

    /// This problem with the request itself.
    pub(crate) fn nowhere(self) -> PlanError {
        PlanError { span: None, problem: self }
    }
}
