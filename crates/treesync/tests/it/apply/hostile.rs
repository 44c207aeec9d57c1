//! Attackers on a live copy, and batches that no correct source sends: nothing outside the tree is touched.

use crate::stage::source::{BatchBuilder, FolderContents, NoContents, assert_equal, batch, listing, open_rules};
use crate::stage::{Tree, is_root_or_skipped, path};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use treesync::apply::{Copy, CopyOptions, Problem};
use treesync::model::Put;

fn options() -> CopyOptions {
    CopyOptions { rules: Arc::new(open_rules()), ..CopyOptions::default() }
}

/// A folder outside of every tree, with things to destroy.
fn canary() -> Tree {
    let outside = Tree::new();
    outside.write("file", "alive");
    outside.write("dir/file", "alive");
    outside
}

fn source_with_dir() -> Tree {
    let source = Tree::new();
    source.write("dir/file", "0");
    source.write("dir/sub/file", "0");
    source
}

fn synced(source: &Tree) -> (Tree, Copy) {
    let folder = Tree::new();
    let mut copy = Copy::open(folder.root(), options()).unwrap();
    copy.apply(&batch(0, 1).put_all(source).build(), &FolderContents(&source.root())).unwrap();
    (folder, copy)
}

#[test]
fn a_link_planted_for_a_directory_is_not_followed_and_a_repair_replaces_it() {
    let (outside, source) = (canary(), source_with_dir());
    let before = listing(&outside.root());
    let (folder, mut copy) = synced(&source);
    std::fs::remove_dir_all(folder.at("dir")).unwrap();
    symlink(outside.folder(), folder.at("dir")).unwrap();
    source.write("dir/file", "1");
    let puts = batch(1, 2).put(&source, "dir/file").build();
    let removal = batch(1, 2).remove("dir/file").build();
    let moved = batch(1, 2).rename("dir/dir", "elsewhere").build();
    for attack in [puts, removal, moved] {
        let error = copy.apply(&attack, &FolderContents(&source.root())).unwrap_err();
        assert!(error.problem.is_cured_by_repair() && error.to_string().contains("dir"), "{error}");
    }
    assert_eq!(listing(&outside.root()), before);
    copy.repair(&batch(0, 2).put_all(&source).build(), &FolderContents(&source.root())).unwrap();
    assert_equal(&source.root(), &folder.root());
    assert_eq!(listing(&outside.root()), before);
}

