//! Sandboxes made of namespaces, cgroups and overlayfs on the host's own kernel.

use std::path::PathBuf;

use async_trait::async_trait;

use super::{Executor, ExecutorError, RunOutcome, RunStep, StepIo};

/// Runs steps in namespaces of the host's kernel.
#[derive(Debug)]
pub struct NamespaceExecutor {
    scratch_root: PathBuf,
}

impl NamespaceExecutor {
    /// An executor that keeps what its steps write, while they run, in directories below `scratch_root`.
    ///
    /// The directory must exist and lie on a file system that can hold an overlay upper.
    pub fn new(scratch_root: impl Into<PathBuf>) -> Self {
        Self { scratch_root: scratch_root.into() }
    }

    /// Tells whether steps can run here, before the first one does.
    ///
    /// # Errors
    /// [`ExecutorError::Unavailable`] says what is missing and the way out.
    pub async fn check(&self) -> Result<(), ExecutorError> {
        Err(ExecutorError::Unavailable {
            executor: self.name(),
            reason: format!("no sandbox can be started in {} yet", self.scratch_root.display()),
        })
    }
}

#[async_trait]
impl Executor for NamespaceExecutor {
    fn name(&self) -> &'static str {
        "namespace"
    }

    async fn run(&self, _step: RunStep<'_>, _io: &mut dyn StepIo) -> Result<RunOutcome, ExecutorError> {
        self.check().await?;
        Err(ExecutorError::Lost("no sandbox was started".to_owned()))
    }
}
