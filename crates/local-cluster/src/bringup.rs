//! Decides whether a cluster can be used as it is, starts it from nothing otherwise, and takes it down.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::api::{self, Check, Probe};
use crate::layout::Layout;
use crate::lock::Lock;
use crate::processes::write_atomically;
use crate::progress::Steps;
use crate::record::{Record, stopped_components};
use crate::relay::Relay;
use crate::spec::ClusterSpec;
use crate::startup::Startup;
use crate::teardown::{self, Logs, leftovers, tear_down};
use crate::{network, packages};

/// How long a running cluster may take to prove that it is healthy before it is started anew.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(15);

/// Takes down whatever exists of the cluster in `state`: processes, mounts, loop devices whose files lie in the state
/// folder, cgroups, the network namespace, and the folder. Nothing there is no error. Returns where the logs were
/// kept. Once begun it goes on when the future is dropped.
///
/// # Errors
/// When this process is not root's, the folder is not a cluster's, or something resists.
pub async fn down(state: &Path, logs: Logs, report: impl Fn(&str) + Send + Sync + 'static) -> Result<Option<PathBuf>> {
    packages::ensure_root()?;
    let layout = Layout::new(state)?;
    let steps = Arc::new(Steps::new(Box::new(report)));
    let lock = lock(&layout, &steps).await?;
    let kept = blocking_tear_down(&lock, logs).await?;
    steps.say("nothing of the cluster is left");
    Ok(kept)
}

/// What exists of the cluster in `state`, each with its kind, for example `network namespace vd-01234567`.
/// Empty after a successful [`down`].
pub fn remains(state: &Path) -> Result<Vec<String>> {
    leftovers(&Layout::new(state)?)
}

pub(crate) async fn lock(layout: &Layout, steps: &Arc<Steps>) -> Result<Arc<Lock>> {
    let (layout, steps) = (layout.clone(), Arc::clone(steps));
    let acquired = tokio::task::spawn_blocking(move || Lock::acquire(&layout, &|line| steps.say(line)));
    Ok(Arc::new(acquired.await??))
}

/// Keeps the lock until the thread is done, also when the future is dropped.
pub(crate) async fn blocking_tear_down(lock: &Arc<Lock>, logs: Logs) -> Result<Option<PathBuf>> {
    let lock = Arc::clone(lock);
    tokio::task::spawn_blocking(move || tear_down(lock.layout(), logs)).await?
}

/// Whether the cluster in the state folder is what `wanted` says and healthy.
pub(crate) async fn reusable(layout: &Layout, wanted: &Record, steps: &Steps) -> Result<bool> {
    let Ok(found) = Record::read(layout) else {
        return Ok(false);
    };
    let stopped = stopped_components(layout, &found.spec);
    if !stopped.is_empty() {
        steps.say(&format!("the cluster in {} is broken: {} ended", layout.root.display(), stopped.join(", ")));
        return Ok(false);
    }
    if let Err(error) = prove_health(layout, &found.spec).await {
        steps.say(&format!("the cluster in {} is broken: {error:#}", layout.root.display()));
        return Ok(false);
    }
    if found.spec.nodes != wanted.spec.nodes {
        bail!("a healthy cluster with other nodes runs in {}: take it down first, or use another state folder", layout.root.display());
    }
    if found.tools != wanted.tools {
        steps.say("the running cluster was built from other sources");
        return Ok(false);
    }
    steps.say(&format!("the cluster in {} is healthy and is used as it is", layout.root.display()));
    Ok(true)
}

async fn prove_health(layout: &Layout, spec: &ClusterSpec) -> Result<()> {
    let relay = Relay::start(&layout.netns(), network::api_address())?;
    let client = api::client(layout, relay.address()).await?;
    let probe = Probe { layout: layout.clone(), client };
    probe.wait(Check::Server, "kube-apiserver", HEALTH_TIMEOUT).await?;
    probe.wait(Check::Nodes(&spec.nodes), "kube-apiserver", HEALTH_TIMEOUT).await
}

/// Starts from nothing; takes everything down again when that fails.
pub(crate) async fn start(lock: &Arc<Lock>, record: &Record, steps: &Arc<Steps>) -> Result<()> {
    let layout = lock.layout();
    teardown::ensure_is_state(&layout.root)?;
    fs::create_dir_all(&layout.root).with_context(|| format!("cannot create {}", layout.root.display()))?;
    write_atomically(&layout.record(), &serde_json::to_vec_pretty(record)?)?;
    let startup = Startup { lock: Arc::clone(lock), spec: record.spec.clone(), tools: record.tools.clone(), steps: Arc::clone(steps) };
    let Err(error) = Arc::new(startup).run().await else {
        return Ok(());
    };
    match blocking_tear_down(lock, Logs::Keep).await {
        Ok(Some(kept)) => Err(error.context(format!("the cluster did not start; its logs are in {}", kept.display()))),
        Ok(None) => Err(error.context("the cluster did not start")),
        Err(second) => Err(error.context(format!("the cluster did not start and cannot be removed ({second:#})"))),
    }
}
