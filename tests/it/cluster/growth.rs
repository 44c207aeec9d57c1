//! A volume may be larger than its source: its filesystem is grown before a pod sees it.

use anyhow::{Result, ensure};
use demo::story::{SHOP, apply_deployment, apply_pool_with, digest_in, get, wait_for_pods, wait_for_pool};
use demo::{Filesystem, Stage, wait};

use super::{LIMIT, check_return, on_a_stage};

#[test]
fn an_ext4_volume_larger_than_its_source_is_grown_and_read_only() {
    on_a_stage("ext4 grown", Filesystem::Ext4, async |stage| grown_to_two_gib(stage, "ext4").await);
}

#[test]
fn an_xfs_volume_larger_than_its_source_is_grown_and_read_only() {
    on_a_stage("xfs grown", Filesystem::Xfs, async |stage| grown_to_two_gib(stage, "xfs").await);
}

async fn grown_to_two_gib(stage: &Stage, filesystem: &str) -> Result<()> {
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
    // Learnt from the nodes, and kept when none has a copy mounted any more.
    check_return(stage).await?;
    wait::until("the pool tells the filesystem of its source", LIMIT, async || {
        let told = get(stage, "volumepool/web", "{.status.source.filesystem}").await?.concat();
        ensure!(told == filesystem, "it tells {told:?}");
        Ok(Some(()))
    })
    .await
}
