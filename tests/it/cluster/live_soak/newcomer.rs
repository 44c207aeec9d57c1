//! A pod that is made during the soak: what it reads first is what its claim got.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use demo::story::{SHOP, apply, get};
use demo::{Stage, wait};

use super::super::LIMIT;
use super::beats::{Beats, Reading};
use super::claim;

/// What the pool of the example promises, by its default.
const MAX_STALENESS: Duration = Duration::from_secs(5);
/// From the moment at which the volume is given to the pod until its container reads: the kubelet starts that container
/// meanwhile, on a machine where agents are killed and nodes booted.
const START: Duration = Duration::from_secs(5);

/// A pod with a claim of its own.
pub(super) struct Newcomer(String);

impl Newcomer {
    /// Makes the pod, on a node if one is named.
    pub(super) async fn start(stage: &Stage, round: u32, node: Option<&str>) -> Result<Self> {
        let (name, claim) = (format!("newcomer-{round}"), claim(""));
        let selector = node.map_or_else(String::new, |node| format!("kubernetes.io/hostname: {node}"));
        let script = serde_json::Value::from(Reading::SCRIPT);
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {SHOP}}}\nspec:\n  restartPolicy: Never\n  \
             nodeSelector: {{{selector}}}\n  containers: [{{name: reader, image: 'registry.local/busybox:1', command: [sh, -c, {script}], \
             volumeMounts: [{{name: content, mountPath: /content, readOnly: true}}]}}]\n  volumes: [{{name: content, ephemeral: \
             {claim}}}]\n"
        );
        apply(stage, &pod).await?;
        Ok(Self(name))
    }

    /// Whether its claim was given nothing yet.
    pub(super) async fn waits(&self, stage: &Stage) -> Result<bool> {
        Ok(get(stage, &format!("pod/{}", self.0), "{.status.phase}").await?.concat() == "Pending")
    }

    /// Waits for its reading, judges that, and removes the pod. Returns how many seconds old it was.
    pub(super) async fn judge(self, stage: &Stage, beats: &Beats) -> Result<f64> {
        let (name, kind) = (&self.0, format!("pod/{}", self.0));
        wait::until(&format!("{name} has read its volume"), LIMIT, async || {
            let phase = get(stage, &kind, "{.status.phase}").await?.concat();
            ensure!(phase == "Succeeded", "it is {phase}");
            Ok(Some(()))
        })
        .await?;
        let line = stage.cluster.kubectl(&["--namespace", SHOP, "logs", name]).await?;
        let reading = Reading::parse(&line).with_context(|| format!("{name} read {line:?}"))?;
        let age = beats.age(&reading).with_context(|| format!("what the claim of {name} got"))?;
        let limit = MAX_STALENESS + START;
        ensure!(age <= limit.as_secs_f64(), "the content of the claim of {name} was {age:.1} s old, which is more than {limit:?}");
        stage.cluster.kubectl(&["--namespace", SHOP, "delete", &kind, "--wait", "--timeout=60s"]).await?;
        println!("the content of the claim of {name} was of one generation, and {age:.2} s old when it was read first");
        Ok(age)
    }
}
