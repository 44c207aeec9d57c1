//! When the process was asked to end.

use tokio::signal::unix::{SignalKind, signal};

/// Returns on SIGTERM or SIGINT. Cancel safe.
///
/// # Panics
/// When the runtime has no signal driver, which every mode enables.
pub async fn requested() {
    let mut terminate = signal(SignalKind::terminate()).expect("the runtime drives signals");
    let mut interrupt = signal(SignalKind::interrupt()).expect("the runtime drives signals");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
