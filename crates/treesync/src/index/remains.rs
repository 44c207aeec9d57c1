//! What the index of a source left on a raw clone of its volume: of whom it is a clone, and how much of it is sure.

use super::damage::{REBUILD_FILE, caught};
use super::folder::Folder;
use super::origin::{NEXT_ORIGIN_FILE, ORIGIN_FILE};
use super::store::{DAMAGED_FILE, INDEX_FILE, Index};
use super::{IndexError, IndexOptions, Origin};
use crate::model::Position;
use crate::tree::Root;
use std::sync::Arc;

/// All that an index makes in its folder, the file by which it is known last.
pub(crate) const NAMES: [&str; 5] = [INDEX_FILE, DAMAGED_FILE, REBUILD_FILE, NEXT_ORIGIN_FILE, ORIGIN_FILE];

/// Where the source was when all before was on its disk: of a path whose bytes are from then or before, the clone has
/// them. Generation 0, so none, when the index is missing or damaged. None: no source was ever here. What is not a regular
/// file of ours was not left by a source.
///
/// # Errors
/// A publisher has the index open, so that this is the source itself; or it cannot be read.
pub fn remains(root: &Root) -> Result<Option<Position>, IndexError> {
    let Some(folder) = Folder::find(root)? else { return Ok(None) };
    let origin = match Origin::read(&folder) {
        Err(IndexError::Foreign { .. }) => None,
        read => read?,
    };
    let Some((origin, source)) = origin.and_then(|origin| origin.source().map(|source| (origin, source))) else { return Ok(None) };
    let nothing_sure = Position { source, epoch: origin.epoch, generation: 0 };
    match caught(|| durable_position(folder)) {
        // A later epoch was begun: what the index calls a generation may be something else by now.
        Ok(Some(position)) if position.source == source && position.epoch == origin.epoch => Ok(Some(position)),
        Ok(_) | Err(IndexError::Foreign { .. }) => Ok(Some(nothing_sure)),
        Err(error @ (IndexError::InUse(_) | IndexError::Io { .. })) => Err(error),
        Err(error) => {
            tracing::warn!(%error, root = %root.path().display(), "the index of a clone is damaged: all of its bytes are read");
            Ok(Some(nothing_sure))
        }
    }
}

/// None when there is no index, or none to trust. It is not checked from end to end: on a volume that is still being loaded from
/// its snapshot that takes minutes.
fn durable_position(folder: Folder) -> Result<Option<Position>, IndexError> {
    let Some(file) = Index::file(&folder)? else { return Ok(None) };
    let folder = Arc::new(folder);
    let index = Index::of_file(file, folder.clone(), &IndexOptions::default(), false)?;
    // Only now: a publisher that noted it may still have the index open, and then this is the source itself.
    if folder.is_condemned()? { Ok(None) } else { index.durable_position().map(Some) }
}

/// Removes them, the file by which they are known last. A crash on the way is no harm: this is done again.
///
/// # Errors
/// They cannot be removed.
pub fn remove_remains(root: &Root) -> Result<(), IndexError> {
    let Some(folder) = Folder::find(root)? else { return Ok(()) };
    NAMES.iter().try_for_each(|name| folder.remove(name))
}
