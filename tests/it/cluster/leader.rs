//! Two replicas: one leads, the other goes on where it stops, and a leader that was stalled does no harm when it wakes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use demo::story::{apply_pool, wait_for_pool};
use demo::{Filesystem, Stage, wait};
use rustix::process::{Pid, Signal, kill_process};

use super::{LIMIT, check_account, on_a_stage_of, processes};

/// The lease, a try, and the time that a busy machine takes to start what must run.
const TAKEOVER: Duration = Duration::from_secs(15 + 2 + 8);
/// A lease that is given back is watched: what is left is the time of a few requests, on a machine that is busy. Half of
/// what a lease that is not given back takes.
const HANDOVER: Duration = Duration::from_secs(8);

/// The name of the replica that holds the lease; empty when none does.
async fn holder(stage: &Stage) -> Result<String> {
    let question =
        ["--namespace", "volume-dispatcher", "get", "lease/volume-dispatcher-controller", "--output=jsonpath={.spec.holderIdentity}"];
    Ok(stage.cluster.kubectl(&question).await?.trim().to_owned())
}

async fn wait_for_holder(stage: &Stage, other_than: &str) -> Result<String> {
    wait::until(&format!("a replica other than {other_than:?} leads"), LIMIT, async || {
        let holder = holder(stage).await?;
        Ok(Some(holder).filter(|holder| !holder.is_empty() && holder != other_than))
    })
    .await
}

/// The process of a replica.
fn process_of(stage: &Stage, replica: &str) -> Result<Pid> {
    let is_it = |pid: &i32| {
        let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|variable| variable == format!("POD_NAME={replica}").as_bytes())
    };
    let pid = processes(stage, "controller")?.into_iter().find(is_it).with_context(|| format!("{replica} has no process"))?;
    Pid::from_raw(pid).context("a process id is positive")
}

#[test]
fn another_replica_goes_on_when_the_leader_stalls_or_ends() {
    on_a_stage_of(2, "leaders", Filesystem::Xfs, async |stage| {
        let first = wait_for_holder(stage, "").await?;
        let stalled = process_of(stage, &first)?;
        apply_pool(stage).await?;
        kill_process(stalled, Signal::STOP)?;
        let begun = Instant::now();
        let second = wait_for_holder(stage, &first).await;
        // Woken in any case: a process that is stopped cannot be cleared away.
        kill_process(stalled, Signal::CONT)?;
        let second = second?;
        ensure!(begun.elapsed() < TAKEOVER, "{second} took over only after {:?}", begun.elapsed());
        wait::until("the replica that was stalled ends itself", LIMIT, async || {
            let is_there = std::path::Path::new(&format!("/proc/{}", stalled.as_raw_nonzero())).exists();
            Ok((!is_there).then_some(()))
        })
        .await?;
        wait_for_pool(stage).await?;
        check_account(stage, 4).await?;

        let ended = process_of(stage, &second)?;
        wait::until("both replicas run again", LIMIT, async || Ok((processes(stage, "controller")?.len() == 2).then_some(()))).await?;
        kill_process(ended, Signal::TERM)?;
        let begun = Instant::now();
        let third = wait_for_holder(stage, &second).await?;
        ensure!(begun.elapsed() < HANDOVER, "{third} went on only after {:?}", begun.elapsed());
        check_account(stage, 4).await
    });
}
