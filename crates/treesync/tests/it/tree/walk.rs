//! The order and the completeness of a walk.

use crate::stage::{Tree, path};
use treesync::model::TreePath;
use treesync::tree::{DIRECTORIES_HELD_OPEN, Walk};

fn walked(tree: &Tree, start: TreePath) -> Vec<TreePath> {
    Walk::new(&tree.root(), start).map(|visit| visit.unwrap().path).collect()
}

#[test]
fn a_walk_meets_paths_in_their_order_and_leaves_out_our_own_directory() {
    let tree = Tree::new();
    for file in ["a/b/c", "a/b.txt", "a-b", "a.txt", "z/\u{e4}", "B", ".treesync/index", "z/.treesync"] {
        tree.write(file, "");
    }
    let paths = walked(&tree, TreePath::root());
    assert!(paths.is_sorted());
    let shown: Vec<String> = paths.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [".", "B", "a", "a/b", "a/b/c", "a/b.txt", "a-b", "a.txt", "z", "z/.treesync", "z/\u{e4}"]);
}

#[test]
fn a_walk_starts_where_it_is_told_and_skips_what_is_not_wanted() {
    let tree = Tree::new();
    for file in ["a/b/c", "a/d/e", "f"] {
        tree.write(file, "");
    }
    assert_eq!(walked(&tree, path("a")), ["a", "a/b", "a/b/c", "a/d", "a/d/e"].map(path));
    assert_eq!(walked(&tree, path("f")), [path("f")]);
    assert_eq!(walked(&tree, path("absent")), []);
    let root = tree.root();
    let mut walk = Walk::new(&root, TreePath::root());
    let mut seen = Vec::new();
    while let Some(visit) = walk.next() {
        let visit = visit.unwrap();
        if visit.path == path("a/b") {
            walk.skip_below();
        }
        seen.push(visit.path);
    }
    assert_eq!(seen, ["", "a", "a/b", "a/d", "a/d/e", "f"].map(path));
}

#[test]
fn a_tree_deeper_than_the_directories_held_open_is_walked_in_order() {
    let tree = Tree::new();
    let depth = DIRECTORIES_HELD_OPEN * 3;
    let deep = vec!["d"; depth].join("/");
    tree.write(format!("{deep}/f"), "");
    for level in 1..=depth {
        tree.write(format!("{}/z", vec!["d"; level].join("/")), "");
    }
    let paths = walked(&tree, TreePath::root());
    assert!(paths.is_sorted());
    assert_eq!(paths.len(), 1 + 2 * depth + 1);
}
