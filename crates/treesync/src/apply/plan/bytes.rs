//! Decides where the bytes of a file come from.

use crate::model::{Kind, Put, TreePath};
use crate::tree::{NodeKind, Stat};

/// Where the bytes of a staged file come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::apply) enum Bytes {
    /// They came with the put.
    Inline,
    /// The file at this path of the copy has them but for the blocks of the delta.
    Patch(TreePath),
    /// The file at this path of the copy should have them; the digest tells.
    Local(TreePath),
    /// They are asked for.
    Ask,
}

/// Whether a file of the copy has the bytes of a put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// Nothing speaks against it: it was given them, and has the size and mtime that it was given.
    Yes,
    /// The digest tells.
    Perhaps,
    /// Surely not.
    No,
}

/// A copy at `generation` was given everything up to it.
pub(super) fn held(put: &Put, stat: &Stat, generation: u64) -> Held {
    let size_bytes = match put.entry.kind {
        Kind::File { size_bytes, .. } if stat.kind == NodeKind::File => size_bytes,
        _ => return Held::No,
    };
    let was_given = put.content_generation <= generation;
    match (size_bytes == stat.size_bytes, put.entry.mtime == stat.mtime) {
        (true, true) if was_given => Held::Yes,
        (true, same_time) if was_given || same_time => Held::Perhaps,
        _ => Held::No,
    }
}

/// Whether the file is the base of the put's delta.
pub(super) fn is_base(put: &Put, stat: &Stat, generation: u64) -> bool {
    put.delta.as_ref().is_some_and(|delta| {
        let since = delta.base_content_generation..put.content_generation;
        let is_same = (stat.kind, stat.size_bytes, stat.mtime) == (NodeKind::File, delta.base_size_bytes, delta.base_mtime);
        since.contains(&generation) && is_same
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContentHash, Delta, Entry, Mtime};
    use crate::tree::Identity;

    const TIME: Mtime = Mtime { seconds: 10, nanoseconds: 0 };
    const LATER: Mtime = Mtime { seconds: 11, nanoseconds: 0 };

    fn put(content_generation: u64) -> Put {
        let kind = Kind::File { size_bytes: 100, content: ContentHash::of(b"") };
        let entry = Entry { kind, mode: 0o644, uid: 0, gid: 0, mtime: TIME, link_target: Vec::new(), xattrs: Vec::new(), link_group: 0 };
        let delta = Delta { base_size_bytes: 90, base_mtime: LATER, base_content_generation: 4, blocks: Vec::new() };
        let path = TreePath::parse("f").expect("a good path");
        Put { path, entry, content_generation, inline: None, held_at: None, delta: Some(delta), data_bytes: None }
    }

    fn stat(size_bytes: u64, mtime: Mtime) -> Stat {
        let identity = Identity { inode: 1, born: TIME };
        Stat { kind: NodeKind::File, mode: 0o644, uid: 0, gid: 0, size_bytes, mtime, ctime: TIME, identity, links: 1, is_frozen: false }
    }

    #[test]
    fn bytes_that_were_given_are_trusted_by_size_and_time() {
        assert_eq!(held(&put(7), &stat(100, TIME), 7), Held::Yes);
        assert_eq!(held(&put(7), &stat(100, LATER), 7), Held::Perhaps, "touched at the source, or written on the copy");
        assert_eq!(held(&put(7), &stat(100, TIME), 6), Held::Perhaps, "there by chance");
        assert_eq!(held(&put(7), &stat(100, LATER), 6), Held::No);
        assert_eq!(held(&put(7), &stat(99, TIME), 7), Held::No);
        assert_eq!(held(&put(7), &Stat { kind: NodeKind::Directory, ..stat(100, TIME) }, 7), Held::No);
    }

    #[test]
    fn a_delta_fits_the_generations_between_its_base_and_its_bytes() {
        let fits = |generation| is_base(&put(7), &stat(90, LATER), generation);
        assert_eq!([3, 4, 6, 7].map(fits), [false, true, true, false]);
        assert!(!is_base(&put(7), &stat(90, TIME), 5) && !is_base(&put(7), &stat(91, LATER), 5), "written on the copy");
    }
}
