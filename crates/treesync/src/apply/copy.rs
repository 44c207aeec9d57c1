//! A copy: opened, recovered, changed batch by batch.

mod ahead;
mod durable;
mod rest;

use super::contents::Contents;
use super::error::{CopyError, Problem};
use super::hidden::intent::{Intent, IntentError, MOST_BYTES};
use super::hidden::{Home, Marker, MarkerState, NAMES_ON_A_SHELF, RawClone, marker};
use super::observer::{Observer, Step, Unobserved};
use super::plan::{Given, Plan, plan};
use super::publish::Publisher;
use super::stage::{Ahead, Staged, room, stage};
use crate::model::{Batch, Position, Rules, TreePath};
use crate::tree::Root;
use durable::Writing;
use std::sync::Arc;
use std::time::Duration;

/// How a copy is to be kept.
#[derive(Clone)]
pub struct CopyOptions {
    /// What may be written, and what the copy keeps.
    pub rules: Arc<Rules>,
    /// Take over a directory that has files and no marker. It must then be compared with the source and repaired.
    pub adopt: bool,
    /// Take over a raw clone of the source, made of a snapshot of its volume: the index of the source is on it, and goes.
    /// Only for a directory that is known not to be the source itself.
    pub accept_clone: bool,
    /// From so many new files on, `syncfs` writes them to the disk: it hands neighbours over together, and writes all metadata
    /// of the filesystem to its place, which takes longer than a few files one by one. 200: measured on ext4 with 100 and 1,000
    /// files of 1 kB. It does not matter where the filesystem does not keep the order of changes: there it is always `syncfs`.
    pub syncfs_from_files: usize,
    /// Longest time that `syncfs` may take. It writes everybody's data on that filesystem; once it took longer, what is ours is
    /// written file by file for a while.
    pub sync_budget: Duration,
    /// Told of every step.
    pub observer: Arc<dyn Observer>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        let observer = Arc::new(Unobserved);
        let sync_budget = Duration::from_millis(500);
        Self { rules: Arc::default(), adopt: false, accept_clone: false, syncfs_from_files: 200, sync_budget, observer }
    }
}

/// What an apply did. Visible to every reader of the copy; durable after [`Copy::make_durable`].
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Applied {
    /// New inodes and links that were made.
    pub staged: u64,
    /// Operations that were published.
    pub operations: u64,
    /// Bytes that came from the source.
    pub received_bytes: u64,
    /// Bytes that the copy had elsewhere.
    pub local_bytes: u64,
    /// Paths that the rules keep on the copy, and that were left alone.
    pub kept: u64,
}

/// A copy that this process owns. Dropping it gives the lock back; nothing is lost.
pub struct Copy {
    root: Root,
    home: Home,
    options: CopyOptions,
    marker: Option<Marker>,
    /// Why no position can be believed.
    unusable: Option<String>,
    /// An intent that is not done.
    pending: Option<Intent>,
    /// It was a clone of the source, and is not equal to it yet.
    raw_clone: Option<RawClone>,
    is_empty: bool,
    has_trash: bool,
    /// What was replaced, or an empty shelf, is in the stage, and has to leave it before something new is staged.
    is_stage_used: bool,
    /// Files in the stage that a batch may ask for.
    ahead: Ahead,
    /// Operations since the trash was emptied, and files that were made ahead in vain: so many names may be in it, beside
    /// removed trees.
    replaced: u64,
    /// So many more times files are written one by one, though they are many.
    one_by_one: u32,
}

impl Copy {
    /// Takes a directory over, and finishes what a crash interrupted. Makes the hidden directory if it is missing.
    /// Blocks; when it returns, what was redone is visible and durable.
    ///
    /// # Errors
    /// It is locked, has foreign content, is of a newer version, or a disk fails. Of what only a repair can mend, [`Copy::unusable`] tells.
    pub fn open(root: Root, options: CopyOptions) -> Result<Self, CopyError> {
        let path = root.path().to_owned();
        Self::open_inner(root, options).map_err(|problem| CopyError { copy: path, problem })
    }

