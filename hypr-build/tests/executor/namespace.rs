//! The contract with namespaces, and what is theirs alone.

use hypr_build::executor::{ExecutorError, NamespaceExecutor};

use crate::{contract, layers::Workshop, run::chain};

/// An executor, or `None` where namespaces cannot be used.
async fn executor(workshop: &Workshop) -> Option<NamespaceExecutor> {
    let executor = NamespaceExecutor::new(workshop.scratch());
    match executor.check().await {
        Ok(()) => Some(executor),
        Err(error @ ExecutorError::Unavailable { .. }) => {
            eprintln!("skipped: {}", chain(&error));
            None
        }
        Err(error) => panic!("{}", chain(&error)),
    }
}

macro_rules! contract {
    ($($name:ident)*) => {
        $(#[tokio::test]
        async fn $name() {
            let workshop = Workshop::new();
            if let Some(executor) = executor(&workshop).await {
                contract::$name(&executor, &workshop).await;
            }
        })*
    };
}

contract! {
    exit_status_is_an_outcome
}
