//! Reads the state of names of the source, whatever an event said about them.

use super::PublishError;
use super::ring::Shared;
use super::still;
use crate::feed::{Feed, identity_of};
use crate::index::{At, BLOCK_BYTES, Below, Found, Identity, LARGE_FILE_BYTES, Stamp, View};
use crate::model::{ContentHash, Entry, INLINE_MAX_BYTES, Kind, Mtime, PathError, Rules, TreePath};
use crate::tree::{Lookup, NodeKind, Reading, Root, Stat, Stop, TreeError, hash_sparse_until, in_parallel};
use bytes::Bytes;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Times that a file which changes while it is read is read again at once.
const TRIES: u32 = 3;
/// A change within this time of the last one may leave the same ctime: kernels before 6.13 stamp with the timer tick,
/// at most 10 ms (CONFIG_HZ=100).
const CTIME_STEP_NS: i128 = 10_000_000;

/// What was found at a path.
pub(super) enum Seen {
    /// Nothing that travels.
    Absent,
    /// Something.
    Found(Box<Found>),
    /// It changes all the time, or cannot be read. Read it later.
    Hot,
    /// Another directory is by now where that of the name was. Of the name nothing is known.
    Elsewhere,
}

/// What was met beside what was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Met {
    /// Devices, fifos, sockets and mount points.
    pub skipped: u64,
    /// Files that changed in every try.
    pub hot: u64,
    /// Paths that the kernel would not let be read, and why, the last of them.
    pub unreadable: u64,
    pub last_error: Option<String>,
}

impl Met {
    pub fn add(&mut self, other: Self) {
        self.skipped += other.skipped;
        self.hot += other.hot;
        self.unreadable += other.unreadable;
        self.last_error = other.last_error.or(self.last_error.take());
    }
}

/// Reads names of one batch, or of one step of a scan. Directories that it opened stay open and are what they were.
pub(super) struct Reader<'a> {
    lookup: Lookup<'a>,
    rules: &'a Rules,
    shared: &'a Shared,
    feed: Option<&'a Feed>,
    paths: HashMap<Identity, TreePath>,
    /// The directory that was asked for last whether it is the one, so that its neighbours need not be.
    at_hand: Option<(Rc<OwnedFd>, Identity)>,
    /// Bytes of small files that may still be kept for the batch.
    inline_budget_bytes: u64,
    pub met: Met,
}

impl<'a> Reader<'a> {
    pub fn new(root: &'a Root, shared: &'a Shared, feed: Option<&'a Feed>, inline_budget_bytes: u64) -> Self {
        Self {
            lookup: root.lookup(),
            rules: &shared.rules,
            shared,
            feed,
            paths: HashMap::new(),
            at_hand: None,
            inline_budget_bytes,
            met: Met::default(),
        }
    }

