//! Compares a copy with a manifest, path by path, in one walk of both.

use std::collections::BTreeSet;
use std::fmt;

use super::Progress;
use super::cursor::Cursor;
use super::digest::LinkGroups;
use crate::model::{Entry, Kind, Put, Rules, TreePath};
use crate::tree::{Lookup, NodeKind, Reading, Root, Stat, TreeError, read_xattrs};

/// How closely a copy is looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Its marker alone: no file is looked at.
    Marker,
    /// Names, kinds, sizes, times, modes, owners, attributes, targets, hard links. Of a file whose size and time agree,
    /// the bytes are taken to be right.
    Metadata,
    /// All of that, and every byte is read.
    Content,
}

/// In what a path of a copy differs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Difference {
    /// The copy lacks it.
    Missing,
    /// The source has nothing there.
    Extra,
    /// It is a file, directory or symbolic link, and should be another of these.
    Kind,
    /// Other bytes, or another target.
    Content,
    /// Mode, owner, time or attributes.
    Metadata,
    /// Other names are the same file.
    Links,
    /// It changes too often to be read.
    Unstable,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Kind => "another kind",
            Self::Content => "other content",
            Self::Metadata => "other metadata",
            Self::Links => "other hard links",
            Self::Unstable => "changes while it is read",
        })
    }
}

/// A path that differs, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Which path.
    pub path: TreePath,
    /// How.
    pub difference: Difference,
}

/// Times that a path is read again when it changes meanwhile.
const READS_MAX: u32 = 3;

/// Walks a copy beside a manifest that comes in parts. The copy may be repaired between two parts.
pub struct Comparer {
    cursor: Cursor,
    ahead: Option<(TreePath, Stat)>,
    /// None: files whose size and time agree are not read.
    with_content: Option<Progress>,
    source_links: LinkGroups,
    copy_links: LinkGroups,
    /// Directories that are looked into; none: all.
    only: Option<BTreeSet<TreePath>>,
    /// Size and time tell nothing of bytes that are from a later generation.
    sure_to: u64,
}

impl Comparer {
    /// At the root. With content, all files are read; without, only those whose size or time differ.
    pub fn new(with_content: bool) -> Self {
        Self::with_progress(with_content.then(Progress::default))
    }

    /// At the root. With content, all files are read that the progress does not know.
    pub fn with_progress(with_content: Option<Progress>) -> Self {
        let (source_links, copy_links) = (LinkGroups::default(), LinkGroups::default());
        Self { cursor: Cursor::default(), ahead: None, with_content, source_links, copy_links, only: None, sure_to: u64::MAX }
    }

    /// At the root of a copy that has all bytes that are from this generation or before: only later ones are read, and
    /// those whose size or time differ.
    pub fn sure_to(generation: u64) -> Self {
        Self { sure_to: generation, ..Self::new(false) }
    }

    /// Looks only at these directories and what is directly in them. Of other paths, the manifest has only names of
    /// files with several.
    pub fn within(with_content: Option<Progress>, directories: BTreeSet<TreePath>) -> Self {
        Self { only: Some(directories), ..Self::with_progress(with_content) }
    }

    /// Gives back what was read.
    pub fn into_progress(self) -> Option<Progress> {
        self.with_content
    }

