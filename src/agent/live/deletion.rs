//! Deletes a path at the source once. What is about to go is noted on the source's volume first, so that who tries again after
//! a crash, here or on another node, knows that it was this operation that did it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tracing::warn;
use treesync::model::{Position, TreePath};
use treesync::publish::{Changed, Publisher};

use super::public_file;

/// How many paths an answer names.
pub(super) const PATHS_TOLD: usize = 50;
/// Longer is no note of ours: a pod that writes the source may put anything there. Fifty paths of 4,096 bytes, escaped.
const LONGEST_BYTES: u64 = 2 * 1024 * 1024;

/// What an operation did at the source.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Done {
    /// Where the source has it.
    pub(super) position: Position,
    /// Some of the paths.
    pub(super) paths: Vec<String>,
    /// How many they are.
    pub(super) paths_total: u64,
}

impl From<Changed> for Done {
    fn from(Changed { position, paths }: Changed) -> Self {
        let paths_total = paths.len() as u64;
        Self { position, paths: paths.iter().take(PATHS_TOLD).map(ToString::to_string).collect(), paths_total }
    }
}

/// What an operation deletes.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Note {
    paths: Vec<String>,
    paths_total: u64,
    /// Nothing is left to be deleted: what is there now came later.
    is_done: bool,
}

/// The note of the operation with this UID, in our directory on the source, which never travels.
fn file(operation: &str) -> String {
    format!("deletion-{operation}.json")
}

/// Removes a path and all below, unless the operation with this UID has done so before.
pub(super) fn delete(publisher: &Publisher, source: &Path, operation: &str, path: &TreePath) -> Result<Done, String> {
    let told = |note: Note, position| Done { position, paths: note.paths, paths_total: note.paths_total };
    match noted(source, operation) {
        Some(note @ Note { is_done: true, .. }) => Ok(told(note, settled(publisher)?)),
        // It ended in the middle: the rest goes now, if there is any, and what it took before is told as well.
        Some(note) => {
            let is_left = publisher.delete(path, true).is_ok();
            let position = if is_left { remove(publisher, path)?.position } else { settled(publisher)? };
            Ok(told(Note { is_done: true, ..note }, position))
        }
        None => {
            let planned = Done::from(publisher.delete(path, true).map_err(|error| error.to_string())?);
            let Done { paths, paths_total, .. } = planned;
            let mut note = Note { paths, paths_total, is_done: false };
            write(source, operation, &note);
            let done = remove(publisher, path)?;
            note.is_done = true;
            write(source, operation, &note);
            Ok(done.into())
        }
    }
}

fn remove(publisher: &Publisher, path: &TreePath) -> Result<Changed, String> {
    publisher.delete(path, false).map_err(|error| error.to_string())
}

fn settled(publisher: &Publisher) -> Result<Position, String> {
    publisher.settle().map_err(|error| error.to_string())
}

/// A source that is full takes no note, and needs the deletion most: then a second try after a crash is told as refused.
fn write(source: &Path, operation: &str, note: &Note) {
    let line = serde_json::to_vec(note).map_err(std::io::Error::other);
    let written = line.and_then(|line| public_file::replace(source, &file(operation), &line, public_file::Durability::Synced));
    if let Err(error) = written {
        warn!(%error, operation, "what is deleted cannot be noted on the source");
    }
}

fn noted(source: &Path, operation: &str) -> Option<Note> {
    serde_json::from_slice(&public_file::read(source, &file(operation), LONGEST_BYTES).ok()?).ok()
}

/// The object of the operation says that it is done, so that nobody will try again.
pub(super) fn forget(source: &Path, operation: &str) {
    // Without one, or when the source is gone by now, there is nothing to be done.
    drop(public_file::forget(source, &file(operation)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use treesync::model::Rules;
    use treesync::publish::{PublishOptions, PublishStatus};

    fn publisher(source: &Path) -> Publisher {
        let rules = Rules::new(super::super::wanted::rules(&[], &[])).expect("rules");
        Publisher::start(source, PublishOptions { rules, ..PublishOptions::default() }).expect("it publishes")
    }

    fn page() -> TreePath {
        TreePath::parse("old/page").expect("a path")
    }

    fn source() -> tempfile::TempDir {
        let source = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(source.path().join("old")).expect("made");
        std::fs::write(source.path().join("old/page"), "text").expect("written");
        source
    }

    #[test]
    fn an_operation_that_was_not_noted_as_done_is_done_once_and_told_as_done() {
        let source = source();
        let first = delete(&publisher(source.path()), source.path(), "uid-1", &page()).expect("it is there");
        assert_eq!((first.paths, first.paths_total), (vec!["old/page".to_owned()], 1));
        // The agent ends before it has told; another one tries again.
        let publisher = publisher(source.path());
        let again = delete(&publisher, source.path(), "uid-1", &page()).expect("it has done that");
        assert_eq!((again.paths, again.paths_total), (vec!["old/page".to_owned()], 1));
        assert!(again.position.generation >= first.position.generation);
        let error = delete(&publisher, source.path(), "uid-2", &page()).expect_err("another operation has deleted nothing");
        assert!(error.contains("old/page is not in"), "{error}");
        let PublishStatus { entries, .. } = publisher.status();
        assert_eq!(entries, 2, "the note is no change of the source: its root and a directory are left");
    }

    #[test]
    fn a_path_that_was_made_anew_since_an_earlier_operation_is_deleted() {
        let source = source();
        let publisher = publisher(source.path());
        delete(&publisher, source.path(), "uid-1", &page()).expect("it is there");
        std::fs::write(source.path().join("old/page"), "new").expect("written");
        delete(&publisher, source.path(), "uid-2", &page()).expect("it is there again");
        assert!(!source.path().join("old/page").exists());
    }

    #[test]
    fn a_path_that_was_made_anew_since_stays_when_the_operation_is_tried_again() {
        let source = source();
        let publisher = publisher(source.path());
        delete(&publisher, source.path(), "uid-1", &page()).expect("it is there");
        std::fs::write(source.path().join("old/page"), "new").expect("written");
        delete(&publisher, source.path(), "uid-1", &page()).expect("it has done that");
        assert!(source.path().join("old/page").exists(), "it is nothing that the operation was to delete");
    }

    #[test]
    fn a_crash_before_the_first_file_went_or_nonsense_in_the_note_is_no_harm() {
        let source = source();
        write(source.path(), "uid-1", &Note { paths: vec!["old/page".to_owned()], paths_total: 1, is_done: false });
        delete(&publisher(source.path()), source.path(), "uid-1", &page()).expect("it is there");
        assert!(!source.path().join("old/page").exists());
        public_file::replace(source.path(), &file("uid-1"), b"{", public_file::Durability::None).expect("written");
        assert_eq!(noted(source.path(), "uid-1"), None);
        forget(source.path(), "uid-1");
        assert_eq!(std::fs::read_dir(source.path().join(public_file::DIRECTORY)).expect("it is there").count(), 0);
    }
}
