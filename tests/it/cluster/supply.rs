//! A pool keeps its promise while it is scaled, changed, paused and deleted, on a real API server.

use anyhow::{Context, Result, ensure};
use demo::story::{SHOP, apply, apply_deployment, apply_pool_with, get, wait_for_counts, wait_for_pods};
use demo::{Filesystem, Stage, wait};

use super::{LIMIT, check_account, on_a_stage};

#[test]
fn a_pool_is_scaled_changed_refreshed_paused_and_deleted() {
    on_a_stage("supply", Filesystem::Xfs, async |stage| {
        apply_pool_with(stage, "").await?;
        kubectl(stage, &["wait", "vp/web", "--for=condition=PoolFilled", "--timeout=90s"]).await?;
        columns_show_the_pool(stage).await?;
        scales(stage).await?;
        changes_in_place(stage).await?;
        a_snapshot_by_schedule_refreshes_the_volumes(stage).await?;
        a_paused_pool_leaves_ec2_alone(stage).await?;
        a_claim_can_be_a_source(stage).await?;
        deletion_waits_for_claims_and_ends_without_the_source(stage).await
    });
}

async fn kubectl(stage: &Stage, arguments: &[&str]) -> Result<String> {
    let all: Vec<&str> = ["--namespace", SHOP].iter().chain(arguments).copied().collect();
    stage.cluster.kubectl(&all).await
}

