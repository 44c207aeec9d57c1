//! The definitions in `crds/` and in the chart are those that the code makes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use volume_dispatcher::{api, yaml};

fn folders() -> [PathBuf; 2] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    [root.join("crds"), root.join("charts/volume-dispatcher/files/crds")]
}

#[test]
fn the_definitions_in_the_repository_are_fresh() {
    for folder in folders() {
        for (file, definition) in api::definitions() {
            let path = folder.join(file);
            let stored = std::fs::read_to_string(&path).unwrap_or_default();
            let is_fresh = stored == yaml::to_string(&definition).unwrap();
            assert!(is_fresh, "{} is missing or stale: run make crds", path.display());
        }
    }
}

#[test]
fn there_is_no_definition_that_the_code_does_not_make() {
    let made: BTreeSet<String> = api::definitions().iter().map(|(file, _)| (*file).to_owned()).collect();
    for folder in folders() {
        let stored: BTreeSet<String> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(stored, made, "{}: run make crds, and remove what is left over", folder.display());
    }
}
