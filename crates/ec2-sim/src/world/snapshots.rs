//! `CreateSnapshot`, `DescribeSnapshots`, `DeleteSnapshot`.

use jiff::Timestamp;

use super::filters;
use super::latency::after;
use super::model::{Snapshot, SnapshotPhase, VolumePhase};
use super::pages::{PageLimits, page};
use super::{ACCOUNT_ID, ApiError, CreateSnapshot, DescribeSnapshots, Kind, Page, World, tags};

/// Two snapshots of one volume must be at least this far apart, in milliseconds.
/// EC2 answers `SnapshotCreationPerVolumeRateExceeded` below 15 seconds.
const BETWEEN_SNAPSHOTS_MS: i64 = 15_000;

const PAGES: PageLimits = PageLimits { least: 5, most: 1_000, ids: "snapshotIds" };

impl World {
    pub(super) fn create_snapshot(&mut self, now: Timestamp, request: &CreateSnapshot) -> Result<Snapshot, ApiError> {
        let tags = tags::specified(&request.tag_specifications, Kind::Snapshot, &[])?;
        self.check_snapshot_rates(now, &request.volume_id)?;
        let id = self.next_id(Kind::Snapshot.prefix());
        let ready_at = after(now, self.latencies().snapshot_ms);
        let volume = self.volume_mut(&request.volume_id)?;
        volume.last_snapshot = Some(now);
        let snapshot = Snapshot {
            id: id.clone(),
            volume_id: volume.id.clone(),
            volume_size_gib: volume.size_gib,
            description: request.description.clone(),
            encrypted: volume.encrypted,
            kms_key_id: volume.kms_key_id.clone(),
            started: now,
            tags,
            phase: SnapshotPhase::Pending { ready_at, cloned: false },
            deleted: false,
        };
        self.snapshots.insert(id, snapshot.clone());
        Ok(snapshot)
    }

    fn check_snapshot_rates(&self, now: Timestamp, volume_id: &str) -> Result<(), ApiError> {
        let volume = self.volume(volume_id)?;
        if volume.phase != VolumePhase::Available {
            return Err(ApiError::state(format!("Volume '{volume_id}' is in the '{}' state.", volume.status())));
        }
        // EC2 counts failed snapshots of a volume among its pending ones.
        let pending = self.snapshots.values().filter(|s| s.volume_id == volume_id && s.status() != "completed" && !s.deleted).count();
        if pending >= volume.volume_type.pending_snapshots() {
            return Err(ApiError::new(
                "ConcurrentSnapshotLimitExceeded",
                format!("Maximum allowed in-progress snapshots for volume {volume_id} exceeded."),
            ));
        }
        let since = volume.last_snapshot.map(|last| now.as_millisecond() - last.as_millisecond());
        if since.is_some_and(|ms| ms < BETWEEN_SNAPSHOTS_MS) {
            return Err(ApiError::new(
                "SnapshotCreationPerVolumeRateExceeded",
                "The maximum per volume CreateSnapshot request rate has been exceeded. Use an increasing or variable sleep interval between requests.",
            ));
        }
        Ok(())
    }

    pub(super) fn delete_snapshot(&mut self, id: &str) -> Result<(), ApiError> {
        // A pending snapshot is hidden at once and goes when it is complete.
        self.snapshot_mut(id)?.deleted = true;
        Ok(())
    }

    pub(super) fn describe_snapshots(&self, request: &DescribeSnapshots) -> Result<Page<Snapshot>, ApiError> {
        let describe = &request.describe;
        filters::check::<Snapshot>(&describe.filters)?;
        for id in &describe.ids {
            self.snapshot(id)?;
        }
        let ours = request.owners.is_empty() || request.owners.iter().any(|o| o == "self" || o == ACCOUNT_ID);
        let found = self
            .snapshots
            .values()
            .filter(|s| ours && !s.deleted)
            .filter(|s| describe.ids.is_empty() || describe.ids.contains(&s.id))
            .filter(|s| filters::matches(*s, &describe.filters))
            .cloned()
            .collect();
        page(found, |s| &s.id, describe, PAGES)
    }

    /// The snapshot of this id, or the error EC2 gives instead.
    pub(super) fn snapshot(&self, id: &str) -> Result<&Snapshot, ApiError> {
        Kind::Snapshot.check(id)?;
        let found = self.snapshots.get(id).filter(|s| !s.deleted);
        found.ok_or_else(|| Kind::Snapshot.not_found(id))
    }

    /// As [`World::snapshot`], to change it.
    pub(super) fn snapshot_mut(&mut self, id: &str) -> Result<&mut Snapshot, ApiError> {
        Kind::Snapshot.check(id)?;
        let found = self.snapshots.get_mut(id).filter(|s| !s.deleted);
        found.ok_or_else(|| Kind::Snapshot.not_found(id))
    }
}
