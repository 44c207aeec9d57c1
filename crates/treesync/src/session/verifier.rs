//! Verifies one copy against its publisher: digests of directories first, then what is in those that differ.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::contents::SharedContents;
use super::copy::Follower;
use super::handle::SessionError;
use super::worker::Replica;
use crate::apply::{Copy, CopyError, CopyOptions, MarkerState, read_marker};
use crate::model::{ContentHash, ManifestPart, Position, TreePath};
use crate::tree::{Root, Stop, TreeError};
use crate::verify::{Comparer, Difference, Finding, Level, Progress, directory_digests, read_when_idle};
use crate::wire::{CallError, Client, Message};

use super::worker::Fault;

/// Directories asked for in one call.
const DIRECTORIES_MAX: usize = 10_000;

/// What is to be verified.
pub struct Verifier {
    /// The root of the copy.
    pub directory: PathBuf,
    /// As the copy is kept; the rules are those that it is compared by. A repair of what is no copy of the source, but of another
    /// or of nobody, is refused unless it is to be adopted.
    pub options: CopyOptions,
    /// How closely.
    pub level: Level,
    /// Where it is kept what was read, outside of the copy: when the same is verified again after an end, files that have
    /// not changed since are not read again. Removed when all is read. Only reading bytes takes so long.
    pub progress: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Where the source was when it was compared.
    pub source: Position,
    /// Where the copy is, by its marker, when that is clean.
    pub copy: Option<Position>,
    /// How many paths differ, or did before the repair. A marker that differs counts as one.
    pub differences: u64,
    /// Files that an earlier run had read.
    pub read_before: u64,
    /// Whether they were repaired; the copy is durably equal to the source at `source`, then.
    pub is_repaired: bool,
}

