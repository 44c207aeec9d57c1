//! What was found at a name of the source: the input of a commit.

use super::Stamp;
use crate::model::{ContentHash, Entry};
use bytes::Bytes;

/// What tells a directory apart from every other that ever was on its filesystem, wherever it is now: its file handle
/// (inode number and generation), or inode number and time of birth where handles do not exist.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Identity(pub Box<[u8]>);

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct At {
    /// The directory. None: the name is the root of the tree.
    pub parent: Option<Identity>,
    /// The name in it; empty for the root.
    pub name: Vec<u8>,
}

/// The state of a name, read at one time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    /// Which name.
    pub at: At,
    /// Its state. None: nothing that travels is there, and that was seen, not inferred.
    pub found: Option<Found>,
    /// Put even if nothing changed.
    pub is_forced: bool,
}

/// What an observation of a directory says of the names in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Below {
    /// Nothing, because the index knows the directory.
    Unsaid,
    /// Each of them is in the same set of observations: what is not there is gone.
    Listed,
    /// The caller compares them with the index after this commit: until then the rows of a directory that was in its
    /// place stay.
    Compared,
}

/// What stands at a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its state. `link_group` is ignored: the index sets it.
    pub entry: Entry,
    /// As of when.
    pub stamp: Stamp,
    /// Of a directory.
    pub identity: Option<Identity>,
    /// Of a directory: what is known of its names.
    pub below: Below,
    /// Digests of blocks of [`super::BLOCK_BYTES`], for a file of at least [`super::LARGE_FILE_BYTES`].
    pub blocks: Vec<ContentHash>,
    /// The bytes of a small file.
    pub inline: Option<Bytes>,
}
