//! Reads files that were closed while the source is not quiet yet, and tells copies of them. Only hints: when it is quiet all
//! is read again.

use super::PublishError;
use super::engine::Engine;
use super::reader::Reader;
use crate::feed::Feed;
use crate::index::{At, View};
use crate::model::{AHEAD_FILE_MAX_BYTES, Ahead, Entry, Put, TreePath};
use bytes::Bytes;

impl Engine {
    /// Tells of files that can be read ahead, if somebody wants to know.
    pub(super) fn read_ahead(&self) {
        let Some(feed) = &self.feed else { return };
        let budget_bytes = self.shared.ahead_budget_bytes();
        let names = feed.take_ahead(budget_bytes > 0);
        if names.is_empty() {
            return;
        }
        match self.likely(feed, &names, budget_bytes) {
            Ok(ahead) => self.shared.tell_ahead(ahead),
            // Whatever it is shows again when it is quiet.
            Err(error) => tracing::debug!(%error, "files cannot be read ahead"),
        }
    }

    fn likely(&self, feed: &Feed, names: &[At], budget_bytes: u64) -> Result<Ahead, PublishError> {
        let view = self.shared.index()?.view()?;
        let mut reader = Reader::new(&self.root, &self.shared, Some(feed), budget_bytes);
        let mut left_bytes = budget_bytes;
        let mut puts = Vec::with_capacity(names.len());
        for at in names {
            let Some((path, entry, bytes)) = read(&mut reader, &view, at, left_bytes.min(AHEAD_FILE_MAX_BYTES))? else { continue };
            left_bytes -= bytes.len() as u64;
            let (inline, held_at, delta, data_bytes) = (Some(bytes), None, None, None);
            puts.push(Put { path, entry, content_generation: 0, inline, held_at, delta, data_bytes });
        }
        drop(reader);
        Ahead::new(self.shared.position().generation, puts).map_err(|error| PublishError::Refused(error.to_string()))
    }
}

/// A file that is another one than the index knows.
fn read(reader: &mut Reader, view: &View, at: &At, most_bytes: u64) -> Result<Option<(TreePath, Entry, Bytes)>, PublishError> {
    let Some(path) = reader.path_of(at, view)? else { return Ok(None) };
    let Some((entry, bytes)) = reader.read_small(&path, most_bytes)? else { return Ok(None) };
    let is_known = view.row_of(at)?.is_some_and(|row| row.entry == entry);
    Ok((!is_known).then_some((path, entry, bytes)))
}
