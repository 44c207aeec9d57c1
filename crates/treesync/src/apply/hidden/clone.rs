//! A copy that began as a raw clone of its source, made of a snapshot of the volume: the index of the source is in the
//! hidden directory. What is sure of the clone is noted before that index goes, so that a crash does not forget it.

use super::marker::{Marker, MarkerState};
use super::{Home, MOST_BYTES};
use crate::apply::error::Problem;
use crate::index::{remains, remove_remains};
use crate::model::Position;
use crate::tree::Root;

const NOTE: &str = "clone";

/// A clone that was not made equal to its source yet.
#[derive(Clone, Copy)]
pub(in crate::apply) struct RawClone {
    /// Bytes that are from then or before are on it.
    pub(in crate::apply) sure: Position,
    /// Whether the index of the source is still there.
    pub(in crate::apply) has_index: bool,
}

impl RawClone {
    /// Looks for what a source left. Changes nothing.
    pub(in crate::apply) fn find(root: &Root, home: &Home, marker: Option<Marker>) -> Result<Option<Self>, Problem> {
        let left = remains(root).map_err(index_problem)?;
        let noted = home.read(NOTE, MOST_BYTES)?.and_then(|bytes| Marker::decode(&bytes).ok()).map(|note| note.position);
        Ok(match (noted, left) {
            (Some(sure), left) => Some(Self { sure, has_index: left.is_some() }),
            // It was a copy before it was a source, and who knows what happened between.
            (None, Some(left)) if marker.is_some() => Some(Self { sure: Position { generation: 0, ..left }, has_index: true }),
            (None, Some(sure)) => Some(Self { sure, has_index: true }),
            (None, None) => None,
        })
    }

    /// Notes what is sure. Durable when it returns, if the filesystem is synced before the index is removed.
    pub(in crate::apply) fn note(&self, home: &Home) -> Result<(), Problem> {
        let note = Marker { position: self.sure, structure: 0, state: MarkerState::Repairing };
        home.replace(NOTE, &note.encode())
    }

    /// Removes the index of the source.
    pub(in crate::apply) fn remove_index(root: &Root) -> Result<(), Problem> {
        remove_remains(root).map_err(index_problem)
    }

    /// The copy is like any other from now on.
    pub(in crate::apply) fn forget(home: &Home) -> Result<(), Problem> {
        home.remove(NOTE)
    }
}

fn index_problem(error: crate::index::IndexError) -> Problem {
    Problem::Own { action: "use the index that a source left on its clone", error: std::io::Error::other(error) }
}
