//! What the monitor could not do.

use std::fmt::Display;

/// Something that failed, on its way to the library.
#[derive(Debug)]
pub struct Failure {
    /// A verb and its object.
    pub(crate) action: String,
    pub(crate) reason: String,
}

impl Failure {
    pub(crate) fn new(action: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { action: action.into(), reason: reason.into() }
    }
}

/// Says what was being done when something failed.
pub(crate) trait Context<T> {
    fn context(self, action: &str) -> Result<T, Failure>;
}

impl<T, E: Display> Context<T> for Result<T, E> {
    fn context(self, action: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(action, error.to_string()))
    }
}