    pub fn lookup(&mut self) -> &mut Lookup<'a> {
        &mut self.lookup
    }

    pub fn rules(&self) -> &'a Rules {
        self.rules
    }

    /// Whether a path may stop to travel because a directory above it moved.
    pub fn has_exclusions(&self) -> bool {
        !self.rules.keeps_nothing()
    }

    /// The identity of the directory that the lookup holds open for a path.
    pub fn identity(&mut self, path: &TreePath) -> Result<Option<(Identity, Stat)>, PublishError> {
        let directory = match self.lookup.directory(path) {
            Ok(directory) => directory,
            Err(error) if error.is_absent() => return Ok(None),
            Err(TreeError::NotBelow { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = Stat::at(&*directory, b"").map_err(|error| self.lookup.failed(path, "read the state of", error))?;
        let identity = identity_of(directory.as_fd(), &stat).map_err(|error| self.lookup.failed(path, "take a handle of", error))?;
        Ok(Some((identity, stat)))
    }

    /// Where a directory is now. None: it is gone, or nobody knows.
    pub fn directory_path(&mut self, identity: &Identity, view: &View) -> Result<Option<TreePath>, PublishError> {
        if let Some(path) = self.paths.get(identity) {
            return Ok(Some(path.clone()));
        }
        let known = match view.directory_of(identity)? {
            Some(directory) => view.path_of_directory(directory)?,
            None => None,
        };
        for is_by_handle in [false, true] {
            let candidate = if is_by_handle { self.feed.and_then(|feed| feed.path_of(identity)) } else { known.clone() };
            let Some(path) = candidate else { continue };
            let opened = self.identity(&path)?;
            if opened.is_some_and(|(opened, _)| opened == *identity) {
                self.paths.insert(identity.clone(), path.clone());
                return Ok(Some(path));
            }
            // What is open under this path is another directory by now.
            self.lookup.forget();
        }
        Ok(None)
    }

    /// The path of a name, if its directory is there.
    pub fn path_of(&mut self, at: &At, view: &View) -> Result<Option<TreePath>, PublishError> {
        let Some(parent) = &at.parent else { return Ok(Some(TreePath::root())) };
        let Some(parent) = self.directory_path(parent, view)? else { return Ok(None) };
        // A path that is too long cannot travel.
        Ok(parent.join(&at.name).ok())
    }

    /// Reads what stands at a path. One that cannot be read is noted and stays as it was told last.
    pub fn read(&mut self, path: &TreePath) -> Result<Seen, PublishError> {
        self.shared.check()?;
        match self.read_readable(path) {
            Err(PublishError::Tree(error)) if !path.is_root() => self.pass_by(&error).map(|()| Seen::Hot),
            seen => seen,
        }
    }

    /// As [`Reader::read`], of a name in this very directory: descriptors are closed when there are many, and what is opened in
    /// their place may be another directory.
    pub fn read_at(&mut self, path: &TreePath, at: &At) -> Result<Seen, PublishError> {
        let seen = self.read(path)?;
        let Some(parent) = &at.parent else { return Ok(seen) };
        if matches!(seen, Seen::Hot) || self.is_read_in(path, parent)? {
            return Ok(seen);
        }
        self.lookup.forget();
        self.paths.clear();
        Ok(Seen::Elsewhere)
    }

    /// Whether the directory that a path was just read in, which is still open then, is this one.
    fn is_read_in(&mut self, path: &TreePath, parent: &Identity) -> Result<bool, PublishError> {
        let above = path.parent().unwrap_or_default();
        let directory = match self.lookup.directory(&above) {
            Ok(directory) => directory,
            Err(error) if error.is_absent() => return Ok(false),
            Err(TreeError::NotBelow { .. }) => return Ok(false),
            Err(error) => return self.pass_by(&error).map(|()| false),
        };
        if let Some((at_hand, identity)) = &self.at_hand
            && Rc::ptr_eq(at_hand, &directory)
        {
            return Ok(identity == parent);
        }
        let identity = match self.identity(&above) {
            Ok(Some((identity, _))) => identity,
            Ok(None) => return Ok(false),
            Err(PublishError::Tree(error)) => return self.pass_by(&error).map(|()| false),
            Err(error) => return Err(error),
        };
        let is_this = identity == *parent;
        self.at_hand = Some((directory, identity));
        Ok(is_this)
    }

    /// A small file with one name, as it is now; none when it is something else, or is written to.
    pub fn read_small(&mut self, path: &TreePath, most_bytes: u64) -> Result<Option<(Entry, Bytes)>, PublishError> {
        let is_small = |stat: &Stat| stat.kind == NodeKind::File && stat.size_bytes <= most_bytes && stat.links == 1;
        if !self.rules.travels(path) || !self.lookup.stat(path)?.is_some_and(|stat| is_small(&stat)) {
            return Ok(None);
        }
        match self.lookup.read_entry_and_bytes(path, self.rules, most_bytes) {
            Ok((Reading::Entry(entry, stat), Some(bytes))) if is_small(&stat) => Ok(Some((*entry, bytes))),
            Ok(_) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes a path that cannot be read, whatever is wrong with it, so that the rest can be. Fails when the reading was cut
    /// short, which is no fault of the path.
    pub fn pass_by(&mut self, error: &TreeError) -> Result<(), PublishError> {
        self.shared.check()?;
        tracing::warn!(%error, "a path cannot be read; copies keep what they have of it");
        self.met.unreadable += 1;
        self.met.last_error = Some(error.to_string());
        Ok(())
    }

    /// Notes a name that has no path that we carry.
    pub fn note_left_out(&mut self, error: &PathError) {
        tracing::warn!(%error, "a path is left out, with all below");
        self.met.unreadable += 1;
        self.met.last_error = Some(error.to_string());
    }

    fn read_readable(&mut self, path: &TreePath) -> Result<Seen, PublishError> {
        if !self.rules.travels(path) {
            return Ok(Seen::Absent);
        }
        if self.shared.stills.has_restless()
            && self.lookup.stat(path)?.is_some_and(|stat| self.shared.stills.is_restless(stat.identity.inode))
            && let Some(found) = self.read_still(path)?
        {
            return Ok(Seen::Found(Box::new(found)));
        }
        for _ in 0..TRIES {
            let most_bytes = INLINE_MAX_BYTES.min(self.inline_budget_bytes);
            let (reading, bytes) = match self.lookup.read_entry_and_bytes(path, self.rules, most_bytes) {
                Ok((reading, bytes)) => (Ok(reading), bytes),
                Err(error) => (Err(error), None),
            };
            match reading {
                Ok(Reading::Absent) | Err(TreeError::NotBelow { .. }) => return Ok(Seen::Absent),
                Ok(Reading::Skipped(_)) => {
                    self.met.skipped += 1;
                    return Ok(Seen::Absent);
                }
                Ok(Reading::Torn) => {}
                Ok(Reading::Entry(entry, stat)) => {
                    if let Some(found) = self.found(path, *entry, &stat, bytes)? {
                        return Ok(Seen::Found(Box::new(found)));
                    }
                }
                Err(error) if error.is_absent() => return Ok(Seen::Absent),
                Err(error) => return Err(error.into()),
            }
            if let Some(found) = self.read_still(path)? {
                return Ok(Seen::Found(Box::new(found)));
            }
        }
        self.met.hot += 1;
        self.read_hot(path)
    }

    /// The rest of what the index wants to know; none when the path changed meanwhile.
    fn found(&mut self, path: &TreePath, entry: Entry, stat: &Stat, bytes: Option<Bytes>) -> Result<Option<Found>, PublishError> {
        let identity = if stat.kind == NodeKind::Directory {
            match self.identity(path)? {
                Some((identity, opened)) if opened.identity == stat.identity => Some(identity),
                _ => {
                    self.lookup.forget();
                    return Ok(None);
                }
            }
        } else {
            None
        };
        let stamp = stamp_of(stat);
        let mut found = Found { entry, stamp, identity, below: Below::Unsaid, blocks: Vec::new(), inline: None };
        let Some((size_bytes, _)) = found.entry.file() else { return Ok(Some(found)) };
        if let Some(bytes) = bytes {
            // So young that a write during the reading may have left the same ctime.
            if stamp.ctime == Mtime::default() && self.bytes(path, size_bytes)?.as_ref() != Some(&bytes) {
                return Ok(None);
            }
            self.inline_budget_bytes -= size_bytes;
            found.inline = Some(bytes);
        } else if size_bytes >= LARGE_FILE_BYTES {
            let Some(blocks) = self.blocks(path, stat)? else { return Ok(None) };
            found.blocks = blocks;
        }
        Ok(Some(found))
    }

    /// A large file that changed while it was read is read from a still image, which copies then get their bytes from.
    /// None: there can be none, or the file is small and its bytes travel with it.
    fn read_still(&mut self, path: &TreePath) -> Result<Option<Found>, PublishError> {
        let Ok((file, stat)) = self.lookup.open_file(path) else { return Ok(None) };
        if stat.size_bytes <= INLINE_MAX_BYTES {
            return Ok(None);
        }
        let failed = |error: std::io::Error| self.lookup.failed(path, "read an image of", error);
        let Some(image) = still::image_of(self.lookup.root(), &file).map_err(failed)? else { return Ok(None) };
        let size_bytes = image.metadata().map_err(failed)?.len();
        let Some(content) = hash_sparse_until(&image, size_bytes, &self.shared.stop).map_err(failed)? else { return Ok(None) };
        let blocks =
            if size_bytes >= LARGE_FILE_BYTES { digests_of(&image, size_bytes, &self.shared.stop).map_err(failed)? } else { Vec::new() };
        let mut found = self.found_at_once(path, &file, &stat, Kind::File { size_bytes, content })?;
        found.blocks = blocks;
        self.shared.stills.keep(stat.identity.inode, content, image, self.shared.now());
        Ok(Some(found))
    }

    /// What is known of a file that is not at rest, with bytes of one moment.
    fn found_at_once(&self, path: &TreePath, file: &File, stat: &Stat, kind: Kind) -> Result<Found, PublishError> {
        let xattrs = crate::tree::read_xattrs(file, self.rules)
            .map_err(|error| self.lookup.failed(path, "read the extended attributes of", error))?;
        let mode = self.rules.file_mode(stat.mode);
        let entry = Entry { kind, mode, uid: stat.uid, gid: stat.gid, mtime: stat.mtime, link_target: Vec::new(), xattrs, link_group: 0 };
        // No ctime: it is to be read again.
        let stamp = Stamp { inode: stat.identity.inode, link_count: stat.links, ctime: Mtime::default() };
        Ok(Found { entry, stamp, identity: None, below: Below::Unsaid, blocks: Vec::new(), inline: None })
    }

    fn bytes(&mut self, path: &TreePath, size_bytes: u64) -> Result<Option<Bytes>, PublishError> {
        let file = match self.lookup.open_file(path) {
            Ok((file, _)) => file,
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0));
        let read = file.take(size_bytes + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.lookup.failed(path, "read", error))?;
        Ok((bytes.len() as u64 == size_bytes).then(|| bytes.into()))
    }

    /// Digests of the blocks of a large file; none when it changed since `before`.
    fn blocks(&mut self, path: &TreePath, before: &Stat) -> Result<Option<Vec<ContentHash>>, PublishError> {
        let (file, stat) = match self.lookup.open_file(path) {
            Ok(opened) => opened,
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if stat != *before {
            return Ok(None);
        }
        let Ok(digests) = digests_of(&file, stat.size_bytes, &self.shared.stop) else { return Ok(None) };
        let after = Stat::at(&file, b"").map_err(|error| self.lookup.failed(path, "read the state of", error))?;
        Ok((after == stat).then_some(digests))
    }

    /// A small file that never rests is taken as it was at one read: its bytes travel with it. A large one waits.
    fn read_hot(&mut self, path: &TreePath) -> Result<Seen, PublishError> {
        let (file, stat) = match self.lookup.open_file(path) {
            Ok(opened) => opened,
            Err(error) if error.is_absent() => return Ok(Seen::Absent),
            // Not a file: it is of another kind by now.
            Err(_) => return Ok(Seen::Hot),
        };
        if stat.size_bytes > INLINE_MAX_BYTES {
            let filesystem = self.lookup.root().filesystem();
            let hot = format!("{path} changed in each of {TRIES} readings, and {filesystem} gave no clone of it");
            self.met.last_error = Some(format!("{hot}; copies keep what they have of it until its writer rests"));
            return Ok(Seen::Hot);
        }
        let mut bytes = Vec::new();
        let read = (&file).take(INLINE_MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.lookup.failed(path, "read", error))?;
        if bytes.len() as u64 > INLINE_MAX_BYTES {
            return Ok(Seen::Hot);
        }
        let kind = Kind::File { size_bytes: bytes.len() as u64, content: ContentHash::of(&bytes) };
        let found = self.found_at_once(path, &file, &stat, kind)?;
        Ok(Seen::Found(Box::new(Found { inline: Some(bytes.into()), ..found })))
    }
}

/// Digests of the blocks of a file. An error when it is shorter than it was.
fn digests_of(file: &File, size_bytes: u64, stop: &Stop) -> std::io::Result<Vec<ContentHash>> {
    let block = |number: usize| {
        stop.check()?;
        let start = number as u64 * BLOCK_BYTES;
        let mut bytes = vec![0; usize::try_from(BLOCK_BYTES.min(size_bytes - start)).unwrap_or(0)];
        file.read_exact_at(&mut bytes, start)?;
        Ok(ContentHash::of(&bytes))
    };
    in_parallel(usize::try_from(size_bytes.div_ceil(BLOCK_BYTES)).unwrap_or(usize::MAX), &block)
}

/// What the index keeps of a `statx`. A ctime so young that another change could have the same is not kept.
pub(super) fn stamp_of(stat: &Stat) -> Stamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| i128::try_from(now.as_nanos()).unwrap_or(0));
    let changed = i128::from(stat.ctime.seconds) * 1_000_000_000 + i128::from(stat.ctime.nanoseconds);
    let ctime = if now - changed < CTIME_STEP_NS { Mtime::default() } else { stat.ctime };
    Stamp { inode: stat.identity.inode, link_count: stat.links, ctime }
}
