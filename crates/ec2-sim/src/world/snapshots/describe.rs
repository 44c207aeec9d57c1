//! `DescribeSnapshots`.

use std::collections::BTreeSet;

use crate::world::model::Snapshot;
use crate::world::queries::filters;
use crate::world::queries::pages::{PageLimits, page};
use crate::world::{ACCOUNT_ID, ApiError, DescribeSnapshots, Kind, Page, World};

/// Page sizes of the calls that describe snapshots.
pub(super) const PAGES: PageLimits = PageLimits { least: 5, most: 1_000, ids: "snapshotIds" };

impl World {
    pub(in crate::world) fn describe_snapshots(&self, request: &DescribeSnapshots) -> Result<Page<Snapshot>, ApiError> {
        let describe = &request.describe;
        filters::check::<Snapshot>(&describe.filters)?;
        for id in &describe.ids {
            self.snapshot(id)?;
        }
        let ours = request.owners.is_empty() || request.owners.iter().any(|o| o == "self" || o == ACCOUNT_ID);
        let matching =
            self.snapshots_seen(&describe.ids, &describe.filters).into_iter().filter(|s| ours && filters::matches(*s, &describe.filters));
        Ok(page(matching, |s| &s.id, describe, PAGES)?.map(Snapshot::clone))
    }

    /// The snapshots as this call sees them, in the order of their ids; deleted ones are hidden.
    pub(super) fn snapshots_seen(&self, ids: &[String], filters: &[filters::Filter]) -> Vec<&Snapshot> {
        let found: Vec<&Snapshot> = if !ids.is_empty() {
            let ids: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
            ids.into_iter().filter_map(|id| self.snapshots.see(id, self.view.of_ids())).collect()
        } else if self.view.is_late() {
            let ids = self.snapshots.known_ids();
            ids.into_iter().filter_map(|id| self.snapshots.see(id, self.view.of_item(id))).collect()
        } else {
            match self.candidates(Kind::Snapshot, filters) {
                Some(ids) => ids.iter().filter_map(|id| self.snapshots.get(id)).collect(),
                None => self.snapshots.rows().values().collect(),
            }
        };
        found.into_iter().filter(|s| !s.deleted).collect()
    }
}
