//! Writes the node side of sources that another driver attaches.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use tokio::sync::watch;
use tracing::debug;

use super::here::{Board, Here, side};
use crate::agent::report::Reporter;
use crate::agent::state::{is_foreign, volume_id};
use crate::api::PoolVolume;
use crate::api::keys::LABEL_NODE;

/// How often all are looked at without a reason: an object may have been written by others, or a write may have failed.
const LOOK: Duration = Duration::from_millis(500);

/// Runs forever.
pub(super) async fn run(reporter: Reporter, sources: Store<PoolVolume>, mut here: watch::Receiver<Board>) {
    loop {
        let all = here.borrow_and_update().clone();
        for source in sources.state() {
            let known = volume_id(&source).and_then(|id| all.get(&id));
            if let Some((object, known)) = known.filter(|_| is_foreign(&source) && is_mine(&reporter, &source)) {
                let is_it = source.name_any() == object.name && source.namespace().as_deref() == Some(object.namespace.as_str());
                let known = if is_it { known.clone() } else { known.of_another(object) };
                write(&reporter, &source, &known).await;
            }
        }
        tokio::select! {
            changed = here.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Whether the API server lets this node write the side.
fn is_mine(reporter: &Reporter, source: &PoolVolume) -> bool {
    source.labels().get(LABEL_NODE).is_some_and(|node| *node == reporter.node.as_str())
}

async fn write(reporter: &Reporter, source: &PoolVolume, here: &Here) {
    let is_assigned = source.spec.node_name.as_deref() == Some(reporter.node.as_str());
    let now = Timestamp::now();
    let told = reporter.report(source, |stored| side(here, stored, reporter.blank(), is_assigned, now)).await;
    if let Err(error) = told {
        debug!(%error, source = source.name_any(), "what became of a source was not told and is told again");
    }
}