async fn patch(stage: &Stage, spec: &str) -> Result<()> {
    let patch = format!(r#"{{"spec":{spec}}}"#);
    kubectl(stage, &["patch", "vp/web", "--type=merge", "--patch", &patch]).await.map(drop)
}

async fn columns_show_the_pool(stage: &Stage) -> Result<()> {
    wait_for_counts(stage, "4 0").await?;
    let table = kubectl(stage, &["get", "vp", "--output", "wide"]).await?;
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let (titles, row) = (lines.next().context("a title")?, lines.next().context("a row")?);
    let wanted = ["NAME", "READY", "DESIRED", "AVAILABLE", "CLAIMED", "GENERATION", "AGE", "SOURCE", "ZONES", "REASON"];
    ensure!(titles == wanted, "kubectl get vp shows {titles:?}");
    ensure!(row[..6] == ["web", "True", "4", "4", "0", "1"], "kubectl get vp shows {row:?}");
    ensure!(row[7..] == [stage.source.as_str(), "us-east-1a,us-east-1b", "PoolReady"], "kubectl get vp shows {row:?}");
    Ok(())
}

async fn scales(stage: &Stage) -> Result<()> {
    kubectl(stage, &["scale", "vp/web", "--replicas=6"]).await?;
    wait_for_counts(stage, "6 0").await?;
    check_account(stage, 6).await?;
    kubectl(stage, &["scale", "vp/web", "--replicas=2"]).await?;
    wait_for_counts(stage, "2 0").await?;
    check_account(stage, 2).await
}

/// Ids of the pool's two EBS volumes, once the objects of those that were too many are gone.
async fn volumes(stage: &Stage) -> Result<Vec<String>> {
    wait::until("two volumes are left", LIMIT, async || {
        let mut ids = get(stage, "pvol", "{range .items[*]}{.status.cloud.volumeID}{\"\\n\"}{end}").await?;
        ids.sort();
        ensure!(ids.len() == 2, "there are {ids:?}");
        Ok(Some(ids))
    })
    .await
}

async fn changes_in_place(stage: &Stage) -> Result<()> {
    let before = volumes(stage).await?;
    patch(stage, r#"{"template":{"size":"2Gi","throughput":200,"tags":{"team":"shop"}}}"#).await?;
    wait::until("both volumes have 2 GiB, 200 MiB/s and the tag", LIMIT, async || {
        for volume in stage.account.volumes_except(&stage.source).await? {
            let has_tag = volume.tags().iter().any(|tag| (tag.key(), tag.value()) == (Some("team"), Some("shop")));
            ensure!((volume.size(), volume.throughput(), has_tag) == (Some(2), Some(200), true), "{volume:?}");
        }
        let sizes = get(stage, "pvol", "{range .items[*]}{.spec.sizeGiB}{\"\\n\"}{end}").await?;
        ensure!(sizes == ["2", "2"], "the objects say {sizes:?}");
        Ok(Some(()))
    })
    .await?;
    let after = volumes(stage).await?;
    ensure!(before == after, "volumes were replaced instead of changed: {before:?}, now {after:?}");
    let moved = patch(stage, r#"{"source":{"volumeID":"vol-0123456789abcdef0"}}"#).await;
    ensure!(moved.is_err_and(|error| format!("{error:#}").contains("spec.source cannot change")), "the source was changed");
    Ok(())
}

async fn a_snapshot_by_schedule_refreshes_the_volumes(stage: &Stage) -> Result<()> {
    let bad = patch(stage, r#"{"snapshots":{"schedule":"often"}}"#).await;
    ensure!(bad.is_err_and(|error| format!("{error:#}").contains("spec.snapshots.schedule")), "the schema took a bad schedule");
    patch(stage, r#"{"snapshots":{"schedule":"61 * * * *"}}"#).await?;
    let reason = "{.status.conditions[?(@.type==\"Degraded\")].reason}";
    wait::until("the pool says InvalidSchedule", LIMIT, async || {
        Ok((get(stage, "vp/web", reason).await? == ["InvalidSchedule"]).then_some(()))
    })
    .await?;
    let before = volumes(stage).await?;
    patch(stage, r#"{"snapshots":{"schedule":"* * * * *","timeZone":"Europe/Berlin","skipUnchanged":false,"retain":{"count":1}}}"#).await?;
    wait::until("a volume of a newer generation is ready", LIMIT, async || {
        let generation = get(stage, "vp/web", "{.status.source.generation}").await?.concat();
        ensure!(generation.parse::<u64>()? >= 2, "the generation is {generation}");
        let next = get(stage, "vp/web", "{.status.nextSnapshotTime}").await?.concat();
        ensure!(next.ends_with(":00Z"), "the next is due at {next:?}");
        Ok(Some(()))
    })
    .await?;
    patch(stage, r#"{"snapshots":{"schedule":null,"timeZone":null}}"#).await?;
    wait::until("all volumes are of the newest generation, and one snapshot is kept", LIMIT, async || {
        let newest = get(stage, "vp/web", "{.status.source.generation}").await?.concat();
        let generations = get(stage, "pvol", "{range .items[*]}{.spec.origin.generation}{\"\\n\"}{end}").await?;
        ensure!(generations.len() == 2 && generations.iter().all(|one| *one == newest), "{generations:?} are not of {newest}");
        let snapshots = stage.account.snapshots_of(&stage.source).await?.len();
        ensure!(snapshots == 1, "{snapshots} snapshots are kept");
        Ok(Some(()))
    })
    .await?;
    let after = volumes(stage).await?;
    ensure!(after.iter().all(|id| !before.contains(id)), "{after:?} were there before");
    wait_for_counts(stage, "2 0").await
}

async fn a_paused_pool_leaves_ec2_alone(stage: &Stage) -> Result<()> {
    patch(stage, r#"{"paused":true,"replicas":4}"#).await?;
    wait::until("the pool says Paused", LIMIT, async || {
        let status = get(stage, "vp/web", "{.status.conditions[?(@.type==\"Paused\")].status}").await?;
        let wanted = get(stage, "pvol", "{range .items[*]}{.metadata.name}{\"\\n\"}{end}").await?;
        Ok((status == ["True"] && wanted.len() == 4).then_some(()))
    })
    .await?;
    check_account(stage, 2).await?;
    patch(stage, r#"{"paused":false}"#).await?;
    wait_for_counts(stage, "4 0").await
}

/// A claim that is bound to the source, as the EBS CSI driver would leave it, and a pool that names it.
async fn a_claim_can_be_a_source(stage: &Stage) -> Result<()> {
    let pool = format!(
        "apiVersion: volumedispatcher.io/v1alpha1\nkind: VolumePool\nmetadata: {{name: of-claim, namespace: {SHOP}}}\n\
         spec: {{replicas: 1, source: {{persistentVolumeClaim: {{name: web-src}}}}}}\n"
    );
    apply(stage, &pool).await?;
    let says = async |reason: &str| {
        wait::until(&format!("the pool of the claim says {reason}"), LIMIT, async || {
            let said = get(stage, "vp/of-claim", "{.status.conditions[?(@.type==\"SourceReady\")].reason}").await?.concat();
            ensure!(said == reason, "it says {said:?}");
            Ok(Some(()))
        })
        .await
    };
    says("SourceNotFound").await?;
    let claim = format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: web-src, namespace: {SHOP}}}\n\
         spec: {{storageClassName: '', volumeName: web-src, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\n"
    );
    apply(stage, &claim).await?;
    says("SourceNotBound").await?;
    let pv = format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: web-src}}\n\
         spec: {{capacity: {{storage: 1Gi}}, accessModes: [ReadWriteOnce], storageClassName: '', persistentVolumeReclaimPolicy: Retain, \
         csi: {{driver: ebs.csi.aws.com, volumeHandle: {}}}}}\n",
        stage.source
    );
    apply(stage, &pv).await?;
    says("AsWanted").await?;
    kubectl(stage, &["wait", "vp/of-claim", "--for=condition=PoolFilled", "--timeout=90s"]).await?;
    kubectl(stage, &["delete", "vp/of-claim", "pvc/web-src", "--timeout=60s"]).await?;
    stage.cluster.kubectl(&["delete", "pv/web-src", "--timeout=60s"]).await.map(drop)
}

async fn deletion_waits_for_claims_and_ends_without_the_source(stage: &Stage) -> Result<()> {
    apply_deployment(stage).await?;
    wait_for_pods(stage).await?;
    kubectl(stage, &["delete", "vp/web", "--wait=false"]).await?;
    let ready = "{.status.conditions[?(@.type==\"Ready\")].reason}: {.status.conditions[?(@.type==\"Ready\")].message}";
    wait::until("the pool names the claims that it waits for", LIMIT, async || {
        let said = get(stage, "vp/web", ready).await?.concat();
        ensure!(said.starts_with("ClaimsRemain") && said.matches("shop/web-").count() == 4, "it says {said:?}");
        Ok(Some(()))
    })
    .await?;
    stage.account.delete_volume(&stage.source).await?;
    kubectl(stage, &["delete", "deployment/web"]).await?;
    kubectl(stage, &["wait", "vp/web", "--for=delete", "--timeout=90s"]).await?;
    let left = stage.account.volumes_except("").await?.len();
    ensure!(left == 0, "EC2 holds {left} volumes");
    stage.cluster.kubectl(&["delete", "namespace", SHOP, "--timeout=60s"]).await.map(drop)
}
