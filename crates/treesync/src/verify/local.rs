//! The digests of the directories of a copy, by a walk of it.

use std::collections::HashMap;

use super::Progress;
use super::cursor::Cursor;
use super::digest::DirectoryDigester;
use crate::model::{ContentHash, Entry, Kind, Rules, TreePath};
use crate::tree::{Lookup, NodeKind, Reading, Root, Stat, TreeError, read_xattrs};

/// The digest of each directory. With content (which is read by a [`Progress`]), every byte is read. A path that changes meanwhile is left out, so its
/// directory differs.
///
/// # Errors
/// The copy cannot be read.
pub fn directory_digests(
    root: &Root,
    rules: &Rules,
    mut with_content: Option<&mut Progress>,
) -> Result<HashMap<TreePath, ContentHash>, TreeError> {
    let mut lookup = root.lookup();
    let mut cursor = Cursor::default();
    let mut digester = DirectoryDigester::new(with_content.is_some());
    let mut digests = HashMap::new();
    while let Some((path, stat)) = cursor.next(&mut lookup)? {
        if rules.is_kept_on_copy(&path) || !stat.kind.travels() {
            cursor.skip_below();
            continue;
        }
        if let Some(entry) = read(&path, &stat, &mut lookup, rules, with_content.as_deref_mut())? {
            digests.extend(digester.take(&path, &entry));
        }
    }
    digests.extend(digester.finish());
    Ok(digests)
}

fn read(
    path: &TreePath,
    stat: &Stat,
    lookup: &mut Lookup<'_>,
    rules: &Rules,
    with_content: Option<&mut Progress>,
) -> Result<Option<Entry>, TreeError> {
    let link_group = if stat.kind != NodeKind::Directory && stat.links > 1 { stat.identity.inode } else { 0 };
    let reading = match with_content {
        Some(progress) => Some(progress.read_entry(path, lookup, rules)?),
        None if stat.kind == NodeKind::Symlink => Some(lookup.read_entry(path, rules)?),
        None => None,
    };
    match reading {
        Some(Reading::Entry(entry, _)) => return Ok(Some(*entry)),
        Some(_) => return Ok(None),
        None => {}
    }
    let (descriptor, stat) = match lookup.open_path(path) {
        Ok(opened) => opened,
        Err(error) if error.is_absent() => return Ok(None),
        Err(error) => return Err(error),
    };
    let xattrs = read_xattrs(&descriptor, rules).map_err(|error| lookup.failed(path, "read the extended attributes of", error))?;
    let kind = match stat.kind {
        NodeKind::File => Kind::File { size_bytes: stat.size_bytes, content: ContentHash([0; 32]) },
        _ => Kind::Directory,
    };
    let (mode, uid, gid, mtime) = (stat.mode, stat.uid, stat.gid, stat.mtime);
    Ok(Some(Entry { kind, mode, uid, gid, mtime, link_target: Vec::new(), xattrs, link_group }))
}
