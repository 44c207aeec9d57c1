//! The whole product on a real Kubernetes with a simulated EC2 and real disks. Each test has a cluster of its own.

mod foreign;
mod growth;
mod kills;
mod leader;
mod live;
mod live_latency;
mod live_ports;
mod live_soak;
mod operations;
mod refresh;
mod refusals;
mod story;
mod supply;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use demo::story::{SHOP, wait_for_counts};
use demo::{Content, Filesystem, Report, Script, Stage, TWO_ZONES, clear, wait};

/// The longest that anything on the cluster may take, restarts of pods included.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// One cluster at a time: two cores are few.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Runs a test on a stage of its own and clears it afterwards, also when the test fails.
fn on_a_stage(name: &str, filesystem: Filesystem, test: impl AsyncFnOnce(&Stage) -> Result<()>) {
    on_a_stage_of(1, name, filesystem, test);
}

/// The same with a number of controllers.
fn on_a_stage_of(controllers: u32, name: &str, filesystem: Filesystem, test: impl AsyncFnOnce(&Stage) -> Result<()>) {
    as_root(name, async || run(controllers, TWO_ZONES, name, filesystem, test).await);
}

/// The same with a node in each of the zones.
fn on_nodes_in(zones: &'static [&'static str], name: &str, filesystem: Filesystem, test: impl AsyncFnOnce(&Stage) -> Result<()>) {
    as_root(name, async || run(1, zones, name, filesystem, test).await);
}

/// Runs a test that needs root, alone on the machine as far as we can tell.
pub(crate) fn as_root(name: &str, test: impl AsyncFnOnce() -> Result<()>) {
    if !rustix::process::geteuid().is_root() {
        let reason = format!("SKIPPED: {name}: it makes namespaces, mounts and loop devices, which needs root");
        assert!(std::env::var("CI").is_err(), "{reason}; with CI=true that is a failure");
        // Written past the capture of the test runner, which hides what a passing test prints.
        std::io::Write::write_all(&mut std::io::stderr(), format!("{reason}\n").as_bytes()).unwrap();
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let _turn = ONE_AT_A_TIME.lock().await;
        test().await
    });
    if let Err(error) = result {
        panic!("{name}: {error:#}");
    }
}

async fn run(
    controllers: u32,
    zones: &'static [&'static str],
    name: &str,
    filesystem: Filesystem,
    test: impl AsyncFnOnce(&Stage) -> Result<()>,
) -> Result<()> {
    let report: Report = Arc::new(|line: &str| println!("{line}"));
    let script = Script { state: state_folder(), content: Content::Small, filesystem, zones, controllers, keep: false };
    let folder = script.state.clone();
    let stage = match Stage::set(script, report.clone()).await {
        Ok(stage) => stage,
        Err(error) => {
            clear(&folder, &report).await.context("the stage that cannot be set cannot be cleared")?;
            return Err(error.context("the stage cannot be set"));
        }
    };
    let result = test(&stage).await;
    if result.is_err() {
        println!("--- what the cluster of {name} looked like");
        for question in QUESTIONS {
            println!(
                "$ kubectl {}\n{}",
                question.join(" "),
                stage.cluster.kubectl(question).await.unwrap_or_else(|error| format!("{error:#}"))
            );
        }
    }
    stage.clear(report).await.context("the stage cannot be cleared")?;
    result
}

/// What a person would ask first when a test has failed.
const QUESTIONS: [&[&str]; 5] = [
    &["get", "volumepools,poolvolumes,poolnodes,pods,pvc,pv", "--all-namespaces", "--output", "wide"],
    &["--namespace", SHOP, "describe", "volumepools"],
    &["--namespace", SHOP, "get", "events"],
    &["--namespace", "volume-dispatcher", "logs", "deployment/volume-dispatcher-controller", "--tail=60"],
    &["--namespace", "volume-dispatcher", "logs", "--selector=app.kubernetes.io/component=agent", "--tail=40", "--prefix"],
];

/// Short, since sockets are below it.
pub(crate) fn state_folder() -> PathBuf {
    std::env::temp_dir().join(format!("vd-test-{}", std::process::id()))
}

/// The host's process ids of one mode of the product in this stage's cluster.
fn processes(stage: &Stage, mode: &str) -> Result<Vec<i32>> {
    let folder = stage.cluster.state().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(command) = std::fs::read_to_string(format!("/proc/{pid}/cmdline")) else { continue };
        let is_mode = command == format!("/usr/local/bin/volume-dispatcher\0{mode}\0");
        // The root of a container of this cluster is an overlay of folders below the state folder.
        let is_here = is_mode && std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).is_ok_and(|mounts| mounts.contains(&folder));
        found.extend(is_here.then_some(pid));
    }
    Ok(found)
}

/// Kills all processes of one mode as the kernel does when memory is short: at once and without a word.
fn kill(stage: &Stage, mode: &str) -> Result<()> {
    let pids = processes(stage, mode)?;
    ensure!(!pids.is_empty(), "no {mode} runs that could be killed");
    pids.into_iter().try_for_each(kill_process)
}

fn kill_process(pid: i32) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(pid).context("a process id is positive")?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
}

/// Nothing lost, nothing twice: EC2 holds exactly as many volumes of the pool, one snapshot, and no double attachment.
async fn check_account(stage: &Stage, volumes: usize) -> Result<()> {
    wait::until(&format!("EC2 holds {volumes} volumes of the pool"), LIMIT, async || {
        let found = stage.account.volumes_except(&stage.source).await?.len();
        ensure!(found == volumes, "EC2 holds {found} volumes beside the source");
        Ok(Some(()))
    })
    .await?;
    let snapshots = stage.account.snapshots_of(&stage.source).await?.len();
    ensure!(snapshots == 1, "EC2 holds {snapshots} snapshots of the source instead of one");
    stage.account.check_attachments().await
}

/// The Deployment is deleted, all volumes come back, and the pool has what it promised.
async fn check_return(stage: &Stage) -> Result<()> {
    stage.cluster.kubectl(&["--namespace", SHOP, "delete", "deployment/web"]).await?;
    wait_for_counts(stage, "4 0").await?;
    check_account(stage, 4).await
}
