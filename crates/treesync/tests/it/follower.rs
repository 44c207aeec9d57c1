//! A subscriber in memory, and the truth that it is judged by.

use crate::copy_model::{CopyModel, Tree};
use std::time::{Duration, Instant};
use treesync::model::{Position, Rules};
use treesync::publish::{Publisher, Step, Subscription};
use treesync::tree::{Reading, Root, Walk};

/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Applies what a publisher says.
pub struct Follower {
    steps: Subscription,
    pub copy: CopyModel,
    listed: Tree,
    /// Parts of manifests that came.
    pub manifests: usize,
    pub batches: usize,
}

impl Follower {
    pub fn new(publisher: &Publisher, since: Option<Position>, copy: CopyModel) -> Self {
        Self { steps: publisher.subscribe(since).unwrap(), copy, listed: Tree::new(), manifests: 0, batches: 0 }
    }

    /// One that was never synced.
    pub fn fresh(publisher: &Publisher) -> Self {
        Self::new(publisher, None, CopyModel::default())
    }

    /// The next step, applied.
    pub fn step(&mut self) -> Step {
        let deadline = Instant::now() + PATIENCE;
        let step = loop {
            if let Some(step) = self.steps.next(Duration::from_secs(1)).unwrap() {
                break step;
            }
            assert!(Instant::now() < deadline, "nothing came in {PATIENCE:?}; the copy is at {}", self.copy.generation);
        };
        match &step {
            Step::Batch(batch) => {
                self.batches += 1;
                self.copy.apply(batch);
            }
            Step::Manifest(part) => {
                self.manifests += 1;
                self.listed.extend(part.puts.iter().map(|put| (put.path.clone(), put.entry.clone())));
                if part.is_last_part {
                    let generation = part.position.generation;
                    self.copy = CopyModel { tree: std::mem::take(&mut self.listed), generation, structure_generation: generation };
                }
            }
            Step::InSync(_) | Step::Ahead(_) => {}
        }
        step
    }

    /// Follows until it is in sync at a position or a later one.
    pub fn reach(&mut self, position: Position) -> Position {
        loop {
            if let Step::InSync(at) = self.step()
                && at.is_comparable_to(&position)
                && at.generation >= position.generation
            {
                return at;
            }
        }
    }

    /// Lets the publisher take in all that happened, and follows.
    pub fn settle(&mut self, publisher: &Publisher) -> Position {
        let position = publisher.settle().unwrap();
        if self.copy.generation < position.generation || self.batches + self.manifests == 0 { self.reach(position) } else { position }
    }
}

/// What a tree is, read anew with other code than the publisher's.
pub fn truth(root: &Root, rules: &Rules) -> Tree {
    let mut tree = Tree::new();
    let mut walk = Walk::new(root, treesync::model::TreePath::root());
    while let Some(visit) = walk.next() {
        let path = visit.unwrap().path;
        if !rules.travels(&path) {
            walk.skip_below();
        } else if let Reading::Entry(entry, _) = root.lookup().read_entry(&path, rules).unwrap() {
            tree.insert(path, *entry);
        }
    }
    tree
}
