//! Where paths of the future stand on the copy today: the effect of structural changes that are not done yet.

use crate::model::TreePath;
use std::collections::BTreeMap;

/// What stands at a path once the changes so far are done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Whatever stands at this path of the copy today.
    At(TreePath),
    /// Nothing.
    Absent,
    /// A directory that waits in the stage under this number; nothing is in it.
    New(u64),
}

#[derive(Default, Debug)]
struct Node {
    place: Option<Place>,
    children: BTreeMap<Vec<u8>, Node>,
}

impl Drop for Node {
    /// Level by level and not by recursion: a path may have more names than the stack of a thread has room for.
    fn drop(&mut self) {
        let mut waiting = vec![std::mem::take(&mut self.children)];
        while let Some(children) = waiting.pop() {
            let below = children.into_values().map(|mut node| std::mem::take(&mut node.children));
            waiting.extend(below.filter(|children| !children.is_empty()));
        }
    }
}

/// A tree of differences. Empty at first: every path stands where it stands.
#[derive(Default, Debug)]
pub(super) struct Overlay {
    top: Node,
}

impl Overlay {
    /// Looks a path of the future up.
    pub(super) fn locate(&self, path: &TreePath) -> Place {
        let mut node = &self.top;
        // The innermost difference on the way, and how many bytes of the path lead to it.
        let mut nearest: Option<(&Place, usize)> = None;
        let mut length = 0;
        for name in path.names() {
            let Some(child) = node.children.get(name) else { break };
            node = child;
            length += name.len() + usize::from(length > 0);
            if let Some(place) = &node.place {
                nearest = Some((place, length));
            }
        }
        match nearest {
            None => Place::At(path.clone()),
            Some((place, length)) if length == path.as_bytes().len() => place.clone(),
            Some((Place::At(origin), length)) => {
                let prefix = TreePath::parse(&path.as_bytes()[..length]).expect("the start of a path, cut between names, is a path");
                Place::At(path.moved(&prefix, origin))
            }
            Some((Place::Absent | Place::New(_), _)) => Place::Absent,
        }
    }

    /// Something else stands there from now on, with nothing of what was below.
    pub(super) fn set(&mut self, path: &TreePath, place: Place) {
        *self.node(path) = Node { place: Some(place), children: BTreeMap::new() };
    }

    /// A directory moves, with all below.
    pub(super) fn shift(&mut self, from: &TreePath, to: &TreePath) {
        let place = self.locate(from);
        let children = std::mem::take(&mut self.node(from).children);
        self.set(from, Place::Absent);
        *self.node(to) = Node { place: Some(place), children };
    }

    /// What moved to places below a path, and from where.
    pub(super) fn moved_below(&self, path: &TreePath) -> Vec<(TreePath, TreePath)> {
        let mut found = Vec::new();
        let Some(node) = path.names().try_fold(&self.top, |node, name| node.children.get(name)) else { return found };
        let mut waiting = vec![(path.clone(), node)];
        while let Some((at, node)) = waiting.pop() {
            for (name, child) in &node.children {
                let Ok(below) = at.join(name) else { continue };
                if let Some(Place::At(origin)) = &child.place {
                    found.push((below.clone(), origin.clone()));
                }
                waiting.push((below, child));
            }
        }
        found
    }

    fn node(&mut self, path: &TreePath) -> &mut Node {
        path.names().fold(&mut self.top, |node, name| node.children.entry(name.to_vec()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).expect("a good path")
    }

    fn at(text: &str) -> Place {
        Place::At(path(text))
    }

    #[test]
    fn without_changes_everything_stands_where_it_stands() {
        assert_eq!(Overlay::default().locate(&path("a/b")), at("a/b"));
    }

    #[test]
    fn what_is_below_moves_with_its_directory() {
        let mut overlay = Overlay::default();
        overlay.shift(&path("a"), &path("x/b"));
        assert_eq!(overlay.locate(&path("x/b/c")), at("a/c"));
        assert_eq!([overlay.locate(&path("a")), overlay.locate(&path("a/c"))], [Place::Absent, Place::Absent]);
        assert_eq!(overlay.locate(&path("x/c")), at("x/c"));
        assert_eq!(overlay.moved_below(&path("x")), [(path("x/b"), path("a"))]);
        assert_eq!(overlay.moved_below(&path("x/b")), []);
    }

    #[test]
    fn changes_follow_each_other() {
        let mut overlay = Overlay::default();
        overlay.set(&path("a/gone"), Place::Absent);
        overlay.shift(&path("a"), &path("b"));
        overlay.shift(&path("b/in"), &path("a"));
        overlay.set(&path("b/new"), Place::New(3));
        assert_eq!(overlay.locate(&path("b/gone/x")), Place::Absent);
        assert_eq!(overlay.locate(&path("a/x")), at("a/in/x"));
        assert_eq!(overlay.locate(&path("b/in")), Place::Absent);
        assert_eq!(overlay.locate(&path("b/other")), at("a/other"));
        assert_eq!(overlay.locate(&path("b/new")), Place::New(3));
        assert_eq!(overlay.locate(&path("b/new/x")), Place::Absent);
    }

    #[test]
    fn two_directories_can_swap() {
        let mut overlay = Overlay::default();
        overlay.shift(&path("a"), &path("t"));
        overlay.shift(&path("b"), &path("a"));
        overlay.shift(&path("t"), &path("b"));
        assert_eq!([overlay.locate(&path("a/x")), overlay.locate(&path("b/x"))], [at("b/x"), at("a/x")]);
    }
}
