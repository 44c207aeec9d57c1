//! The demonstration is true.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use demo::story::{self, SHOP};
use demo::{Filesystem, Report, Stage, WITH_A_SPARE, wait};

use super::{LIMIT, on_nodes_in};

#[test]
fn pods_on_two_nodes_read_the_content_of_the_source_from_volumes_of_their_own() {
    on_nodes_in(WITH_A_SPARE, "story", Filesystem::Xfs, async |stage| {
        let report: Report = Arc::new(|line: &str| println!("{line}"));
        story::tell(stage, Instant::now(), &report).await?;
        a_deleted_pool_leaves_nothing_in_ec2(stage).await?;
        an_uninstall_keeps_the_definitions(stage).await
    });
}

async fn an_uninstall_keeps_the_definitions(stage: &Stage) -> Result<()> {
    stage.cluster.helm(&["uninstall", "volume-dispatcher", "--namespace", "volume-dispatcher", "--wait"]).await?;
    let kept = stage.cluster.kubectl(&["get", "crds", "--output", "name"]).await?;
    for kind in ["volumepools", "poolvolumes", "poolnodes"] {
        ensure!(kept.contains(&format!("{kind}.volumedispatcher.io")), "{kind} went with the chart; there are {kept}");
    }
    Ok(())
}

async fn a_deleted_pool_leaves_nothing_in_ec2(stage: &Stage) -> Result<()> {
    stage.cluster.kubectl(&["--namespace", SHOP, "delete", "volumepool/web", "--timeout=60s"]).await?;
    wait::until("EC2 holds the source alone", LIMIT, async || {
        let volumes = stage.account.volumes_except(&stage.source).await?.len();
        let snapshots = stage.account.snapshots_of(&stage.source).await?.len();
        ensure!((volumes, snapshots) == (0, 0), "EC2 holds {volumes} more volumes and {snapshots} snapshots");
        Ok(Some(()))
    })
    .await?;
    let left = stage.cluster.kubectl(&["get", "poolvolumes,persistentvolumes", "--all-namespaces", "--output", "name"]).await?;
    ensure!(left.trim().is_empty(), "objects are left: {left}");
    Ok(())
}
