//! The pod that has the source itself, and the random edits that are made in it.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use demo::story::{SHOP, apply, get};
use demo::{Stage, wait};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::super::LIMIT;
use super::super::live::in_pod;
use super::super::live_latency::mounts_of;
use super::beats::Beats;
use super::{claim, pods, source};

/// Files that readers check all the time.
const CHECKED: u32 = 12;
/// Names the process of the writer among those of the host.
const WRITER: &str = "sleep\086399\0";

/// A pod with the source itself, and the random edits that are made in it.
pub(super) struct Writer {
    node: &'static str,
    random: TestRng,
    content: PathBuf,
    edits: u64,
    /// Keeps `content` good while processes come and go.
    mount: std::os::fd::OwnedFd,
    /// What it writes all the time.
    pub(super) beats: Beats,
}

/// A writer whose pod is gone, and what is left of it for the next.
pub(super) struct Lost {
    pub(super) node: &'static str,
    random: TestRng,
    edits: u64,
    beats: Beats,
}

impl Writer {
    pub(super) async fn start(stage: &Stage, node: &'static str, seed: u64) -> Result<Self> {
        let bytes = [seed.to_le_bytes(); 4].concat();
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Self::start_with(stage, Lost { node, random, edits: 0, beats: Beats::start() }).await
    }

    async fn start_with(stage: &Stage, next: Lost) -> Result<Self> {
        let (node, claim) = (next.node, claim("volumedispatcher.io/volume: source"));
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: writer, namespace: {SHOP}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
             nodeSelector: {{kubernetes.io/hostname: {node}}}\n  containers: [{{name: writer, image: 'registry.local/busybox:1', \
             command: [sleep, '86399'], volumeMounts: [{{name: content, mountPath: /content}}]}}]\n  volumes: [{{name: content, \
             ephemeral: {claim}}}]\n"
        );
        apply(stage, &pod).await?;
        let ready = ["--namespace", SHOP, "wait", "pod/writer", "--for=condition=Ready", "--timeout=90s"];
        stage.cluster.kubectl(&ready).await.context("the writer does not get the source")?;
        Self::find(stage, next).await
    }

    /// The writer, once its pod runs.
    pub(super) async fn find(stage: &Stage, lost: Lost) -> Result<Self> {
        let Lost { node, random, edits, beats } = lost;
        wait::until("the writer writes", LIMIT, async || in_pod(stage, "writer", "touch /content/written").await.map(Some)).await?;
        let root = mounts_of(stage, WRITER)?.pop().context("the process of the writer is not found")?;
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let mount = rustix::fs::open(&root, flags, rustix::fs::Mode::empty())?;
        let content = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        beats.go_on(&content)?;
        Ok(Self { node, random, content, edits, mount, beats })
    }

    /// Lets go of the source, which stays mounted as long as anything of it is open.
    pub(super) fn let_go(self) -> Lost {
        let Self { node, random, edits, beats, mount, .. } = self;
        beats.pause();
        drop(mount);
        Lost { node, random, edits, beats }
    }

    /// Where the source is.
    pub(super) fn content(&self) -> &Path {
        &self.content
    }

    /// Its node, which publishes the source.
    pub(super) fn node(&self) -> &'static str {
        self.node
    }

    /// The pod goes, its node takes no pods any more, and the source is published from the other node of its zone, where the
    /// next pod writes it.
    pub(super) async fn move_to_another_node(self, stage: &Stage) -> Result<Self> {
        let lost = self.let_go();
        let node = lost.node;
        let other = if node == "node1" { "node3" } else { "node1" };
        let started = Instant::now();
        stage.cluster.kubectl(&["--namespace", SHOP, "delete", "pod/writer", "--wait", "--timeout=60s"]).await?;
        wait::until("the claim of the writer is gone", LIMIT, async || {
            let claim = get(stage, "pvol/web-source", "{.spec.claimRef.name}").await?.concat();
            Ok(claim.is_empty().then_some(()))
        })
        .await?;
        ensure!(source(stage, "state").await? == "Publishing", "the end of the writer ended the publisher");
        stage.cluster.kubectl(&["cordon", node]).await?;
        wait::until(&format!("{other} publishes the source"), LIMIT, async || {
            let seen = get(stage, "pvol/web-source", "{.status.node.name} {.status.node.sync.state}").await?.concat();
            ensure!(seen == format!("{other} Publishing"), "it is {seen}");
            Ok(Some(()))
        })
        .await?;
        println!("the source went from {node} to {other} in {:.1?}", started.elapsed());
        let writer = Self::start_with(stage, Lost { node: other, ..lost }).await?;
        stage.cluster.kubectl(&["uncordon", node]).await?;
        Ok(writer)
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.random.next_u32() % limit
    }

    pub(super) fn edit_checked(&mut self) -> Result<()> {
        std::fs::create_dir_all(self.content.join("checked"))?;
        (0..CHECKED).try_for_each(|name| self.replace_checked(name))
    }

    /// A new file takes the place of the old one, as editors and deployments do it.
    fn replace_checked(&mut self, name: u32) -> Result<()> {
        let (number, count) = (self.edits, 1 + self.below(600));
        let lines: Vec<String> = (1..=count).map(|line| format!("{number} {count} {line}\n")).collect();
        let new = self.content.join("new");
        std::fs::write(&new, lines.concat())?;
        Ok(std::fs::rename(new, self.content.join(format!("checked/{name}")))?)
    }

    pub(super) fn edit(&mut self, number: u32) -> Result<()> {
        for _ in 0..number {
            self.edits += 1;
            let (kind, folder, name) = (self.below(10), self.below(6), self.below(30));
            if kind < 3 {
                self.replace_checked(name % CHECKED)?;
                continue;
            }
            let folder = self.content.join(format!("folder-{folder}"));
            std::fs::create_dir_all(&folder)?;
            let text = format!("edit {}\n", self.edits).repeat(1 + name as usize * 20);
            // Random paths often are not there, or are something else: that is no edit then.
            drop(change(kind, &folder, &folder.join(format!("file-{name}")), &text));
        }
        Ok(())
    }

    /// What is written last is seen in all pods.
    pub(super) async fn is_seen_by_all(&self, stage: &Stage, round: u32) -> Result<()> {
        let started = Instant::now();
        std::fs::write(self.content.join("round"), round.to_string())?;
        for pod in pods(stage).await? {
            wait::until(&format!("{pod} sees the end of round {round}"), LIMIT, async || {
                let seen = in_pod(stage, &pod, "cat /content/round").await?;
                ensure!(seen == round.to_string(), "it sees {seen:?}");
                Ok(Some(()))
            })
            .await?;
        }
        println!("the end of round {round}, after {} edits, was seen in all pods after {:.1?}", self.edits, started.elapsed());
        Ok(())
    }
}

fn change(kind: u32, folder: &Path, file: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match kind {
        3 => std::fs::write(file, text),
        4 => std::io::Write::write_all(&mut std::fs::OpenOptions::new().append(true).open(file)?, text.as_bytes()),
        5 => std::fs::remove_file(file),
        6 => std::fs::set_permissions(file, std::fs::Permissions::from_mode(if text.len() < 999 { 0o640 } else { 0o444 })),
        7 => std::os::unix::fs::symlink("../checked/0", file.with_extension("link")),
        8 => std::fs::hard_link(file, file.with_extension("hard")),
        _ if text.len().is_multiple_of(7) => std::fs::remove_dir_all(folder),
        _ => std::fs::rename(folder, folder.with_extension("moved")),
    }
}
