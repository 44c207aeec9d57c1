//! What a copy refuses: it says why, names the path, and stays as it was.

use crate::stage::source::{FixedContents, FolderContents, NoContents, assert_equal, batch, listing, open_rules};
use crate::stage::{Tree, is_root_or_skipped, path};
use rustix::fs::IFlags;
use std::io::Read;
use std::sync::Arc;
use treesync::apply::{ContentError, Contents, Copy, CopyError, CopyOptions, Observer, Problem, Step};
use treesync::model::{RuleOptions, Rules, SourceId, Wanted};

fn options() -> CopyOptions {
    CopyOptions { rules: Arc::new(open_rules()), ..CopyOptions::default() }
}

/// A copy at generation 1 with a file of a source, and the source.
fn synced() -> (Tree, Tree, Copy) {
    synced_in(Tree::new())
}

fn synced_in(folder: Tree) -> (Tree, Tree, Copy) {
    let source = Tree::new();
    source.write("dir/file", "first");
    let mut copy = Copy::open(folder.root(), options()).unwrap();
    copy.apply(&batch(0, 1).put_all(&source).build(), &FolderContents(&source.root())).unwrap();
    (source, folder, copy)
}

#[track_caller]
fn assert_says(error: &CopyError, parts: &[&str]) {
    let message = error.to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

fn refused(folder: &Tree, options: CopyOptions) -> CopyError {
    Copy::open(folder.root(), options).err().unwrap()
}

#[test]
fn a_directory_with_foreign_files_is_not_taken_over_unless_adopted() {
    let folder = Tree::new();
    folder.write("precious", "mine");
    let error = refused(&folder, options());
    assert_says(&error, &[&folder.folder().to_string_lossy(), "precious", "adopt"]);
    assert!(!folder.at(".treesync").exists(), "nothing was made there");
    let mut adopted = Copy::open(folder.root(), CopyOptions { adopt: true, ..options() }).unwrap();
    assert_eq!(adopted.position(), None);
    let error = adopted.apply(&batch(0, 1).build(), &NoContents).unwrap_err();
    assert!(error.problem.is_cured_by_repair(), "{error}");
    drop(adopted);
    assert_says(&refused(&folder, options()), &["precious"]);
}

#[test]
fn lost_and_found_is_not_foreign() {
    let folder = Tree::new();
    std::fs::create_dir(folder.at("lost+found")).unwrap();
    assert!(Copy::open(folder.root(), options()).unwrap().is_empty());
}

#[test]
fn a_copy_has_one_owner() {
    let (_source, folder, copy) = synced();
    assert_says(&refused(&folder, options()), &["another process"]);
    drop(copy);
    Copy::open(folder.root(), options()).unwrap();
}

#[test]
fn a_hidden_directory_that_others_may_enter_or_that_is_a_link_is_refused() {
    let folder = Tree::new();
    std::fs::create_dir(folder.at(".treesync")).unwrap();
    std::fs::set_permissions(folder.at(".treesync"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_says(&refused(&folder, options()), &[".treesync", "0700"]);
    let outside = Tree::new();
    std::fs::remove_dir(folder.at(".treesync")).unwrap();
    std::os::unix::fs::symlink(outside.folder(), folder.at(".treesync")).unwrap();
    assert_says(&refused(&folder, options()), &[".treesync"]);
    assert_eq!(std::fs::read_dir(outside.folder()).unwrap().count(), 0);
}

#[test]
fn a_batch_of_another_source_epoch_or_a_later_start_is_refused_with_the_way_on() {
    let (_source, folder, mut copy) = synced();
    let before = listing(&folder.root());
    let mut refuse = |batch| copy.apply(&batch, &NoContents).unwrap_err();
    let error = refuse(batch(1, 2).source(SourceId([1; 16])).build());
    assert!(matches!(error.problem, Problem::OtherSource { .. }) && error.problem.is_cured_by_repair());
    let error = refuse(batch(1, 2).epoch(2).build());
    assert_says(&error, &["epoch 1", "source at 2", "compared"]);
    let error = refuse(batch(5, 6).build());
    assert!(matches!(error.problem, Problem::Behind { at: 1, from: 5 }) && !error.problem.is_cured_by_repair(), "{error}");
    assert_eq!(copy.position().unwrap().generation, 1);
    assert_eq!(listing(&folder.root()), before);
}

#[test]
fn bytes_that_are_not_those_of_the_digest_are_never_published() {
    let (source, folder, mut copy) = synced();
    let before = listing(&folder.root());
    source.write("dir/file", "second");
    let next = batch(1, 2).put(&source, "dir/file").build();
    for lie in ["sec0nd", "", "secon"] {
        let error = copy.apply(&next, &FixedContents(lie.into())).unwrap_err();
        assert_says(&error, &["dir/file", "digest"]);
        assert_eq!(listing(&folder.root()), before, "after {lie:?}");
        assert_eq!(copy.position().unwrap().generation, 1);
        assert_eq!(std::fs::read_dir(folder.at(".treesync/stage")).unwrap().count(), 0);
    }
    // Only the wanted length is read: what comes after it is not looked at.
    copy.apply(&next, &FixedContents("second and more".into())).unwrap();
    assert_equal(&source.root(), &folder.root());
}

struct Gone;

impl Contents for Gone {
    fn open(&self, _: &Wanted) -> Result<Box<dyn Read + Send>, ContentError> {
        Err(ContentError::Gone)
    }
}

#[test]
fn bytes_that_changed_meanwhile_leave_the_copy_where_it_is() {
    let (source, folder, mut copy) = synced();
    let before = listing(&folder.root());
    source.write("dir/file", "second");
    let error = copy.apply(&batch(1, 2).put(&source, "dir/file").build(), &Gone).unwrap_err();
    assert!(error.problem.is_gone(), "{error}");
    assert_eq!((copy.position().unwrap().generation, listing(&folder.root())), (1, before));
}

struct StopAt(Step);

impl Observer for StopAt {
    fn before(&self, step: Step) -> std::io::Result<()> {
        if step == self.0 { Err(std::io::Error::other("enough")) } else { Ok(()) }
    }
}

#[test]
fn a_stop_before_publishing_changes_nothing_and_one_in_it_is_finished_by_the_next_open() {
    for (stop, is_visible) in [
        (Step::Stage(0), false),
        (Step::WriteIntent, false),
        (Step::WriteStage, false),
        (Step::Sync, false),
        (Step::MarkApplying, false),
        (Step::Operation(0), true),
        (Step::Operation(1), true),
        (Step::MarkDone, true),
        (Step::RemoveIntent, true),
    ] {
        // Memory keeps the order of changes, as not every disk does: else the stage is not written in a step of its own.
        let (source, folder, copy) = synced_in(Tree::within_memory());
        drop(copy);
        source.write("dir/file", "second");
        let next = batch(1, 2).put(&source, "dir/file").put(&source, "dir").build();
        let options = |observer| CopyOptions { observer, ..options() };
        let mut copy = Copy::open(folder.root(), options(Arc::new(StopAt(stop)))).unwrap();
        copy.apply(&next, &FolderContents(&source.root())).unwrap_err();
        drop(copy);
        let copy = Copy::open(folder.root(), self::options()).unwrap();
        let generation = copy.position().unwrap().generation;
        assert_eq!(generation, if is_visible { 2 } else { 1 }, "{stop:?}");
        let bytes = std::fs::read_to_string(folder.at("dir/file")).unwrap();
        assert_eq!(bytes, if is_visible { "second" } else { "first" }, "{stop:?}");
        assert_eq!(std::fs::read_dir(folder.at(".treesync/stage")).unwrap().count(), 0, "{stop:?}");
    }
}

#[test]
fn an_immutable_file_or_directory_on_the_copy_is_named_before_anything_changes() {
    if !is_root_or_skipped("an_immutable_file_or_directory_on_the_copy_is_named_before_anything_changes") {
        return;
    }
    for frozen in ["dir/file", "dir"] {
        let (source, folder, mut copy) = synced();
        source.write("dir/file", "second");
        source.write("other", "new");
        let before = listing(&folder.root());
        let next = batch(1, 2).put(&source, "dir/file").put(&source, "other").put(&source, "").build();
        let target = std::fs::File::open(folder.at(frozen)).unwrap();
        let flags = rustix::fs::ioctl_getflags(&target).unwrap();
        rustix::fs::ioctl_setflags(&target, flags | IFlags::IMMUTABLE).unwrap();
        let put = copy.apply(&next, &FolderContents(&source.root()));
        let removal = copy.apply(&batch(1, 2).remove("dir/file").build(), &NoContents);
        let after = listing(&folder.root());
        rustix::fs::ioctl_setflags(&target, flags).unwrap();
        assert_says(&put.unwrap_err(), &[frozen, "chattr"]);
        assert_says(&removal.unwrap_err(), &[frozen, "chattr"]);
        assert_eq!(after, before);
        copy.apply(&next, &FolderContents(&source.root())).unwrap();
        assert_equal(&source.root(), &folder.root());
    }
}

fn keeping(patterns: &[&str]) -> CopyOptions {
    let preserve_on_copies = patterns.iter().map(ToString::to_string).collect();
    let rules = Rules::new(RuleOptions { preserve_on_copies, ..RuleOptions::default() }).unwrap();
    CopyOptions { rules: Arc::new(rules), ..CopyOptions::default() }
}

#[test]
fn what_the_rules_keep_on_copies_is_neither_written_nor_removed() {
    let source = Tree::new();
    for file in ["dir/cache/a", "dir/deep/x.keep", "dir/deep/y", "dir/z", "moved/f"] {
        source.write(file, "1");
    }
    let folder = Tree::new();
    let mut copy = Copy::open(folder.root(), keeping(&["cache", "*.keep"])).unwrap();
    let first = copy.apply(&batch(0, 1).put_all(&source).build(), &FolderContents(&source.root())).unwrap();
    assert_eq!(first.kept, 3, "cache, cache/a and x.keep");
    assert!(!folder.at("dir/cache").exists() && !folder.at("dir/deep/x.keep").exists());
    folder.write("dir/cache/own", "of the copy");
    folder.write("dir/deep/own.keep", "of the copy");
    copy.apply(&batch(1, 2).remove("dir").rename("moved", "other").build(), &NoContents).unwrap();
    let left: Vec<String> = treesync::tree::Walk::new(&folder.root(), path("")).map(|visit| visit.unwrap().path.to_string()).collect();
    assert_eq!(left, [".", "dir", "dir/cache", "dir/cache/own", "dir/deep", "dir/deep/own.keep", "other", "other/f"]);
    std::fs::remove_dir_all(source.at("dir")).unwrap();
    source.write("dir", "a file now");
    let error = copy.apply(&batch(2, 3).put(&source, "dir").build(), &FolderContents(&source.root())).unwrap_err();
    assert_says(&error, &["dir must become something else", "keep"]);
    assert!(folder.at("dir/cache/own").exists());
}

#[test]
fn setuid_capabilities_and_foreign_attributes_are_cleared_unless_allowed() {
    if !is_root_or_skipped("setuid_capabilities_and_foreign_attributes_are_cleared_unless_allowed") {
        return;
    }
    let source = Tree::new();
    let file = source.write("su", "x");
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::setxattr(&file, "security.capability", &capability, rustix::fs::XattrFlags::empty()).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o6755)).unwrap();
    let trusted = || treesync::model::Xattr { name: b"trusted.treesync.marker".to_vec(), value: b"forged".to_vec() };
    let forge = |put: &mut treesync::model::Put| put.entry.xattrs.push(trusted());
    let folder = Tree::new();
    let mut copy = Copy::open(folder.root(), CopyOptions::default()).unwrap();
    let first = batch(0, 1).put(&source, "su").with(forge).put(&source, "").with(forge).build();
    copy.apply(&first, &FolderContents(&source.root())).unwrap();
    let state = std::fs::metadata(folder.at("su")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&state.permissions()) & 0o7777, 0o755);
    let mut names = [0; 256];
    let length = rustix::fs::listxattr(folder.at("su"), &mut names[..]).unwrap();
    assert_eq!(String::from_utf8_lossy(&names[..length]), "");
    drop(copy);
    assert_eq!(Copy::open(folder.root(), CopyOptions::default()).unwrap().position().unwrap().generation, 1);
}
