//! A batch makes a copy equal to its source: every kind of file, every kind of change.

use crate::stage::source::{BatchBuilder, FolderContents, NoContents, assert_equal, batch, open_rules};
use crate::stage::{Tree, path};
use rustix::fs::XattrFlags;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;
use treesync::apply::{Applied, Copy, CopyOptions};
use treesync::model::{Batch, ChangedBlock, ContentHash, Delta, Mtime};

/// A source, and a copy at generation 1 that equals it.
struct Pair {
    source: Tree,
    folder: Tree,
    copy: Copy,
}

impl Pair {
    fn of(source: Tree) -> Self {
        let folder = Tree::new();
        let options = CopyOptions { rules: Arc::new(open_rules()), ..CopyOptions::default() };
        let copy = Copy::open(folder.root(), options).unwrap();
        let mut pair = Self { source, folder, copy };
        pair.apply(&batch(0, 1).put_all(&pair.source).build());
        pair.assert_equal();
        pair
    }

    #[track_caller]
    fn apply(&mut self, batch: &Batch) -> Applied {
        let applied = self.copy.apply(batch, &FolderContents(&self.source.root())).unwrap();
        self.copy.make_durable().unwrap();
        assert_eq!(self.copy.position().unwrap().generation, batch.to);
        applied
    }

    #[track_caller]
    fn change(&mut self, change: impl FnOnce(BatchBuilder, &Tree) -> BatchBuilder) -> Applied {
        let generation = self.copy.position().unwrap().generation;
        let batch = change(batch(generation, generation + 1), &self.source).build();
        let applied = self.apply(&batch);
        self.assert_equal();
        applied
    }

    #[track_caller]
    fn assert_equal(&mut self) {
        assert_equal(&self.source.root(), &self.folder.root());
        assert!(self.copy.empty_trash(usize::MAX).unwrap());
        let own = |name: &str| std::fs::read_dir(self.folder.at(".treesync").join(name)).unwrap().count();
        assert_eq!((own("stage"), own("trash")), (0, 0), "stage and trash are empty when it has rested");
        assert!(!self.folder.at(".treesync/intent").exists());
    }

    fn inode(&self, at: &str) -> u64 {
        std::fs::symlink_metadata(self.folder.at(at)).unwrap().ino()
    }
}

