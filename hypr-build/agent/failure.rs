//! Errors on their way to hypr: what was being done, and what the system said.

use std::io;

use crate::protocol::{Failure, FailureKind};

/// A step of the agent's work that failed.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) Failure);

impl Failed {
    /// A failure that the system has no error number for.
    pub(crate) fn new(kind: FailureKind, action: impl Into<String>, reason: impl Into<String>) -> Self {
        Self(Failure { kind, action: action.into(), errno: 0, reason: reason.into() })
    }
}

/// Says what was being done when something failed.
pub(crate) trait Context<T> {
    /// `action` is a verb and its object: "mount the root".
    fn context(self, action: &str) -> Result<T, Failed>;

    /// The same for what the step's author can mend: the program, its directory, its user.
    fn start_context(self, action: &str) -> Result<T, Failed>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, action: &str) -> Result<T, Failed> {
        self.map_err(|error| failed(FailureKind::Setup, action, &error))
    }

    fn start_context(self, action: &str) -> Result<T, Failed> {
        self.map_err(|error| failed(FailureKind::Start, action, &error))
    }
}

fn failed(kind: FailureKind, action: &str, error: &io::Error) -> Failed {
    let reason = if error.raw_os_error().is_some() { String::new() } else { error.to_string() };
    Failed(Failure { kind, action: action.to_owned(), errno: error.raw_os_error().unwrap_or(0), reason })
}