/// Why a copy was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The publisher did not answer, or lied.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The session of the copy does not give it.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The copy cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The copy cannot be opened.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The copy cannot be repaired.
    #[error(transparent)]
    Repair(#[from] Fault),
    /// The progress cannot be kept there.
    #[error("the progress of the comparison cannot be kept in {path}: {error}")]
    Progress {
        /// Where.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// There is no thread for it.
    #[error("no thread for the comparison: {0}")]
    Thread(std::io::Error),
    /// An answer that does not fit.
    #[error("the publisher answered {0}")]
    Answer(&'static str),
}

impl Verifier {
    /// Compares, and tells of each path that differs. Reads in the idle class. With repair, this process must be the
    /// owner of the copy; what it serves changes path by path. Without, nothing is changed, and the copy may be in use:
    /// then differences can be changes under way. Cancel safe: a comparison that is dropped closes the copy soon, on a thread of
    /// its own. A repair goes on to the end of a part.
    ///
    /// # Errors
    /// The publisher or the copy fails.
    pub async fn run(self, client: &Client, repair: bool, findings: mpsc::UnboundedSender<Finding>) -> Result<Verdict, VerifyError> {
        let (source, copy) = (client.status().await?.position, self.marker());
        if self.level == Level::Marker && (!repair || copy.as_ref().is_ok_and(|copy| *copy == Some(source))) {
            let copy = copy?;
            return Ok(Verdict { source, copy, differences: u64::from(copy != Some(source)), read_before: 0, is_repaired: false });
        }
        if repair { self.repair(client, findings).await } else { self.compare(client, copy?, findings).await }
    }

    fn marker(&self) -> Result<Option<Position>, VerifyError> {
        let marker = read_marker(&Root::open(&self.directory)?)?;
        Ok(marker.filter(|marker| marker.state == MarkerState::Clean).map(|marker| marker.position))
    }

    /// What reads the bytes, if they are to be read.
    fn progress(&self, root: &Root) -> Result<Option<Progress>, VerifyError> {
        let kept_in = |path: &PathBuf| Progress::kept_in(path, root).map_err(|error| VerifyError::Progress { path: path.clone(), error });
        if self.level != Level::Content {
            return Ok(None);
        }
        Ok(Some(self.progress.as_ref().map_or_else(|| Ok(Progress::default()), kept_in)?))
    }

    async fn compare(
        self,
        client: &Client,
        copy: Option<Position>,
        findings: mpsc::UnboundedSender<Finding>,
    ) -> Result<Verdict, VerifyError> {
        let with_content = self.level == Level::Content;
        let unwanted = StopsWhenDropped::default();
        let root = Arc::new(Root::open(&self.directory)?.until(unwanted.0.clone()));
        let (own_root, rules) = (root.clone(), self.options.rules.clone());
        let mut progress = self.progress(&root)?;
        let walk = when_idle(move || {
            let ours = directory_digests(&own_root, &rules, progress.as_mut());
            (progress, ours)
        });
        let (source, theirs) = digests(client, with_content).await?;
        let (mut progress, ours) = walk.await?;
        let read_before = progress.as_ref().map_or(0, Progress::read_before);
        let ours = ours?;
        let differing: BTreeSet<TreePath> =
            theirs.into_iter().filter(|(path, digest)| ours.get(path) != Some(digest)).map(|(path, _)| path).collect();
        let mut told = BTreeSet::new();
        let all: Vec<TreePath> = differing.iter().cloned().collect();
        for directories in all.chunks(DIRECTORIES_MAX) {
            let only: BTreeSet<TreePath> = directories.iter().cloned().collect();
            let mut comparer = Comparer::within(progress, only);
            let mut entries = client.compare(directories, with_content).await?;
            while let Some(message) = entries.next().await? {
                let Message::Manifest(part) = message else { return Err(VerifyError::Answer("with digests, not entries")) };
                let (root, rules) = (root.clone(), self.options.rules.clone());
                let looking = when_idle(move || {
                    let found = compare_part(&mut comparer, &root, &rules, &part);
                    (comparer, found)
                });
                let found;
                (comparer, found) = looking.await?;
                told.extend(found?.into_iter().map(|finding| (finding.path, finding.difference)));
            }
            progress = comparer.into_progress();
        }
        if let Some(progress) = progress {
            finished(progress);
        }
        if self.options.rules.keeps_nothing() {
            // A digest saw what single entries do not show: a file with one more name elsewhere.
            let has_finding =
                |directory: &TreePath| told.iter().any(|(path, _)| path == directory || path.parent().as_ref() == Some(directory));
            let silent: Vec<TreePath> = differing.into_iter().filter(|directory| !has_finding(directory)).collect();
            told.extend(silent.into_iter().map(|path| (path, Difference::Links)));
        }
        let differences = told.len() as u64;
        for (path, difference) in told {
            // The answer has the number; who wants the paths listens.
            drop(findings.send(Finding { path, difference }));
        }
        Ok(Verdict { source, copy, differences, read_before, is_repaired: false })
    }

    async fn repair(self, client: &Client, findings: mpsc::UnboundedSender<Finding>) -> Result<Verdict, VerifyError> {
        let open = move || -> Result<Follower, VerifyError> {
            let copy = Copy::open(Root::open(&self.directory)?, self.options.clone())?;
            let comparer = Comparer::with_progress(self.progress(copy.root())?);
            Ok(Follower::new(copy, self.options.adopt, comparer))
        };
        let mut follower = when_idle(open).await??;
        let mut messages = client.subscribe(None, "verify", &[]).await?;
        let mut differences = 0;
        while let Some(message) = messages.next().await? {
            let Message::Manifest(part) = message else { return Err(VerifyError::Answer("with changes, not a manifest")) };
            let contents = SharedContents::new(client.clone(), Handle::current(), std::env::temp_dir());
            let (position, is_last) = (part.position, part.is_last_part);
            let done = when_idle(move || {
                let found = follower.reconcile_telling(&part, &contents);
                let cleared = if is_last { follower.throw_out_strangers() } else { Ok(()) };
                let durable = if is_last { cleared.and_then(|()| Replica::make_durable(&mut follower)) } else { Ok(()) };
                // Nobody else will.
                while is_last && follower.tidy() {}
                (follower, found, durable)
            });
            let (found, durable);
            (follower, found, durable) = done.await?;
            for finding in found? {
                differences += 1;
                drop(findings.send(finding));
            }
            durable?;
            if is_last {
                let read_before = follower.take_progress().map_or(0, finished);
                return Ok(Verdict { source: position, copy: Some(position), differences, read_before, is_repaired: true });
            }
        }
        Err(VerifyError::Answer("with half a manifest"))
    }
}

/// All is read. How many files an earlier run had read.
fn finished(mut progress: Progress) -> u64 {
    progress.finish();
    progress.read_before()
}

/// Who compares is gone: the thread that reads lets go of the copy, which may be about to be unmounted.
#[derive(Default)]
struct StopsWhenDropped(Stop);

impl Drop for StopsWhenDropped {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Runs on a thread of its own, whose reads give way to everybody else's.
async fn when_idle<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, VerifyError> {
    let (sender, done) = oneshot::channel();
    let run = move || {
        // A sandbox that refuses costs politeness, not truth.
        read_when_idle().ok();
        sender.send(work()).ok();
    };
    std::thread::Builder::new().name("treesync-verify".to_owned()).spawn(run).map_err(VerifyError::Thread)?;
    done.await.map_err(|_| VerifyError::Answer("in a way that made the comparison panic"))
}

fn compare_part(comparer: &mut Comparer, root: &Root, rules: &crate::model::Rules, part: &ManifestPart) -> Result<Vec<Finding>, TreeError> {
    let found = comparer.compare(root, rules, &part.puts)?;
    let mut found: Vec<Finding> = found.into_iter().map(|(finding, _)| finding).collect();
    if part.is_last_part {
        found.extend(comparer.finish(root, rules)?);
    }
    Ok(found)
}

async fn digests(client: &Client, with_content: bool) -> Result<(Position, HashMap<TreePath, ContentHash>), VerifyError> {
    let mut messages = client.compare(&[], with_content).await?;
    let mut all = HashMap::new();
    while let Some(message) = messages.next().await? {
        let Message::Digests(digests) = message else { return Err(VerifyError::Answer("with entries, not digests")) };
        all.extend(digests.directories);
        if digests.is_last_part {
            return Ok((digests.position, all));
        }
    }
    Err(VerifyError::Answer("with half of its digests"))
}