/// Every kind of thing that travels.
fn zoo() -> Tree {
    let tree = Tree::new();
    let file = tree.write("a/file", "bytes");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o4751)).unwrap();
    rustix::fs::setxattr(&file, "user.colour", b"red", XattrFlags::empty()).unwrap();
    std::fs::hard_link(&file, tree.at("a/twin")).unwrap();
    tree.write("a/empty", "");
    tree.write("a/deep/er/file", vec![7; 300_000]);
    symlink("../nowhere", tree.at("a/link")).unwrap();
    tree.write(b"a/\xff odd\n", "odd");
    tree.write(vec![b'n'; 255], "long");
    let sparse = std::fs::File::create(tree.at("sparse")).unwrap();
    sparse.write_all_at(b"middle", 20 << 20).unwrap();
    sparse.set_len(32 << 20).unwrap();
    std::fs::set_permissions(tree.at("a/deep"), PermissionsExt::from_mode(0o2700)).unwrap();
    // ACL: version 2; owner rwx, user 1000 rw, group r, mask rw, others none (posix_acl_xattr.h).
    let acl = [(1u16, 7u16, u32::MAX), (2, 6, 1000), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)];
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in acl {
        value.extend([&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    rustix::fs::setxattr(tree.write("acl", "x"), "system.posix_acl_access", &value, XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(tree.at("a/deep"), "system.posix_acl_default", &value, XattrFlags::empty()).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(tree.at("a/link"), Some(12), Some(34)).unwrap();
        std::os::unix::fs::chown(tree.at("a/empty"), Some(1000), Some(1001)).unwrap();
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        rustix::fs::setxattr(tree.at("a/deep/er/file"), "security.capability", &capability, XattrFlags::empty()).unwrap();
    }
    tree
}

#[test]
fn a_first_batch_copies_every_kind_of_file() {
    let pair = Pair::of(zoo());
    let blocks = std::fs::metadata(pair.folder.at("sparse")).unwrap().blocks();
    assert!(blocks * 512 < 1 << 20, "holes stay holes: {blocks} blocks");
}

#[test]
fn a_batch_that_comes_twice_changes_nothing() {
    let mut pair = Pair::of(zoo());
    let again = batch(0, 1).put_all(&pair.source).build();
    assert_eq!(pair.copy.apply(&again, &NoContents).unwrap(), Applied::default());
    pair.assert_equal();
}

#[test]
fn new_bytes_replace_the_file_and_its_old_inode_stays_whole_for_its_readers() {
    let mut pair = Pair::of(zoo());
    let mut reader = std::fs::File::open(pair.folder.at("a/empty")).unwrap();
    pair.source.write("a/empty", "not any more");
    let before = pair.inode("a/empty");
    pair.change(|batch, source| batch.put(source, "a/empty"));
    assert_ne!(pair.inode("a/empty"), before);
    let mut old = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut old).unwrap();
    assert_eq!(old, b"");
}

#[test]
fn metadata_alone_is_changed_in_place() {
    let mut pair = Pair::of(zoo());
    let before = pair.inode("a/file");
    std::fs::set_permissions(pair.source.at("a/file"), PermissionsExt::from_mode(0o600)).unwrap();
    rustix::fs::setxattr(pair.source.at("a/file"), "user.size", b"9", XattrFlags::empty()).unwrap();
    rustix::fs::removexattr(pair.source.at("a/file"), "user.colour").unwrap();
    rustix::fs::removexattr(pair.source.at("acl"), "system.posix_acl_access").unwrap();
    let applied = pair.change(|batch, source| {
        let known = |put: &mut treesync::model::Put| put.content_generation = 1;
        batch.put(source, "a/file").with(known).put(source, "a/twin").with(known).put(source, "acl").with(known)
    });
    assert_eq!((pair.inode("a/file"), applied.staged, applied.received_bytes), (before, 0, 0));
}

#[test]
fn a_touched_file_is_known_by_its_digest() {
    let mut pair = Pair::of(zoo());
    let file = std::fs::File::options().write(true).open(pair.source.at("a/deep/er/file")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_234_567_890_123_456_789)).unwrap();
    let applied = pair.change(|batch, source| batch.put(source, "a/deep/er/file").with(|put| put.content_generation = 1));
    assert_eq!((applied.staged, applied.received_bytes), (0, 0));
}

#[test]
fn a_file_that_somebody_changed_on_the_copy_is_not_taken_for_the_right_one() {
    let mut pair = Pair::of(zoo());
    let mtime = std::fs::metadata(pair.source.at("acl")).unwrap().modified().unwrap();
    std::fs::write(pair.folder.at("acl"), "y").unwrap();
    std::fs::set_permissions(pair.source.at("acl"), PermissionsExt::from_mode(0o640)).unwrap();
    assert_eq!(std::fs::metadata(pair.source.at("acl")).unwrap().modified().unwrap(), mtime);
    let applied = pair.change(|batch, source| batch.put(source, "acl").with(|put| put.content_generation = 1));
    assert_eq!(applied.received_bytes, 1);
}

#[test]
fn a_directory_moves_in_one_operation_and_takes_all_along() {
    let mut pair = Pair::of(zoo());
    let before = (pair.inode("a"), pair.inode("a/deep/er/file"));
    std::fs::create_dir(pair.source.at("new")).unwrap();
    std::fs::rename(pair.source.at("a"), pair.source.at("new/b")).unwrap();
    pair.change(|batch, source| batch.rename("a", "new/b").put(source, "new").put(source, ""));
    assert_eq!((pair.inode("new/b"), pair.inode("new/b/deep/er/file")), before);
}

