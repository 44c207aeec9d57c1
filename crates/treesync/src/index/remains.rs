//! What the index of a source left on a raw clone of its volume: of whom it is a clone, and how much of it is sure.

use super::store::{INDEX_FILE, Index, ORIGIN_FILE};
use super::{IndexError, IndexOptions, Origin};
use crate::model::Position;
use std::fs;
use std::path::Path;

/// All that an index makes in its folder, the file by which it is known last.
pub(crate) const NAMES: [&str; 4] = [INDEX_FILE, "index.damaged", "origin.new", ORIGIN_FILE];

/// Where the source was when all before was on its disk: of a path whose bytes are from then or before, the clone has
/// them. Generation 0, so none, when the index is missing or damaged. None: no source was ever here.
///
/// # Errors
/// A publisher has the index open, so that this is the source itself; or it cannot be read.
pub fn remains(folder: &Path) -> Result<Option<Position>, IndexError> {
    let Some(origin) = Origin::read(&folder.join(ORIGIN_FILE))? else { return Ok(None) };
    let Some(source) = origin.source() else { return Ok(None) };
    let path = folder.join(INDEX_FILE);
    let nothing_sure = Position { source, epoch: origin.epoch, generation: 0 };
    if !path.exists() {
        return Ok(Some(nothing_sure));
    }
    let durable = Index::open_file(&path, folder, &IndexOptions::default()).and_then(|index| {
        let view = index.view()?;
        Ok(Position { generation: view.number("durable")?.unwrap_or(0), ..view.position()? })
    });
    match durable {
        // A later epoch was begun: what the index calls a generation may be something else by now.
        Ok(position) if position.source != source || position.epoch != origin.epoch => Ok(Some(nothing_sure)),
        Ok(position) => Ok(Some(position)),
        Err(error @ (IndexError::InUse(_) | IndexError::Io { .. })) => Err(error),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "the index of a clone is damaged: all of its bytes are read");
            Ok(Some(nothing_sure))
        }
    }
}

/// Removes them, the file by which they are known last. A crash on the way is no harm: this is done again.
///
/// # Errors
/// They cannot be removed.
pub fn remove_remains(folder: &Path) -> Result<(), IndexError> {
    for path in NAMES.map(|name| folder.join(name)) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(IndexError::Io { path, action: "remove", error });
            }
            _ => {}
        }
    }
    Ok(())
}