    fn is_wanted(&self, path: &TreePath) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(path) || path.parent().is_some_and(|parent| only.contains(&parent)))
    }

    /// Whether there is something to look at in a directory.
    fn is_entered(&self, directory: &TreePath) -> bool {
        let first =
            |only: &BTreeSet<TreePath>| only.range(directory..).next().is_some_and(|next| next == directory || next.is_below(directory));
        self.only.as_ref().is_none_or(first)
    }

    /// Compares up to and with the last of these puts, which are in the order of paths and come after those before.
    /// Each finding has its put, unless the source has nothing there.
    ///
    /// # Errors
    /// The copy cannot be read.
    pub fn compare<'p>(&mut self, root: &Root, rules: &Rules, puts: &'p [Put]) -> Result<Vec<(Finding, Option<&'p Put>)>, TreeError> {
        let mut lookup = root.lookup();
        let mut found = Vec::new();
        for put in puts.iter().filter(|put| !rules.is_kept_on_copy(&put.path)) {
            if !self.is_wanted(&put.path) {
                self.note_links(put, &mut lookup)?;
                continue;
            }
            self.pass(Some(&put.path), &mut lookup, rules, &mut found)?;
            let difference = match self.ahead.take_if(|(path, _)| *path == put.path) {
                Some((path, stat)) => self.difference(&path, &stat, put, &mut lookup, rules)?,
                None => Some(Difference::Missing),
            };
            let finding = |difference| (Finding { path: put.path.clone(), difference }, Some(put));
            found.extend(difference.map(finding));
        }
        Ok(found)
    }

    /// Notes a name of a file that has others, perhaps where it matters.
    fn note_links(&mut self, put: &Put, lookup: &mut Lookup<'_>) -> Result<(), TreeError> {
        self.source_links.first_name(&put.path, put.entry.link_group);
        if let Some(stat) = lookup.stat(&put.path)?.filter(|stat| stat.kind != NodeKind::Directory && stat.links > 1) {
            self.copy_links.first_name(&put.path, stat.identity.inode);
        }
        Ok(())
    }

    /// What the copy has beyond the end of the manifest.
    ///
    /// # Errors
    /// As [`Comparer::compare`].
    pub fn finish(&mut self, root: &Root, rules: &Rules) -> Result<Vec<Finding>, TreeError> {
        let mut found = Vec::new();
        self.pass(None, &mut root.lookup(), rules, &mut found)?;
        Ok(found.into_iter().map(|(finding, _)| finding).collect())
    }

    /// Moves on to a path; what is passed is on no source.
    fn pass(
        &mut self,
        to: Option<&TreePath>,
        lookup: &mut Lookup<'_>,
        rules: &Rules,
        found: &mut Vec<(Finding, Option<&Put>)>,
    ) -> Result<(), TreeError> {
        loop {
            if self.ahead.is_none() {
                self.ahead = self.cursor.next(lookup)?;
                if self.ahead.as_ref().is_some_and(|(path, _)| !self.is_entered(path)) {
                    self.cursor.skip_below();
                }
            }
            let Some((path, stat)) = self.ahead.take_if(|(path, _)| to.is_none_or(|to| &*path < to)) else { return Ok(()) };
            if !self.is_wanted(&path) {
                continue;
            }
            self.cursor.skip_below();
            if rules.is_kept_on_copy(&path) || stat.kind == NodeKind::MountPoint {
                continue;
            }
            found.push((Finding { path, difference: Difference::Extra }, None));
        }
    }

    fn difference(
        &mut self,
        path: &TreePath,
        stat: &Stat,
        put: &Put,
        lookup: &mut Lookup<'_>,
        rules: &Rules,
    ) -> Result<Option<Difference>, TreeError> {
        let is_directory = stat.kind == NodeKind::Directory;
        if is_directory != put.entry.is_directory() {
            self.cursor.skip_below();
            return Ok(Some(Difference::Kind));
        }
        for _ in 0..READS_MAX {
            let is_sure = put.content_generation <= self.sure_to;
            match read(path, stat, put, is_sure, self.with_content.as_mut(), lookup, rules)? {
                Reading::Entry(entry, after) => return Ok(self.judge(path, &entry, &after, put, rules)),
                Reading::Absent => return Ok(Some(Difference::Missing)),
                Reading::Skipped(_) => return Ok(Some(Difference::Kind)),
                Reading::Torn => {}
            }
        }
        Ok(Some(Difference::Unstable))
    }

    fn judge(&mut self, path: &TreePath, entry: &Entry, stat: &Stat, put: &Put, rules: &Rules) -> Option<Difference> {
        let group = if !entry.is_directory() && stat.links > 1 { stat.identity.inode } else { 0 };
        let is_linked_as_it_should = self.copy_links.first_name(path, group) == self.source_links.first_name(path, put.entry.link_group);
        let wanted = &put.entry;
        let mode = if wanted.is_directory() { wanted.mode } else { rules.file_mode(wanted.mode) };
        let xattrs = wanted.xattrs.iter().filter(|xattr| rules.xattr_travels(&xattr.name));
        let is_same_kind = match (wanted.kind, entry.kind) {
            (Kind::File { .. }, Kind::File { .. }) => true,
            (wanted, found) => wanted == found,
        };
        let has_mode = entry.kind == Kind::Symlink || stat.mode == mode;
        if !is_same_kind {
            Some(Difference::Kind)
        } else if entry.kind != wanted.kind || entry.link_target != wanted.link_target {
            Some(Difference::Content)
        } else if !has_mode
            || (entry.uid, entry.gid, entry.mtime) != (wanted.uid, wanted.gid, wanted.mtime)
            || !entry.xattrs.iter().eq(xattrs)
        {
            Some(Difference::Metadata)
        } else if !is_linked_as_it_should {
            Some(Difference::Links)
        } else {
            None
        }
    }
}

/// Reads a path as closely as it must be. Without content, a file whose size and time agree has the digest it should.
fn read(
    path: &TreePath,
    stat: &Stat,
    put: &Put,
    is_sure: bool,
    with_content: Option<&mut Progress>,
    lookup: &mut Lookup<'_>,
    rules: &Rules,
) -> Result<Reading, TreeError> {
    let is_same = |size_bytes| size_bytes == stat.size_bytes && put.entry.mtime == stat.mtime;
    let is_trusted = is_sure && matches!(put.entry.kind, Kind::File { size_bytes, .. } if is_same(size_bytes));
    match with_content {
        Some(progress) => return progress.read_entry(path, lookup, rules),
        None if stat.kind != NodeKind::File || !is_trusted => return lookup.read_entry(path, rules),
        None => {}
    }
    let (descriptor, stat) = match lookup.open_path(path) {
        Ok(opened) => opened,
        Err(error) if error.is_absent() => return Ok(Reading::Absent),
        Err(error) => return Err(error),
    };
    let xattrs = read_xattrs(&descriptor, rules).map_err(|error| lookup.failed(path, "read the extended attributes of", error))?;
    let entry = Entry {
        kind: put.entry.kind,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        link_target: Vec::new(),
        xattrs,
        link_group: 0,
    };
    if stat.kind != NodeKind::File || Some(stat.size_bytes) != put.entry.file().map(|(size, _)| size) {
        return Ok(Reading::Torn);
    }
    Ok(Reading::Entry(Box::new(entry), stat))
}