#[test]
fn directories_swap_and_a_path_is_used_again() {
    let source = Tree::new();
    source.write("a/x", "a");
    source.write("b/x", "b");
    let mut pair = Pair::of(source);
    let at = |name: &str| pair.source.at(name);
    std::fs::rename(at("a"), at("t")).unwrap();
    std::fs::rename(at("b"), at("a")).unwrap();
    std::fs::rename(at("t"), at("b")).unwrap();
    pair.source.write("t/y", "new at a path that was used in between");
    pair.change(|batch, source| {
        batch.rename("a", "t").rename("b", "a").rename("t", "b").put(source, "t").put(source, "t/y").put(source, "")
    });
}

#[test]
fn removed_files_and_directories_are_gone() {
    let mut pair = Pair::of(zoo());
    std::fs::remove_dir_all(pair.source.at("a")).unwrap();
    std::fs::remove_file(pair.source.at("sparse")).unwrap();
    pair.change(|batch, source| batch.remove("a").remove("sparse").remove("never/there").put(source, ""));
}

#[test]
fn a_path_changes_its_kind_in_every_direction() {
    let source = Tree::new();
    for name in ["f2d", "f2l"] {
        source.write(name, "file");
    }
    for name in ["d2f", "d2l"] {
        source.write(format!("{name}/in/file"), "below");
    }
    for name in ["l2f", "l2d"] {
        symlink("f2d", source.at(name)).unwrap();
    }
    let mut pair = Pair::of(source);
    for name in ["f2d", "f2l", "l2f", "l2d"] {
        std::fs::remove_file(pair.source.at(name)).unwrap();
    }
    for name in ["d2f", "d2l"] {
        std::fs::remove_dir_all(pair.source.at(name)).unwrap();
    }
    for name in ["f2d", "l2d"] {
        pair.source.write(format!("{name}/new/file"), "new");
    }
    for name in ["d2f", "l2f"] {
        pair.source.write(name, "file now");
    }
    for name in ["d2l", "f2l"] {
        symlink("target", pair.source.at(name)).unwrap();
    }
    pair.change(BatchBuilder::put_all);
}

#[test]
fn hard_links_are_made_joined_and_parted() {
    let source = Tree::new();
    source.write("one", "1");
    source.write("two", "2");
    let mut pair = Pair::of(source);
    let before = pair.inode("one");
    std::fs::hard_link(pair.source.at("one"), pair.source.at("also")).unwrap();
    let known = |put: &mut treesync::model::Put| put.content_generation = 1;
    let applied = pair.change(|batch, source| batch.put(source, "also").put(source, "one").with(known).put(source, ""));
    assert_eq!((pair.inode("also"), applied.received_bytes), (before, 0), "a new name is a link and needs no bytes");

    std::fs::remove_file(pair.source.at("two")).unwrap();
    std::fs::hard_link(pair.source.at("one"), pair.source.at("two")).unwrap();
    pair.change(|batch, source| ["also", "one", "two", ""].into_iter().fold(batch, |batch, at| batch.put(source, at).with(known)));

    std::fs::rename(pair.source.at("also"), pair.source.at("moved")).unwrap();
    std::fs::set_permissions(pair.source.at("one"), PermissionsExt::from_mode(0o600)).unwrap();
    pair.change(|batch, source| {
        let batch = batch.remove("also");
        ["moved", "one", "two", ""].into_iter().fold(batch, |batch, at| batch.put(source, at).with(known))
    });
    assert_eq!(pair.inode("moved"), before, "the inode lives on under its other names");

    let time = std::fs::metadata(pair.source.at("one")).unwrap().modified().unwrap();
    std::fs::remove_file(pair.source.at("two")).unwrap();
    let parted = pair.source.write("two", "1");
    std::fs::File::options().write(true).open(parted).unwrap().set_modified(time).unwrap();
    pair.change(|batch, source| ["moved", "one", "two", ""].into_iter().fold(batch, |batch, at| batch.put(source, at).with(known)));
    assert_ne!(pair.inode("two"), before, "equal bytes and times are no reason to stay one file");
}

