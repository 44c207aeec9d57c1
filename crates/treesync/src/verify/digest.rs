//! A digest for each directory: equal digests spare a look at what is in it.

use std::collections::HashMap;

use crate::model::{ContentHash, Entry, Kind, TreePath};

/// Hard links by the first of their names in the order of paths: numbers of link groups differ between two trees that
/// are equal, first names do not.
#[derive(Default, Debug)]
pub struct LinkGroups(HashMap<u64, TreePath>);

impl LinkGroups {
    /// The first name of the file, when `path` is a later one. Paths come in order.
    pub fn first_name(&mut self, path: &TreePath, link_group: u64) -> Option<&TreePath> {
        if link_group == 0 {
            return None;
        }
        let first = &*self.0.entry(link_group).or_insert_with(|| path.clone());
        (first != path).then_some(first)
    }
}

/// Digests the directories of a tree whose entries come in the order of paths, with as much memory as the tree is deep
/// and has hard links.
///
/// The digest of a directory covers its own entry and the entries directly in it; of directories in it, the name only:
/// they have digests of their own.
#[derive(Debug)]
pub struct DirectoryDigester {
    with_content: bool,
    open: Vec<(TreePath, blake3::Hasher)>,
    groups: LinkGroups,
}

impl DirectoryDigester {
    /// Without content, two files of the same size and time of change are taken to be equal.
    pub fn new(with_content: bool) -> Self {
        Self { with_content, open: Vec::new(), groups: LinkGroups::default() }
    }

    /// Takes the next entry; gives the directories that end before it.
    pub fn take(&mut self, path: &TreePath, entry: &Entry) -> Vec<(TreePath, ContentHash)> {
        let mut ended = Vec::new();
        while let Some((directory, hasher)) = self.open.pop_if(|(directory, _)| !path.is_below(directory)) {
            ended.push((directory, ContentHash(*hasher.finalize().as_bytes())));
        }
        let first_name = self.groups.first_name(path, entry.link_group);
        if let (Some((_, parent)), Some(name)) = (self.open.last_mut(), path.name()) {
            put_bytes(parent, name);
            if entry.is_directory() {
                parent.update(b"d");
            } else {
                put_entry(parent, entry, self.with_content);
                put_bytes(parent, first_name.map_or(&[], TreePath::as_bytes));
            }
        }
        if entry.is_directory() {
            let mut hasher = blake3::Hasher::new();
            put_entry(&mut hasher, entry, self.with_content);
            self.open.push((path.clone(), hasher));
        }
        ended
    }

    /// The directories that end with the tree.
    pub fn finish(self) -> Vec<(TreePath, ContentHash)> {
        self.open.into_iter().rev().map(|(directory, hasher)| (directory, ContentHash(*hasher.finalize().as_bytes()))).collect()
    }
}

/// With its length, so that no two lists of fields look the same.
fn put_bytes(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

fn put_entry(hasher: &mut blake3::Hasher, entry: &Entry, with_content: bool) {
    match entry.kind {
        Kind::File { size_bytes, content } => {
            hasher.update(b"f").update(&size_bytes.to_le_bytes());
            if with_content {
                hasher.update(&content.0);
            }
        }
        Kind::Directory => drop(hasher.update(b"d")),
        Kind::Symlink => drop(hasher.update(b"l")),
    }
    for number in [entry.mode, entry.uid, entry.gid, entry.mtime.nanoseconds] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&entry.mtime.seconds.to_le_bytes());
    put_bytes(hasher, &entry.link_target);
    hasher.update(&(entry.xattrs.len() as u64).to_le_bytes());
    for xattr in &entry.xattrs {
        put_bytes(hasher, &xattr.name);
        put_bytes(hasher, &xattr.value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::Mtime;

    type Tree = BTreeMap<TreePath, Entry>;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).expect("a good path")
    }

    fn entry(kind: Kind) -> Entry {
        let mtime = Mtime::default();
        Entry { kind, mode: 0o644, uid: 0, gid: 0, mtime, link_target: Vec::new(), xattrs: Vec::new(), link_group: 0 }
    }

    fn file(text: &str) -> Entry {
        entry(Kind::File { size_bytes: text.len() as u64, content: ContentHash::of(text.as_bytes()) })
    }

    fn tree() -> Tree {
        let mut tree = Tree::new();
        for directory in ["", "a", "a/b", "a-b"] {
            tree.insert(path(directory), entry(Kind::Directory));
        }
        for name in ["a/b/one", "a/two", "a-b/three", "z"] {
            tree.insert(path(name), file("text"));
        }
        tree
    }

    fn digests(tree: &Tree, with_content: bool) -> BTreeMap<TreePath, ContentHash> {
        let mut digester = DirectoryDigester::new(with_content);
        let mut all: Vec<_> = tree.iter().flat_map(|(path, entry)| digester.take(path, entry)).collect();
        all.extend(digester.finish());
        all.into_iter().collect()
    }

    #[track_caller]
    fn assert_differ(change: impl FnOnce(&mut Tree), with_content: bool, expected: &[&str]) {
        let mut other = tree();
        change(&mut other);
        let (one, other) = (digests(&tree(), with_content), digests(&other, with_content));
        let differing: Vec<String> =
            one.iter().filter(|(path, digest)| other.get(path) != Some(digest)).map(|(path, _)| path.to_string()).collect();
        assert_eq!(differing, expected);
    }

    #[test]
    fn each_directory_has_a_digest() {
        let names: Vec<String> = digests(&tree(), true).keys().map(ToString::to_string).collect();
        assert_eq!(names, [".", "a", "a/b", "a-b"]);
    }

    #[test]
    fn a_change_shows_in_its_directory_alone() {
        assert_differ(|tree| tree.get_mut(&path("a/b/one")).expect("there").mode = 0o600, true, &["a/b"]);
        assert_differ(|tree| drop(tree.remove(&path("a/two"))), true, &["a"]);
        assert_differ(|tree| drop(tree.insert(path("a-b/four"), file(""))), true, &["a-b"]);
        assert_differ(|tree| tree.get_mut(&path("a/b")).expect("there").uid = 1, true, &["a/b"]);
        assert_differ(|tree| drop(tree.insert(path("c"), entry(Kind::Directory))), true, &["."]);
    }

    #[test]
    fn other_bytes_of_the_same_size_show_with_content_only() {
        let change = |tree: &mut Tree| drop(tree.insert(path("a/two"), file("TEXT")));
        assert_differ(change, true, &["a"]);
        assert_differ(change, false, &[]);
    }

    #[test]
    fn hard_links_are_the_same_when_their_names_are_whatever_their_number() {
        let linked = |group: u64, names: [&str; 2]| {
            let mut tree = tree();
            for name in names {
                tree.insert(path(name), Entry { link_group: group, ..file("text") });
            }
            digests(&tree, true)
        };
        assert_eq!(linked(5, ["a/two", "z"]), linked(6, ["a/two", "z"]));
        assert_ne!(linked(5, ["a/two", "z"]), linked(5, ["a/b/one", "z"]));
        assert_ne!(linked(5, ["a/two", "z"]), digests(&tree(), true));
    }

    #[test]
    fn a_link_whose_other_names_are_elsewhere_is_a_file() {
        let mut other = tree();
        other.insert(path("z"), Entry { link_group: 9, ..file("text") });
        assert_eq!(digests(&tree(), true), digests(&other, true));
    }
}
