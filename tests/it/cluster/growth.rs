//! A volume may be larger than its source: its filesystem is grown before a pod sees it.

use anyhow::{Result, ensure};
use demo::story::{SHOP, apply_deployment, apply_pool_with, digest_in, wait_for_pods, wait_for_pool};
use demo::{Filesystem, Stage};

use super::{check_return, on_a_stage};

#[test]
fn an_ext4_volume_larger_than_its_source_is_grown_and_read_only() {
    on_a_stage("ext4 grown", Filesystem::Ext4, grown_to_two_gib);
}

#[test]
fn an_xfs_volume_larger_than_its_source_is_grown_and_read_only() {
    on_a_stage("xfs grown", Filesystem::Xfs, grown_to_two_gib);
}

async fn grown_to_two_gib(stage: &Stage) -> Result<()> {
    apply_pool_with(stage, "    size: 2Gi\n").await?;
    wait_for_pool(stage).await?;
    apply_deployment(stage).await?;
    for pod in wait_for_pods(stage).await? {
        let exec = |script: &'static str| ["--namespace", SHOP, "exec", &pod, "--", "sh", "-c", script].map(str::to_owned);
        let run = async |script| stage.cluster.kubectl(&exec(script).each_ref().map(String::as_str)).await;
        let kib: u64 = run("df -k /content | tail -n 1 | awk '{print $2}'").await?.trim().parse()?;
        // The filesystem's own structures take a part of the two GiB.
        ensure!(kib > 1_800_000, "{pod} has only {kib} KiB");
        ensure!(run("touch /content/new").await.is_err(), "{pod} can write to a read-only volume");
        ensure!(digest_in(stage, &pod).await? == stage.digest, "{pod} reads something else than the source");
    }
    check_return(stage).await
}
