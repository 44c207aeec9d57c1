//! The dispatcher: gives ready volumes to claims and takes them back. It never calls EC2, so that it stays fast.

mod execute;
mod observe;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::controller::attempt::attempt;
use crate::controller::backoff::Backoff;
use crate::ec2::Ec2;
use crate::plan;

use super::context::Context;

/// The shortest time between two passes, so that a burst of changes is one pass.
const SETTLE: Duration = Duration::from_millis(5);
/// The longest time between two passes, for back-offs that end.
const RESYNC: Duration = Duration::from_secs(5);

/// Runs for as long as this replica leads.
pub async fn run<E: Ec2>(context: Context<E>, wake: Arc<Notify>) {
    let backoff = Backoff::default();
    loop {
        for action in plan::demand(&observe::everything(&context)) {
            attempt(&context, &backoff, execute::label(&action), execute::one(&context, &action)).await;
        }
        tokio::time::sleep(SETTLE).await;
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(RESYNC) => {}
        }
    }
}