#[test]
fn an_attacker_who_swaps_directories_for_links_all_the_time_gets_nothing_out() {
    let (outside, source) = (canary(), source_with_dir());
    let before = listing(&outside.root());
    let (folder, mut copy) = synced(&source);
    let stop = AtomicBool::new(false);
    let (mut applied, mut refused) = (0, 0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            // The real directory waits outside of the way, so that both states come about.
            while !stop.load(Ordering::Relaxed) {
                let _ = std::fs::rename(folder.at("dir"), folder.at("aside"));
                let _ = symlink(outside.at("dir"), folder.at("dir"));
                std::hint::spin_loop();
                let _ = std::fs::remove_file(folder.at("dir"));
                let _ = std::fs::rename(folder.at("aside"), folder.at("dir"));
            }
        });
        for round in 0..400 {
            source.write("dir/file", round.to_string());
            source.write("dir/sub/file", round.to_string());
            let generation = copy.position().map_or(0, |position| position.generation);
            let change = batch(generation, generation + 1).put(&source, "dir/file").put(&source, "dir/sub/file").build();
            let result = match copy.position() {
                Some(_) => copy.apply(&change, &FolderContents(&source.root())),
                // What a comparison would find.
                None => copy.repair(&batch(0, 1).put_all(&source).build(), &FolderContents(&source.root())),
            };
            match result {
                Ok(_) => applied += 1,
                Err(_) => refused += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(listing(&outside.root()), before, "after {applied} applies and {refused} refusals");
    assert!(applied > 0 && refused > 0, "the attacker was never in the way, or always: {applied} applied, {refused} refused");
    // What lies around afterwards is removed by the repair, which is a full comparison.
    let everything = |builder: BatchBuilder| builder.remove("aside").remove("dir").put_all(&source).build();
    copy.repair(&everything(batch(0, 1000)), &FolderContents(&source.root())).unwrap();
    assert_equal(&source.root(), &folder.root());
}

#[test]
fn pipes_sockets_and_devices_planted_on_a_copy_are_replaced_and_never_opened() {
    let source = source_with_dir();
    let (folder, mut copy) = synced(&source);
    std::fs::remove_file(folder.at("dir/file")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, folder.at("dir/file"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    source.write("dir/file", "1");
    let held = |put: &mut Put| put.held_at = Some(path("dir/file"));
    copy.apply(&batch(1, 2).put(&source, "dir/file").with(held).put(&source, "dir").build(), &FolderContents(&source.root())).unwrap();
    assert_equal(&source.root(), &folder.root());
}

#[test]
fn a_mount_planted_on_a_copy_is_named_and_nothing_in_it_is_touched() {
    if !is_root_or_skipped("a_mount_planted_on_a_copy_is_named_and_nothing_in_it_is_touched") {
        return;
    }
    let (outside, source) = (canary(), source_with_dir());
    let before = listing(&outside.root());
    let (folder, mut copy) = synced(&source);
    rustix::mount::mount_bind(outside.folder(), folder.at("dir")).unwrap();
    source.write("dir/file", "1");
    let put = copy.apply(&batch(1, 2).put(&source, "dir/file").build(), &FolderContents(&source.root()));
    let below = copy.apply(&batch(1, 2).remove("dir/file").build(), &NoContents);
    let removal = copy.apply(&batch(1, 2).remove("dir").build(), &NoContents);
    let generation = copy.position().map(|position| position.generation);
    rustix::mount::unmount(folder.at("dir"), rustix::mount::UnmountFlags::DETACH).unwrap();
    for result in [put, below, removal] {
        let error = result.unwrap_err();
        assert!(error.problem.is_cured_by_repair() && error.to_string().contains("dir"), "{error}");
    }
    assert_eq!((listing(&outside.root()), generation), (before, Some(1)));
}

#[test]
fn a_mount_deep_in_a_removed_directory_survives_in_the_trash() {
    if !is_root_or_skipped("a_mount_deep_in_a_removed_directory_survives_in_the_trash") {
        return;
    }
    let (outside, source) = (canary(), source_with_dir());
    let before = listing(&outside.root());
    let (folder, mut copy) = synced(&source);
    rustix::mount::mount_bind(outside.folder(), folder.at("dir/sub")).unwrap();
    let mount = rustix::fs::open(folder.at("dir/sub"), rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    let removed = copy.apply(&batch(1, 2).remove("dir").build(), &NoContents);
    let at = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&mount))).unwrap();
    drop(mount);
    rustix::mount::unmount(&at, rustix::mount::UnmountFlags::DETACH).unwrap();
    removed.unwrap();
    assert_eq!(listing(&outside.root()), before);
    assert!(!folder.at("dir").exists());
    copy.empty_trash(usize::MAX).unwrap();
    assert_eq!(std::fs::read_dir(folder.at(".treesync/trash")).unwrap().count(), 0, "it goes once nothing is mounted there");
}

#[test]
fn a_hostile_put_is_refused_with_its_path_before_anything_changes() {
    let source = source_with_dir();
    let (folder, mut copy) = synced(&source);
    let before = listing(&folder.root());
    let below_a_file = batch(1, 2).put(&source, "dir/file").put(&source, "dir/file").with(|put| put.path = path("dir/file/below")).build();
    let lonely = batch(1, 2).put(&source, "dir/file").with(|put| put.path = path("no/parent")).build();
    let owner = batch(1, 2).put(&source, "dir/file").with(|put| put.entry.uid = u32::MAX).build();
    let time = batch(1, 2).put(&source, "dir/file").with(|put| put.entry.mtime.nanoseconds = u32::MAX).build();
    let size = batch(1, 2).put(&source, "dir/file").with(|put| {
        put.entry.kind = treesync::model::Kind::File { size_bytes: u64::MAX, content: treesync::model::ContentHash([0; 32]) };
    });
    for hostile in [below_a_file, lonely, owner, time, size.build()] {
        let shown = hostile.puts.last().unwrap().path.to_string();
        let error = copy.apply(&hostile, &FolderContents(&source.root())).unwrap_err();
        assert!(
            matches!(error.problem, Problem::NoSpace { .. }) || error.to_string().contains(shown.split('/').next().unwrap()),
            "{error}"
        );
        assert_eq!(listing(&folder.root()), before, "{error}");
        assert_eq!(copy.position().unwrap().generation, 1);
    }
}
