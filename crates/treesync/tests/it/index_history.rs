//! The most important property of treesync: whatever happened, a copy that was at any generation is brought to the last
//! one by what the index says, over every path that it may take.

use crate::copy_model::CopyModel;
use crate::source_model::{Dirty, Operation, SourceModel};
use proptest::prelude::*;
use proptest::test_runner::Config;
use treesync::index::{Index, IndexOptions};
use treesync::model::Position;
use treesync::tree::Root;

fn operation() -> impl Strategy<Value = Operation> {
    let (place, name) = (0..64_usize, any::<u8>());
    prop_oneof![
        3 => (place.clone(), name, 0..4_u8).prop_map(|(directory, name, content)| Operation::File { directory, name, content }),
        3 => (place.clone(), name).prop_map(|(directory, name)| Operation::Directory { directory, name }),
        1 => (place.clone(), name, any::<u8>()).prop_map(|(directory, name, target)| Operation::Symlink { directory, name, target }),
        1 => (place.clone(), 0..8_u32).prop_map(|(path, mode)| Operation::Mode { path, mode }),
        5 => (place.clone(), place.clone(), name).prop_map(|(from, directory, name)| Operation::Rename { from, directory, name }),
        2 => (place.clone(), place.clone()).prop_map(|(one, other)| Operation::Exchange { one, other }),
        2 => (place.clone(), place.clone(), name).prop_map(|(from, directory, name)| Operation::Link { from, directory, name }),
        2 => place.prop_map(|path| Operation::Remove { path }),
        3 => any::<bool>().prop_map(|all| Operation::Flush { all }),
    ]
}

/// Enough to find what a few thousand found; `TREESYNC_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("TREESYNC_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100)
}

/// A source, its index, a copy that gets every batch, and the copy as it was at every generation.
struct History {
    source: SourceModel,
    index: Index,
    live: CopyModel,
    past: Vec<CopyModel>,
    _folder: tempfile::TempDir,
}

impl History {
    fn new() -> Self {
        // In memory: each of some thousand histories commits some ten times, and a disk would be asked to be durable.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let options = IndexOptions { cache_bytes: 1024 * 1024, ..IndexOptions::default() };
        let (index, _) = Index::open(&Root::open(folder.path()).unwrap(), &options).unwrap();
        let live = CopyModel::default();
        Self { source: SourceModel::new(), index, past: vec![live.clone()], live, _folder: folder }
    }

    /// Commits the state of some dirty names.
    fn commit(&mut self, names: &[Dirty]) {
        let observations = self.source.observe(names, &self.index.view().unwrap());
        let committed = self.index.commit(observations, 0).unwrap();
        // Half of a move was seen: the other half is still to come.
        self.source.dirty.extend(committed.unsettled.into_iter().map(Dirty::Name));
        if let Some(batch) = committed.batch {
            self.live.apply(&batch);
            self.past.push(self.live.clone());
        }
    }

    fn flush(&mut self, all: bool) {
        let count = if all { self.source.dirty.len() } else { self.source.dirty.len().div_ceil(2) };
        let names: Vec<Dirty> = self.source.dirty.drain(..count).collect();
        self.commit(&names);
    }

    fn run(&mut self, operations: &[Operation]) {
        for operation in operations {
            match operation {
                Operation::Flush { all } => self.flush(*all),
                other => self.source.run(other),
            }
        }
        for _ in 0..3 {
            self.flush(true);
        }
        assert_eq!(self.source.dirty.len(), 0, "what was seen in full is settled");
        crate::copy_model::assert_same(&self.live.tree, &self.source.tree(), "the copy that got every batch is the source");
    }

    /// Brings a copy as of a past generation to now.
    fn caught_up(&self, past: &CopyModel) -> CopyModel {
        let mut copy = past.clone();
        let since = Position { generation: past.generation, ..self.index.position().unwrap() };
        let mut parts = self.index.catch_up(&since).unwrap().expect("it is not below the floor");
        while let Some(part) = parts.next_part().unwrap() {
            copy.apply(&part);
        }
        copy
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(cases()) })]

    #[test]
    fn a_copy_at_any_generation_catches_up(operations in prop::collection::vec(operation(), 1..60)) {
        let mut history = History::new();
        history.run(&operations);
        for past in &history.past {
            let copy = history.caught_up(past);
            crate::copy_model::assert_same(&copy.tree, &history.live.tree, &format!("from generation {}", past.generation));
            prop_assert_eq!(copy.generation, history.live.generation);
        }
    }

    #[test]
    fn a_copy_may_catch_up_in_several_steps(operations in prop::collection::vec(operation(), 1..40), more in prop::collection::vec(operation(), 1..40)) {
        let mut history = History::new();
        history.run(&operations);
        let halfway: Vec<CopyModel> = history.past.iter().map(|past| history.caught_up(past)).collect();
        history.run(&more);
        for copy in &halfway {
            prop_assert_eq!(&history.caught_up(copy).tree, &history.live.tree);
        }
    }

    #[test]
    fn the_manifest_is_the_source(operations in prop::collection::vec(operation(), 1..60)) {
        let mut history = History::new();
        history.run(&operations);
        let mut manifest = history.index.view().unwrap().manifest();
        let mut entries = Vec::new();
        while let Some(part) = manifest.next_part().unwrap() {
            entries.extend(part.puts.into_iter().map(|put| (put.path, put.entry)));
        }
        prop_assert_eq!(entries, history.source.tree().into_iter().collect::<Vec<_>>(), "every entry, in the order of paths");
    }

    #[test]
    fn looking_again_at_everything_changes_nothing(operations in prop::collection::vec(operation(), 1..60)) {
        let mut history = History::new();
        history.run(&operations);
        let generation = history.live.generation;
        let names = history.source.every_name();
        history.commit(&names);
        prop_assert_eq!(history.live.generation, generation);
    }
}

/// `e` is moved into `a`, and `a` to `b`; of all that only `a` without itself and with `e` in it is seen, and a new file `e`.
#[test]
fn what_stands_where_a_directory_was_waits_until_it_is_seen_where_that_went() {
    let directory = |directory, name| Operation::Directory { directory, name };
    let file = |directory, name| Operation::File { directory, name, content: 0 };
    let rename = |from, directory, name| Operation::Rename { from, directory, name };
    let mut history = History::new();
    history.run(&[
        directory(0, 223),
        Operation::Flush { all: true },
        file(5, 2),
        Operation::Flush { all: false },
        directory(8, 100),
        directory(3, 224),
        Operation::Mode { path: 0, mode: 0 },
        Operation::Flush { all: false },
        directory(5, 13),
        rename(37, 16, 104),
        rename(15, 55, 106),
        file(0, 39),
        file(0, 44),
        file(12, 0),
        Operation::Flush { all: false },
    ]);
    for past in &history.past {
        assert_eq!(history.caught_up(past).tree, history.live.tree, "from generation {}", past.generation);
    }
}
