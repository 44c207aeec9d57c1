//! Deletes a path at the source once. What is about to go is noted on the source's volume first, so that who tries again after
//! a crash, here or on another node, knows that it was this operation that did it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use treesync::model::TreePath;
use treesync::publish::{Changed, Publisher};

use super::public_file;

/// Longer is no note of ours: a pod that writes the source may put anything there.
const LONGEST_BYTES: u64 = 16 * 1024 * 1024;

/// What an operation deletes.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Note {
    paths: Vec<String>,
}

/// The note of the operation with this UID, in our directory on the source, which never travels.
fn file(operation: &str) -> String {
    format!("deletion-{operation}.json")
}

/// Removes a path and all below, unless the operation with this UID has done so before.
pub(super) fn delete(publisher: &Publisher, source: &Path, operation: &str, path: &TreePath) -> Result<Changed, String> {
    match (publisher.delete(path, true), noted(source, operation)) {
        (Ok(planned), None) => {
            let paths = planned.paths.iter().map(ToString::to_string).collect();
            note(source, operation, &Note { paths })?;
            publisher.delete(path, false).map_err(|error| error.to_string())
        }
        // It ended in the middle: the rest goes now, and what it took before is told as well.
        (Ok(_), Some(note)) => {
            let done = publisher.delete(path, false).map_err(|error| error.to_string())?;
            Ok(Changed { paths: parsed(&note.paths), ..done })
        }
        (Err(_), Some(note)) => {
            let position = publisher.settle().map_err(|error| error.to_string())?;
            Ok(Changed { position, paths: parsed(&note.paths) })
        }
        (Err(error), None) => Err(error.to_string()),
    }
}

fn parsed(paths: &[String]) -> Vec<TreePath> {
    paths.iter().filter_map(|path| TreePath::parse(path.as_str()).ok()).collect()
}

fn note(source: &Path, operation: &str, note: &Note) -> Result<(), String> {
    let line = serde_json::to_vec(note).map_err(|error| error.to_string())?;
    public_file::replace(source, &file(operation), &line, public_file::Durability::Synced)
        .map_err(|error| format!("what is deleted cannot be noted on the source: {error}"))
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
        assert_eq!(first.paths, [page()]);
        // The agent ends before it has told; another one tries again.
        let publisher = publisher(source.path());
        let again = delete(&publisher, source.path(), "uid-1", &page()).expect("it has done that");
        assert_eq!(again.paths, [page()]);
        assert!(again.position.generation >= first.position.generation, "{again:?}");
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
    fn a_crash_before_the_first_file_went_or_nonsense_in_the_note_is_no_harm() {
        let source = source();
        note(source.path(), "uid-1", &Note { paths: vec!["old/page".to_owned()] }).expect("noted");
        delete(&publisher(source.path()), source.path(), "uid-1", &page()).expect("it is there");
        assert!(!source.path().join("old/page").exists());
        public_file::replace(source.path(), &file("uid-1"), b"{", public_file::Durability::None).expect("written");
        assert_eq!(noted(source.path(), "uid-1"), None);
        forget(source.path(), "uid-1");
        assert_eq!(std::fs::read_dir(source.path().join(public_file::DIRECTORY)).expect("it is there").count(), 0);
    }
}