    fn open_inner(root: Root, options: CopyOptions) -> Result<Self, Problem> {
        let is_marked = rustix::fs::statat(&root, crate::model::RESERVED_NAME, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let first = foreign_name(&root)?;
        if let (Some(first), false, false) = (&first, is_marked, options.adopt) {
            return Err(Problem::Foreign(first.clone()));
        }
        let home = Home::open(&root)?;
        let read = if is_marked { marker::read } else { marker::read_of_bare };
        let (marker, unusable) = match read(&root, &home)? {
            Ok(marker) => (marker, None),
            Err(reason) => (None, Some(reason.to_owned())),
        };
        let raw_clone = if options.accept_clone { RawClone::find(&root, &home, marker)? } else { None };
        if let (Some(first), None, None, None, false) = (&first, &marker, &unusable, &raw_clone, options.adopt) {
            return Err(Problem::Foreign(first.clone()));
        }
        let is_empty = first.is_none();
        let mut copy = Self {
            root,
            home,
            options,
            marker,
            unusable,
            pending: None,
            raw_clone,
            is_empty,
            has_trash: true,
            is_stage_used: false,
            ahead: Ahead::default(),
            replaced: 0,
            one_by_one: 0,
        };
        if raw_clone.is_some_and(|raw_clone| raw_clone.has_index) {
            // Nothing is touched before it is known whose copy this shall be.
            copy.unusable = Some("it is a raw clone of a source".to_owned());
            return Ok(copy);
        }
        copy.recover()?;
        copy.finish_clone()?;
        Ok(copy)
    }

    fn recover(&mut self) -> Result<(), Problem> {
        let Some(Marker { state: MarkerState::Applying { intent }, .. }) = self.marker else {
            self.home.clear_stage()?;
            return self.home.remove("intent");
        };
        let stored = self.home.read("intent", MOST_BYTES)?.map(|bytes| Intent::decode(&bytes));
        match stored {
            Some(Ok((stored, checksum))) if checksum == intent => self.pending = Some(stored),
            Some(Err(IntentError::Newer(found))) => return Err(Problem::Newer { what: "intent", found, known: Intent::VERSION }),
            _ => {
                self.unusable = Some("it was being changed, and what was to be done is lost".to_owned());
                return Ok(());
            }
        }
        match self.redo() {
            Err(problem) if problem.is_cured_by_repair() => {
                self.unusable = Some(format!("what a crash interrupted cannot be finished: {problem}"));
                Ok(())
            }
            Err(problem) => Err(problem),
            Ok(()) => self.sync_all(),
        }
    }

    /// What is left of a raw clone that is a copy by now.
    fn finish_clone(&mut self) -> Result<(), Problem> {
        if self.position().is_none() {
            return Ok(());
        }
        self.raw_clone = None;
        RawClone::forget(&self.home)
    }

    /// Finishes the pending intent.
    fn redo(&mut self) -> Result<(), Problem> {
        let Some(intent) = self.pending.take() else { return Ok(()) };
        let result = self.publish(&intent, true).and_then(|_| self.finish(&intent.after));
        if result.is_err() {
            self.pending = Some(intent);
            return result;
        }
        self.home.clear_stage()
    }

    /// What is stored on the copy; none when it was never synced.
    pub fn marker(&self) -> Option<Marker> {
        self.marker
    }

    /// Where the files of the copy are; none when it was never synced, or must be compared with a manifest.
    /// Between two parts of a catch-up: where they were before it.
    pub fn position(&self) -> Option<Position> {
        let marker = self.marker.filter(|marker| self.unusable.is_none() && marker.state == MarkerState::Clean)?;
        Some(marker.position)
    }

    /// Whether nothing was ever in it, so that a batch from generation 0 fits.
    pub fn is_empty(&self) -> bool {
        self.marker.is_none() && self.unusable.is_none() && self.is_empty
    }

    /// Why the copy has no position though it is not empty.
    pub fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    /// Of a raw clone of a source that is not equal to it yet: where the source was, so that bytes which are from then or
    /// before need not be read again.
    pub fn cloned_at(&self) -> Option<Position> {
        self.raw_clone.map(|raw_clone| raw_clone.sure)
    }

    /// The open tree.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The rules that it keeps to.
    pub fn rules(&self) -> &Rules {
        &self.options.rules
    }

    /// Applies a batch; what the copy has already is skipped. Visible when it returns. Nothing is changed on an error
    /// before the first operation is published; after one later, the next call finishes it first.
    ///
    /// # Errors
    /// The batch does not fit ([`Problem::NeedsManifest`], [`Problem::OtherSource`], [`Problem::Behind`]), its bytes do not
    /// come, there is no room, or the copy was changed by somebody else.
    pub fn apply(&mut self, batch: &Batch, contents: &dyn Contents) -> Result<Applied, CopyError> {
        let result = self.apply_inner(batch, contents);
        result.map_err(|problem| self.failed(problem))
    }

    fn apply_inner(&mut self, batch: &Batch, contents: &dyn Contents) -> Result<Applied, Problem> {
        self.redo()?;
        let given = self.given(batch)?;
        if batch.to <= given.generation && self.marker.is_some() {
            return Ok(Applied::default());
        }
        let generation = if batch.is_last_part { batch.to } else { given.generation };
        let position = Position { source: batch.source, epoch: batch.epoch, generation };
        let structure = given.structure.max(batch.to);
        self.change(batch, contents, given, Marker { position, structure, state: MarkerState::Clean })
    }

    /// Where the copy is in the history of the batch.
    fn given(&self, batch: &Batch) -> Result<Given, Problem> {
        if let Some(reason) = &self.unusable {
            return Err(Problem::NeedsManifest(reason.clone()));
        }
        let Some(marker) = self.marker else {
            return match (self.is_empty, batch.from) {
                (true, 0) => Ok(Given { generation: 0, structure: 0 }),
                (true, from) => Err(Problem::Behind { at: 0, from }),
                (false, _) => Err(Problem::NeedsManifest("it was adopted with files in it".to_owned())),
            };
        };
        let Position { source, epoch, generation } = marker.position;
        if marker.state == MarkerState::Repairing {
            return Err(Problem::NeedsManifest("a comparison with the source was not finished".to_owned()));
        }
        if source != batch.source {
            return Err(Problem::OtherSource { is: source, wanted: batch.source });
        }
        if epoch != batch.epoch {
            return Err(Problem::NeedsManifest(format!("it is at epoch {epoch} and the source at {}", batch.epoch)));
        }
        if generation < batch.from {
            return Err(Problem::Behind { at: generation, from: batch.from });
        }
        Ok(Given { generation, structure: marker.structure })
    }

    /// Applies what a comparison of this very copy with a manifest found, wherever the copy is. Put with a content
    /// generation of 0: the copy has the bytes. Until the last part is applied the copy is at no position, since it is
    /// between two states; then it is at `to`.
    ///
    /// # Errors
    /// As [`Copy::apply`], but for positions.
    pub fn repair(&mut self, batch: &Batch, contents: &dyn Contents) -> Result<Applied, CopyError> {
        let result = self.repair_inner(batch, contents);
        result.map_err(|problem| self.failed(problem))
    }

    fn repair_inner(&mut self, batch: &Batch, contents: &dyn Contents) -> Result<Applied, Problem> {
        self.begin_with_clone(batch)?;
        // An intent of before is of no use: the comparison saw what came of it, and says what is missing.
        if self.pending.take().is_some() || self.unusable.is_some() {
            self.mark(&Marker { state: MarkerState::Repairing, ..after_repair(batch) })?;
            self.clear_stage()?;
            self.home.remove("intent")?;
        }
        let mut after = after_repair(batch);
        if batch.is_last_part {
            // Bytes that the comparison found equal may be in the page cache alone, and nothing that is done here writes them.
            self.step(Step::MakeDurable)?;
            rustix::fs::syncfs(&self.root).map_err(Problem::own("make durable what was found equal (syncfs)"))?;
        } else {
            after.state = MarkerState::Repairing;
        }
        let applied = self.change(batch, contents, Given { generation: 0, structure: 0 }, after)?;
        self.unusable = None;
        self.finish_clone()?;
        Ok(applied)
    }

    /// Turns a raw clone into a copy that is being repaired. In this order a crash leaves a clone or a copy.
    fn begin_with_clone(&mut self, batch: &Batch) -> Result<(), Problem> {
        let Some(raw_clone) = self.raw_clone.filter(|raw_clone| raw_clone.has_index) else { return Ok(()) };
        raw_clone.note(&self.home)?;
        self.step(Step::MarkClone)?;
        self.mark(&Marker { state: MarkerState::Repairing, ..after_repair(batch) })?;
        rustix::fs::syncfs(&self.root).map_err(Problem::own("make the copy durable (syncfs)"))?;
        self.step(Step::RemoveIndex)?;
        RawClone::remove_index(&self.root)?;
        self.raw_clone = Some(RawClone { has_index: false, ..raw_clone });
        Ok(())
    }

    /// Makes everything that is visible durable.
    ///
    /// # Errors
    /// The disk failed. What was visible may be lost with the next crash; the copy then is where it was durable last.
    pub fn make_durable(&mut self) -> Result<(), CopyError> {
        let result = self.step(Step::MakeDurable).and_then(|()| self.sync_all());
        result.map_err(|problem| self.failed(problem))
    }

    fn failed(&self, problem: Problem) -> CopyError {
        CopyError { copy: self.root.path().to_owned(), problem }
    }

    fn step(&self, step: Step) -> Result<(), Problem> {
        self.options.observer.before(step).map_err(Problem::Stopped)
    }

    fn mark(&mut self, marker: &Marker) -> Result<(), Problem> {
        marker::write(&self.root, &self.home, marker)?;
        self.marker = Some(*marker);
        Ok(())
    }

    fn change(&mut self, batch: &Batch, contents: &dyn Contents, given: Given, after: Marker) -> Result<Applied, Problem> {
        let plan = plan(&self.root, &self.options.rules, batch, given)?;
        let mut applied = Applied { staged: plan.make.len() as u64, kept: plan.kept, ..Applied::default() };
        if plan.acts.is_empty() && plan.make.is_empty() {
            self.step(Step::MarkDone)?;
            self.mark(&after)?;
            return Ok(applied);
        }
        let (intent, staged) = self.prepare(&plan, batch, contents, after).inspect_err(|_| {
            // The first failure is the one to tell; what stays in the stage is thrown away by the next open or apply.
            let _ = self.clear_stage().and_then(|()| self.home.remove("intent"));
        })?;
        applied.received_bytes = staged.filled.received_bytes;
        applied.local_bytes = staged.filled.local_bytes;
        applied.operations = intent.operations.len() as u64;
        self.replaced += applied.operations;
        // Empty shelves.
        self.is_stage_used |= applied.staged > NAMES_ON_A_SHELF;
        let published = self.publish(&intent, false).map(|has_replaced| self.is_stage_used |= has_replaced);
        let finished = published.and_then(|()| self.finish(&intent.after));
        if let Err(problem) = finished.and_then(|()| self.let_go_of_links(plan.replaces_links, &intent)) {
            self.pending = Some(intent);
            return Err(problem);
        }
        Ok(applied)
    }

    /// Everything up to the marker that says so: nothing is visible, all is durable.
    fn prepare(&mut self, plan: &Plan, batch: &Batch, contents: &dyn Contents, after: Marker) -> Result<(Intent, Staged), Problem> {
        self.empty_stage()?;
        if room::check(&self.root, plan, batch).is_err() {
            self.make_room()?;
        }
        room::check(&self.root, plan, batch)?;
        let mut ahead = self.take_ahead();
        let place = (&self.root, &self.home, &*self.options.rules);
        let staged = stage(place, plan, (batch, contents), &mut ahead, &*self.options.observer)?;
        self.replaced += ahead.left();
        let how = self.how_to_prepare(staged.unwritten.len());
        if how == Writing::OneByOne {
            self.step(Step::WriteStage)?;
            self.home.write_staged(&staged.unwritten)?;
        }
        let intent = Intent { after, operations: staged.operations(plan, batch) };
        self.step(Step::WriteIntent)?;
        let (bytes, checksum) = intent.encode();
        let file = self.home.write("intent", &bytes)?;
        self.step(Step::Sync)?;
        self.sync_prepared(&file, how, staged.unwritten.len())?;
        self.step(Step::MarkApplying)?;
        let before = self.marker.unwrap_or(Marker { position: Position { generation: 0, ..after.position }, structure: 0, ..after });
        self.mark(&Marker { state: MarkerState::Applying { intent: checksum }, ..before })?;
        Ok((intent, staged))
    }

    /// Whether something that was replaced is in the stage now.
    fn publish(&self, intent: &Intent, is_redo: bool) -> Result<bool, Problem> {
        if !self.root.filesystem().keeps_order() {
            rustix::fs::syncfs(&self.root).map_err(Problem::own("make the marker durable"))?;
        }
        let mut publisher = Publisher::new(&self.root, &self.home, &self.options.rules, is_redo);
        for (number, operation) in intent.operations.iter().enumerate() {
            self.step(Step::Operation(number))?;
            publisher.run(operation)?;
        }
        Ok(publisher.has_replaced())
    }

    fn finish(&mut self, after: &Marker) -> Result<(), Problem> {
        if !self.root.filesystem().keeps_order() {
            rustix::fs::syncfs(&self.root).map_err(Problem::own("make the changes durable"))?;
        }
        self.step(Step::MarkDone)?;
        self.mark(after)?;
        self.is_empty = false;
        self.step(Step::RemoveIntent)?;
        self.home.remove("intent")?;
        Ok(())
    }
}

fn after_repair(batch: &Batch) -> Marker {
    let position = Position { source: batch.source, epoch: batch.epoch, generation: batch.to };
    Marker { position, structure: batch.to, state: MarkerState::Clean }
}

/// A name in the root that is not ours. `lost+found` belongs to the filesystem.
fn foreign_name(root: &Root) -> Result<Option<TreePath>, Problem> {
    let names = root.lookup().names(&TreePath::root())?;
    let first = names.iter().filter_map(|name| TreePath::root().join(name).ok()).find(|path| !path.is_in_lost_and_found());
    Ok(first)
}
