//! The user, or the system, wants the program to end.

use tokio::signal::unix::{SignalKind, signal};

/// Ends on Ctrl-C or a request to terminate.
pub(crate) async fn awaited() -> Result<(), std::io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
        _ = hang_up.recv() => Ok(()),
    }
}