#[test]
fn a_file_that_moved_keeps_its_inode_and_needs_no_bytes() {
    let mut pair = Pair::of(zoo());
    let before = pair.inode("a/deep/er/file");
    std::fs::rename(pair.source.at("a/deep/er/file"), pair.source.at("moved")).unwrap();
    let applied = pair.change(|batch, source| {
        let held = |put: &mut treesync::model::Put| put.held_at = Some(path("a/deep/er/file"));
        batch.remove("a/deep/er/file").put(source, "a/deep/er").put(source, "moved").with(held).put(source, "")
    });
    assert_eq!((pair.inode("moved"), applied.received_bytes), (before, 0));
}

#[test]
fn bytes_that_are_held_elsewhere_are_copied_and_a_wrong_hint_does_no_harm() {
    let mut pair = Pair::of(zoo());
    std::fs::copy(pair.source.at("a/deep/er/file"), pair.source.at("same")).unwrap();
    pair.source.write("other", vec![8; 300_000]);
    let applied = pair.change(|batch, source| {
        let held = |put: &mut treesync::model::Put| put.held_at = Some(path("a/deep/er/file"));
        batch.put(source, "same").with(held).put(source, "other").with(held).put(source, "")
    });
    assert_eq!((applied.local_bytes, applied.received_bytes), (300_000, 300_000));
    assert_ne!(pair.inode("same"), pair.inode("a/deep/er/file"));
}

fn delta(base: &std::fs::Metadata, new: &[u8], blocks: &[std::ops::Range<usize>]) -> Delta {
    let block = |range: &std::ops::Range<usize>| ChangedBlock {
        offset_bytes: range.start as u64,
        length_bytes: range.len().try_into().unwrap(),
        content: ContentHash::of(&new[range.clone()]),
    };
    let base_mtime = Mtime { seconds: base.mtime(), nanoseconds: base.mtime_nsec().try_into().unwrap() };
    Delta { base_size_bytes: base.len(), base_mtime, base_content_generation: 1, blocks: blocks.iter().map(block).collect() }
}

#[test]
fn a_large_file_is_patched_also_when_it_grows_or_shrinks() {
    for (length, changed) in [(1 << 20, 5000..6000), ((1 << 20) + 9000, 1_048_576..1_057_576), (300_000, 0..10)] {
        let source = Tree::new();
        let large = source.write("large", vec![1; 1 << 20]);
        let mut pair = Pair::of(source);
        let base = std::fs::metadata(&large).unwrap();
        let mut bytes = vec![1; 1 << 20];
        bytes.resize(length, 0);
        bytes[changed.clone()].fill(2);
        std::fs::write(&large, &bytes).unwrap();
        let delta = delta(&base, &bytes, std::slice::from_ref(&changed));
        let applied = pair.change(|batch, source| batch.put(source, "large").with(|put| put.delta = Some(delta)));
        assert_eq!(applied.received_bytes, changed.len() as u64);
    }
}

#[test]
fn a_delta_whose_base_was_changed_on_the_copy_is_not_used() {
    let source = Tree::new();
    let large = source.write("large", vec![1; 1 << 20]);
    let mut pair = Pair::of(source);
    std::fs::write(pair.folder.at("large"), vec![9; 1 << 20]).unwrap();
    let base = std::fs::metadata(&large).unwrap();
    let mut bytes = vec![1; 1 << 20];
    bytes[..10].fill(2);
    std::fs::write(&large, &bytes).unwrap();
    let delta = delta(&base, &bytes, std::slice::from_ref(&(0..10)));
    let applied = pair.change(|batch, source| batch.put(source, "large").with(|put| put.delta = Some(delta)));
    assert_eq!(applied.received_bytes, 1 << 20);
}

#[test]
fn the_mtime_of_a_directory_is_not_disturbed_by_what_is_replaced_in_it() {
    let mut pair = Pair::of(zoo());
    std::fs::write(pair.source.at("a/deep/er/file"), "written in place, so its directory did not change").unwrap();
    pair.change(|batch, source| batch.put(source, "a/deep/er/file"));
}

