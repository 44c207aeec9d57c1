//! SIGKILL of any part neither loses nor duplicates a volume, and mounted volumes stay readable.

use anyhow::{Result, ensure};
use demo::story::{apply_deployment, apply_pool, digest_in, wait_for_counts, wait_for_pod_names, wait_for_pods, wait_for_pool};
use demo::{Filesystem, Stage, wait};

use super::{LIMIT, check_account, check_return, kill, kill_process, on_a_stage, processes};

async fn check_content(stage: &Stage, pods: &[String]) -> Result<()> {
    for pod in pods {
        let digest = digest_in(stage, pod).await?;
        ensure!(digest == stage.digest, "{pod} reads {digest}, but the source is {}", stage.digest);
    }
    Ok(())
}

/// Waits until the kubelet has started as many processes of the mode again.
async fn wait_for_restart(stage: &Stage, mode: &str, number: usize) -> Result<()> {
    wait::until(&format!("{number} {mode} run again"), LIMIT, async || Ok((processes(stage, mode)?.len() == number).then_some(()))).await
}

async fn wait_for_volumes(stage: &Stage, at_least: usize) -> Result<()> {
    wait::until(&format!("EC2 was asked for {at_least} volumes"), LIMIT, async || {
        Ok((stage.account.volumes_except(&stage.source).await?.len() >= at_least).then_some(()))
    })
    .await
}

#[test]
fn killing_the_controller_neither_loses_nor_duplicates_a_volume() {
    on_a_stage("controller killed", Filesystem::Xfs, async |stage| {
        apply_pool(stage).await?;
        wait::until("the snapshot was asked for", LIMIT, async || {
            Ok((!stage.account.snapshots_of(&stage.source).await?.is_empty()).then_some(()))
        })
        .await?;
        kill(stage, "controller")?;
        wait_for_restart(stage, "controller", 1).await?;
        wait_for_volumes(stage, 1).await?;
        kill(stage, "controller")?;
        wait_for_pool(stage).await?;
        check_account(stage, 4).await?;
        apply_deployment(stage).await?;
        wait_for_pod_names(stage).await?;
        kill(stage, "controller")?;
        let pods = wait_for_pods(stage).await?;
        check_content(stage, &pods).await?;
        wait_for_counts(stage, "4 4").await?;
        check_account(stage, 8).await?;
        check_return(stage).await
    });
}

#[test]
fn killing_the_agents_leaves_mounts_readable_and_loses_no_volume() {
    on_a_stage("agents killed", Filesystem::Ext4, async |stage| {
        apply_pool(stage).await?;
        wait_for_pool(stage).await?;
        apply_deployment(stage).await?;
        wait::until("a volume is being attached", LIMIT, async || {
            let volumes = stage.account.volumes_except(&stage.source).await?;
            Ok(volumes.iter().any(|volume| !volume.attachments().is_empty()).then_some(()))
        })
        .await?;
        kill(stage, "agent")?;
        let pods = wait_for_pods(stage).await?;
        check_content(stage, &pods).await?;
        wait_for_restart(stage, "agent", 2).await?;
        kill(stage, "agent")?;
        check_content(stage, &pods).await?;
        wait_for_counts(stage, "4 4").await?;
        check_account(stage, 8).await?;
        wait_for_restart(stage, "agent", 2).await?;
        check_return(stage).await
    });
}

#[test]
fn killing_the_simulator_neither_loses_nor_duplicates_a_volume() {
    on_a_stage("simulator killed", Filesystem::Xfs, async |stage| {
        apply_pool(stage).await?;
        wait_for_volumes(stage, 1).await?;
        restart_simulator(stage).await?;
        wait_for_pool(stage).await?;
        check_account(stage, 4).await?;
        apply_deployment(stage).await?;
        wait_for_pod_names(stage).await?;
        restart_simulator(stage).await?;
        let pods = wait_for_pods(stage).await?;
        kill_simulator(stage)?;
        check_content(stage, &pods).await?;
        stage.start_simulator()?;
        wait_for_counts(stage, "4 4").await?;
        check_account(stage, 8).await?;
        check_return(stage).await
    });
}

fn kill_simulator(stage: &Stage) -> Result<()> {
    let pid = stage.simulator_pid().and_then(|pid| i32::try_from(pid).ok());
    kill_process(pid.ok_or_else(|| anyhow::anyhow!("no simulator runs that could be killed"))?)
}

async fn restart_simulator(stage: &Stage) -> Result<()> {
    kill_simulator(stage)?;
    wait::until("the simulator serves again", LIMIT, async || {
        if stage.simulator_pid().is_none() {
            stage.start_simulator()?;
        }
        stage.account.volumes_except(&stage.source).await.map(|_| Some(()))
    })
    .await
}
