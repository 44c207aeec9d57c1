//! Path operations: has them done at the source, collects receipts, and clears up. It never calls EC2.

mod execute;
mod observe;
mod status;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::controller::attempt::attempt;
use crate::controller::backoff::Backoff;
use crate::ec2::Ec2;
use crate::plan;

use super::context::Context;

/// The shortest time between two passes: receipts that come together are one write.
const SETTLE: Duration = Duration::from_millis(20);
/// The longest time between two passes, for times that run out.
const RESYNC: Duration = Duration::from_secs(1);

/// Runs for as long as this replica leads.
pub async fn run<E: Ec2>(context: Context<E>, wake: Arc<Notify>) {
    let backoff = Backoff::default();
    loop {
        let now = context.clock.now();
        for action in plan::operations(&observe::everything(&context), now) {
            attempt(&context, &backoff, execute::label(&action), execute::one(&context, &action)).await;
        }
        tokio::time::sleep(SETTLE).await;
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(RESYNC) => {}
        }
    }
}
