//! Bad input is answered with the field and the fix, and changes nothing in EC2.

use anyhow::{Context, Result, ensure};
use demo::story::{SHOP, apply, apply_pool, get, wait_for_pool};
use demo::{Filesystem, Stage, wait};

use super::{LIMIT, on_a_stage};

#[test]
fn bad_input_is_answered_with_the_field_and_the_fix_and_changes_nothing() {
    on_a_stage("refusals", Filesystem::Xfs, async |stage| {
        apply_pool(stage).await?;
        wait_for_pool(stage).await?;
        let before = in_ec2(stage).await?;
        schema_refuses(stage).await?;
        pools_say_why_not(stage).await?;
        claims_say_why_not(stage).await?;
        agents_write_for_their_own_node_only(stage).await?;
        let after = in_ec2(stage).await?;
        // The source of the pool that is too small was made by this test.
        ensure!(after == (before.0 + 1, before.1), "EC2 held {before:?} volumes and snapshots, now {after:?}");
        nothing_was_restarted(stage).await
    });
}

async fn in_ec2(stage: &Stage) -> Result<(usize, usize)> {
    Ok((stage.account.volumes_except(&stage.source).await?.len(), stage.account.snapshot_count().await?))
}

fn pool(name: &str, spec: &str) -> String {
    format!("apiVersion: volumedispatcher.io/v1alpha1\nkind: VolumePool\nmetadata: {{name: {name}, namespace: {SHOP}}}\nspec: {spec}\n")
}

async fn refused(stage: &Stage, manifest: &str, words: &str) -> Result<()> {
    let error = apply(stage, manifest).await.err().with_context(|| format!("the API server took {manifest}"))?;
    let text = format!("{error:#}");
    ensure!(text.contains(words), "the API server refused {manifest} with {text}, not with {words}");
    Ok(())
}

async fn schema_refuses(stage: &Stage) -> Result<()> {
    let two_sources = "{source: {volumeID: vol-0123456789abcdef0, snapshotID: snap-0123456789abcdef0}}";
    refused(stage, &pool("two", two_sources), "exactly one of volumeID, persistentVolumeClaim and snapshotID").await?;
    refused(stage, &pool("none", "{source: {}}"), "exactly one of volumeID, persistentVolumeClaim and snapshotID").await?;
    refused(stage, &pool("odd", "{source: {volumeID: web}}"), "spec.source.volumeID").await?;
    let refreshing = |mode: &str, limits: &str| {
        pool("lazy", &format!("{{source: {{volumeID: vol-0123456789abcdef0}}, sync: {{mode: {mode}, refresh: {limits}}}}}"))
    };
    refused(stage, &refreshing("None", "{maxAge: 1h}"), "spec.sync.refresh needs spec.sync.mode Live").await?;
    refused(stage, &refreshing("Live", "{}"), "spec.sync.refresh needs maxAge, maxGenerations or both").await?;
    refused(stage, &refreshing("Live", "{maxAge: 1m}"), "spec.sync.refresh.maxAge must be at least 5m").await?;
    refused(stage, &pool("tiny", "{source: {volumeID: vol-0123456789abcdef0}, template: {size: 1Mi}}"), "at least 1Gi").await?;
    let written = "{source: {volumeID: vol-0123456789abcdef0}, claims: {access: ReadWrite, reclaimPolicy: Recycle}}";
    refused(stage, &pool("written", written), "use Delete or Retain").await?;
    let patch = r#"{"spec":{"source":{"volumeID":"vol-0123456789abcdef0"}}}"#;
    let moved = stage.cluster.kubectl(&["--namespace", SHOP, "patch", "volumepool/web", "--type=merge", "--patch", patch]).await;
    ensure!(moved.is_err_and(|error| format!("{error:#}").contains("spec.source cannot change")), "the source of a pool was changed");
    Ok(())
}

async fn pools_say_why_not(stage: &Stage) -> Result<()> {
    let large = stage.account.create_volume("large-source", "us-east-1a", 2).await?;
    stage.account.tag(&large, "volumedispatcher.io/source", "*").await?;
    let of = |id: &str, rest: &str| format!("{{source: {{volumeID: {id}}}{rest}}}");
    let cases = [
        ("unknown", of("vol-0123456789abcdef0", ""), "SourceReady", "SourceNotFound", "spec.source.volumeID"),
        ("unshared", of(&stage.source, ""), "SourceReady", "SourceNotShared", "volumedispatcher.io/source"),
        ("small", of(&large, ", template: {size: 1Gi}"), "SourceReady", "SizeBelowSource", "spec.template.size"),
        ("nowhere", of(&large, ", zones: [us-east-1c]"), "PoolFilled", "ZoneHasNoNode", "spec.zones"),
    ];
    for (name, spec, condition, reason, field) in cases {
        apply(stage, &pool(name, &spec)).await?;
        let path = format!("{{range .status.conditions[?(@.type==\"{condition}\")]}}{{.reason}}: {{.message}}{{end}}");
        wait::until(&format!("{condition} of {name} is {reason}"), LIMIT, async || {
            let said = get(stage, &format!("volumepool/{name}"), &path).await?.concat();
            ensure!(said.starts_with(reason) && said.contains(field), "{condition} of {name} says {said:?}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

fn claim(name: &str, namespace: &str, class: &str, rest: &str, size: &str) -> String {
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{storageClassName: {class}, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {size}}}}}{rest}}}\n"
    )
}

