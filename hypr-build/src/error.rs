//! Why a build did not produce an image.

use std::{fmt, io, path::PathBuf};

use crate::{
    context::ContextError,
    dockerfile::{Dockerfile, ParseErrors},
    executor::ExecutorError,
    image::{ImageError, InvalidPlatform, InvalidReference},
    lint::Rule,
    plan::PlanError,
    remote::RemoteError,
    solve::StepError,
    store::StoreError,
};

/// Why a build did not produce an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Dockerfile is not well formed.
    #[error("cannot parse {file}, {errors}")]
    Parse {
        /// The file as the caller named it.
        file: String,
        /// What is wrong, and where.
        errors: ParseErrors,
    },
    /// The Dockerfile is well formed and cannot be built.
    #[error("{at}: `{instruction}` cannot be built")]
    Plan {
        /// The place.
        at: Location,
        /// The instruction.
        instruction: String,
        /// The line, a caret under what is wrong.
        excerpt: String,
        /// What is wrong with it.
        source: Box<PlanError>,
        /// What else is wrong with the Dockerfile, in the order of its lines.
        more: Vec<PlanError>,
    },
    /// The build checks found something, and the Dockerfile or the user wants that to be an error.
    #[error("{file} does not pass the build checks {}", .rules.iter().map(|rule| rule.name()).collect::<Vec<_>>().join(", "))]
    Checks {
        /// The Dockerfile.
        file: String,
        /// The rules that are not kept.
        rules: Vec<Rule>,
        /// The lines that do not, each with what a rule says of it.
        excerpt: String,
    },
    /// What was asked for does not fit the Dockerfile.
    #[error("cannot build {file}")]
    Request {
        /// The Dockerfile.
        file: String,
        /// What does not fit.
        source: Box<PlanError>,
    },
    /// A `RUN` command ended with a non-zero status.
    #[error("{at}: `{command}` exited with status {status}")]
    Command {
        /// The place.
        at: Location,
        /// The instruction as written.
        command: String,
        /// The status, 1 to 255.
        status: u8,
    },
    /// A step failed.
    #[error("{at}: `{instruction}` failed")]
    Step {
        /// The place.
        at: Location,
        /// The instruction as written.
        instruction: String,
        /// Why.
        source: Box<StepError>,
    },
    /// There is no sandbox of the kind that was asked for.
    #[error("cannot isolate steps as asked for")]
    Isolation(#[source] ExecutorError),
    /// A base image could not be had.
    #[error("{at}: cannot get the image `{name}`{}", known(.stages))]
    Base {
        /// The place that asks for it.
        at: Location,
        /// The image as the Dockerfile names it.
        name: String,
        /// The stages that it may have been meant to be, if it looks like the name of one.
        stages: Vec<String>,
        /// Why.
        source: Box<ImageError>,
    },
    /// There is no Dockerfile.
    #[error("there is no Dockerfile at {}; {hint}", path.display())]
    NoDockerfile {
        /// Where it was looked for.
        path: PathBuf,
        /// What to do.
        hint: &'static str,
    },
    /// A file of the host could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The context cannot be used.
    #[error(transparent)]
    Context(Box<ContextError>),
    /// A `.dockerignore` is not well formed.
    #[error("{file}:{line}: {pattern:?} {reason}")]
    Ignore {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is written there.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A context on the network could not be had.
    #[error("cannot use the build context `{url}`")]
    RemoteContext {
        /// As given, without a password.
        url: String,
        /// Why not.
        source: Box<RemoteError>,
    },
    /// The address of a context is not one.
    #[error("cannot use the build context `{url}`: {reason}")]
    Address {
        /// As given, without a password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A named context cannot be used.
    #[error("cannot use the build context `{name}={origin}`: {reason}")]
    BuildContext {
        /// Its name.
        name: String,
        /// Its source as given.
        origin: String,
        /// Why not.
        reason: String,
    },
    /// A name for the image is not one.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// The platform is not one.
    #[error(transparent)]
    Platform(#[from] InvalidPlatform),
    /// An image could not be taken in.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// An SSH agent cannot be asked.
    #[error("cannot use the SSH agent `{id}`")]
    SshAgent {
        /// As mounts name it.
        id: String,
        /// Why not.
        source: io::Error,
    },
    /// `SOURCE_DATE_EPOCH` is not a number.
    #[error("SOURCE_DATE_EPOCH is not a number of seconds: {value:?}")]
    SourceDateEpoch {
        /// As given.
        value: String,
    },
    /// Something that this version cannot do.
    #[error("{what} is not built yet; {instead}")]
    NotYet {
        /// What was asked for.
        what: &'static str,
        /// The way out.
        instead: &'static str,
    },
    /// The image could not be put together.
    #[error("cannot write the image")]
    Export(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store failed.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// The runtime went away during the build.
    #[error("the build was cancelled")]
    Cancelled,
}

fn known(stages: &[String]) -> String {
    if stages.is_empty() { String::new() } else { format!("; no stage has this name, there are {}", stages.join(", ")) }
}

/// A line of a Dockerfile: `app/Dockerfile:7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

impl From<ContextError> for Error {
    fn from(error: ContextError) -> Self {
        Self::Context(Box::new(error))
    }
}

impl Error {
    /// A fault of the text, with its excerpt.
    pub(crate) fn parse(file: &str, errors: ParseErrors) -> Self {
        Self::Parse { file: file.to_owned(), errors }
    }

    /// The lines of the Dockerfile that the error is about, a caret under each fault; ends with a line end.
    pub fn excerpt(&self) -> Option<String> {
        match self {
            Self::Parse { file, errors } => Some(errors.render(file)),
            Self::Plan { excerpt, .. } | Self::Checks { excerpt, .. } => Some(excerpt.clone()),
            _ => None,
        }
    }

    /// Faults of the plan, at least one, with the lines that they are about.
    pub(crate) fn plan(file: &str, dockerfile: &Dockerfile, mut errors: Vec<PlanError>) -> Self {
        if errors.is_empty() {
            return Self::Cancelled;
        }
        let source = errors.remove(0);
        let Some(span) = source.span else { return Self::Request { file: file.to_owned(), source: Box::new(source) } };
        let line = dockerfile.source.line(span.start);
        let at = dockerfile.statements.partition_point(|statement| statement.end_line < line);
        let statement = dockerfile.statements.get(at).filter(|statement| statement.line <= line);
        // A directive is no statement.
        let text = statement.map_or_else(|| dockerfile.source.line_text(line), |statement| &statement.text);
        let instruction = abbreviated(text);
        let render = |error: &PlanError| {
            let text = with_causes(error);
            dockerfile.source.render(file, error.span.unwrap_or_default(), &text, None)
        };
        let excerpt = std::iter::once(&source).chain(&errors).map(render).collect::<Vec<_>>().join("\n");
        let at = Location { file: file.to_owned(), line };
        Self::Plan { at, instruction, excerpt, source: Box::new(source), more: errors }
    }
}

/// An error and its causes on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// `text` short enough for a message.
fn abbreviated(text: &str) -> String {
    const SHOWN: usize = 200;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