#[test]
fn a_catch_up_in_parts_replays_its_structure_once() {
    let source = Tree::new();
    source.write("a/one", "1");
    source.write("b/two", "2");
    let mut pair = Pair::of(source);
    let at = |name: &str| pair.source.at(name);
    std::fs::rename(at("a"), at("c")).unwrap();
    std::fs::rename(at("b"), at("a")).unwrap();
    pair.source.write("c/three", "3");
    let part = |to: u64| batch(1, to).rename("a", "c").rename("b", "a");
    let first = part(3).put(&pair.source, "a").put(&pair.source, "").inner_part().build();
    for _ in 0..2 {
        pair.copy.apply(&first, &NoContents).unwrap();
        assert_eq!(pair.copy.position().unwrap().generation, 1, "it is where it was until the last part");
        assert_eq!(pair.copy.marker().unwrap().structure, 3);
    }
    let last = part(3).put(&pair.source, "c").put(&pair.source, "c/three").build();
    pair.apply(&last);
    pair.assert_equal();
}

#[test]
fn a_move_into_a_directory_that_the_copy_lacks_makes_it() {
    let source = Tree::new();
    source.write("a/file", "x");
    let mut pair = Pair::of(source);
    std::fs::create_dir_all(pair.source.at("p/q")).unwrap();
    std::fs::rename(pair.source.at("a"), pair.source.at("p/q/a")).unwrap();
    let inode = pair.inode("a");
    pair.change(|batch, source| batch.rename("a", "p/q/a").put(source, "p").put(source, "p/q").put(source, ""));
    assert_eq!(pair.inode("p/q/a"), inode);
}

#[test]
fn inline_bytes_need_no_source() {
    let mut pair = Pair::of(Tree::new());
    pair.source.write("small", "inline");
    let change = batch(1, 2).put(&pair.source, "small").with(|put| put.inline = Some("inline".into())).put(&pair.source, "").build();
    pair.copy.apply(&change, &NoContents).unwrap();
    pair.assert_equal();
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_copied_moved_and_removed() {
    let source = Tree::new();
    let name = "n".repeat(250);
    let mut directory = rustix::fs::open(source.folder(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..40 {
        rustix::fs::mkdirat(&directory, &name, 0o755.into()).unwrap();
        directory = rustix::fs::openat(&directory, &name, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    }
    let file = rustix::fs::openat(&directory, "deep", rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY, 0o644.into()).unwrap();
    std::fs::File::from(file).write_all_at(b"10,000 bytes down", 0).unwrap();
    let mut pair = Pair::of(source);
    std::fs::rename(pair.source.at(&name), pair.source.at("short")).unwrap();
    pair.change(|batch, source| batch.rename(&name, "short").put(source, ""));
    std::fs::remove_dir_all(pair.source.at("short")).unwrap();
    pair.change(|batch, source| batch.remove("short").put(source, ""));
}

#[test]
fn a_large_removal_is_one_rename_and_its_trash_goes_piece_by_piece() {
    let source = Tree::within_memory();
    for number in 0..6_000 {
        source.write(format!("large/{}/{number}", number % 7), "");
    }
    let mut pair = Pair::of(source);
    std::fs::remove_dir_all(pair.source.at("large")).unwrap();
    let removal = batch(1, 2).remove("large").put(&pair.source, "").build();
    assert_eq!(pair.apply(&removal).operations, 2);
    assert!(!pair.folder.at("large").exists());
    let left = || std::fs::read_dir(pair.folder.at(".treesync/trash")).unwrap().count();
    assert!(left() > 0, "the rest is left for later");
    assert!(!pair.copy.empty_trash(500).unwrap(), "not all goes at once");
    drop(pair.copy);
    pair.copy = Copy::open(pair.folder.root(), CopyOptions { rules: Arc::new(open_rules()), ..CopyOptions::default() }).unwrap();
    pair.change(|batch, source| batch.put(source, ""));
}