async fn claims_say_why_not(stage: &Stage) -> Result<()> {
    stage.cluster.kubectl(&["create", "namespace", "stranger"]).await?;
    let class = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: shop-web}\nprovisioner: volumedispatcher.io\n\
                 parameters: {pool: shop/web}\nvolumeBindingMode: WaitForFirstConsumer\n";
    apply(stage, class).await?;
    let from = |name: &str| format!(", dataSourceRef: {{apiGroup: volumedispatcher.io, kind: VolumePool, name: {name}}}");
    let cases = [
        (claim("greedy", SHOP, "volumepool", &from("web"), "50Gi"), SHOP, "greedy", "RequestTooLarge", "spec.resources.requests.storage"),
        (claim("lost", SHOP, "volumepool", &from("nothing"), "1Gi"), SHOP, "lost", "PoolNotFound", "shop/nothing"),
        (claim("aimless", SHOP, "volumepool", "", "1Gi"), SHOP, "aimless", "InvalidClaim", "spec.dataSourceRef"),
        (
            claim("guest", "stranger", "shop-web", "", "1Gi"),
            "stranger",
            "guest",
            "NamespaceNotAllowed",
            "spec.claims.namespaces.matchNames",
        ),
    ];
    for (manifest, namespace, name, reason, field) in cases {
        apply(stage, &manifest).await?;
        let selector = format!("involvedObject.name={name},reason={reason}");
        wait::until(&format!("an event says {reason} of {name}"), LIMIT, async || {
            let output = "jsonpath={range .items[*]}{.message}{end}";
            let said = stage
                .cluster
                .kubectl(&["--namespace", namespace, "get", "events", "--field-selector", &selector, "--output", output])
                .await?;
            ensure!(said.contains(field), "the event says {said:?}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

async fn nothing_was_restarted(stage: &Stage) -> Result<()> {
    let output = "jsonpath={range .items[*]}{.status.containerStatuses[*].restartCount}{end}";
    let counts = stage.cluster.kubectl(&["--namespace", "volume-dispatcher", "get", "pods", "--output", output]).await?;
    ensure!(counts.chars().all(|count| count == '0'), "pods were restarted: {counts}");
    Ok(())
}

/// A status write with the identity of an agent whose token is bound to `node`.
async fn write_as_agent(stage: &Stage, node: &str, path: &str, status: &str) -> Result<()> {
    let request = axum::http::Request::patch(format!("/apis/volumedispatcher.io/v1alpha1/{path}/status"))
        .header("content-type", "application/merge-patch+json")
        .header("impersonate-user", "system:serviceaccount:volume-dispatcher:volume-dispatcher-agent")
        .header("impersonate-extra-authentication.kubernetes.io%2fnode-name", node)
        .body(format!(r#"{{"status":{status}}}"#).into_bytes())?;
    stage.cluster.client().await?.request_text(request).await?;
    Ok(())
}

async fn agents_write_for_their_own_node_only(stage: &Stage) -> Result<()> {
    let version = r#"{"version":"0.1.0"}"#;
    write_as_agent(stage, "node1", "poolnodes/node1", version).await.context("an agent may write its own PoolNode")?;
    let volume = format!("namespaces/{SHOP}/poolvolumes/web-0");
    let side = r#"{"node":{"name":"node1","instanceID":"i-1","attached":true,"mounted":true}}"#;
    let refusals = [
        ("poolnodes/node2", version, "only the PoolNode of its own node"),
        (&volume, side, "only the status of volumes that are on its own node"),
        (&volume, r#"{"phase":"Failed"}"#, "only the status of volumes that are on its own node"),
    ];
    for (path, status, words) in refusals {
        let error =
            write_as_agent(stage, "node1", path, status).await.err().with_context(|| format!("an agent wrote {status} to {path}"))?;
        ensure!(format!("{error:#}").contains(words), "{path} was refused with {error:#}");
    }
    Ok(())
}
