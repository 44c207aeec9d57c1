//! `CreateSnapshot`, `CreateSnapshots`, `CopySnapshot`, `DeleteSnapshot`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::world::model::{Snapshot, SnapshotPhase, Tags, VolumePhase};
use crate::world::queries::{tags, zones};
use crate::world::rules::latency::after;
use crate::world::{ApiError, CopySnapshot, CreateSnapshot, CreateSnapshots, Kind, World};

/// Two snapshots of one volume must be at least this far apart, in milliseconds.
/// EC2 answers `SnapshotCreationPerVolumeRateExceeded` below 15 seconds.
const BETWEEN_SNAPSHOTS_MS: i64 = 15_000;

/// Snapshots that may be copied to one destination at a time.
/// Source: EBS User Guide, "Quotas for Amazon EBS", concurrent snapshot copies.
const MOST_SNAPSHOT_COPIES: usize = 20;

/// The most volumes of an instance that one call takes snapshots of, the boot volume left out.
/// Source: EBS User Guide, "Create Amazon EBS snapshots".
const MOST_OF_AN_INSTANCE: usize = 127;

/// The volume that a copied snapshot names, which means nothing (API reference, `CopySnapshot`).
const ARBITRARY_VOLUME: &str = "vol-ffffffff";

impl World {
    pub(in crate::world) fn create_snapshot(&mut self, now: Timestamp, request: &CreateSnapshot) -> Result<Snapshot, ApiError> {
        let tags = tags::specified(&request.tag_specifications, Kind::Snapshot, &[])?;
        self.check_snapshot_rates(now, &request.volume_id)?;
        self.check_snapshot_quotas(1)?;
        let ready_at = self.ready_at(now, |latencies| latencies.snapshot);
        self.new_snapshot(now, ready_at, &request.volume_id, &request.description, tags)
    }

    /// One snapshot of each volume of an instance. They complete together: a set stays at 99 percent
    /// until its last member is done (re:Post, "AMI or EBS snapshot creation is slow").
    pub(in crate::world) fn create_snapshots(&mut self, now: Timestamp, request: &CreateSnapshots) -> Result<Vec<Snapshot>, ApiError> {
        let own = tags::specified(&request.tag_specifications, Kind::Snapshot, &[])?;
        let instance = self.instance(&request.instance_id)?;
        let attached: BTreeSet<String> = self.attached_to(&instance.id).map(|volume| volume.id.clone()).collect();
        for id in &request.exclude_volumes {
            self.volume(id)?;
            if !attached.contains(id) {
                return Err(ApiError::invalid_value(format!("Volume '{id}' is not attached to instance '{}'", instance.id)));
            }
        }
        let volumes: Vec<String> = attached.into_iter().filter(|id| !request.exclude_volumes.contains(id)).collect();
        if volumes.is_empty() {
            return Err(ApiError::combination(format!("Instance '{}' has no volumes to take snapshots of", request.instance_id)));
        }
        if volumes.len() > MOST_OF_AN_INSTANCE {
            return Err(ApiError::invalid_value(format!("A call takes snapshots of at most {MOST_OF_AN_INSTANCE} volumes")));
        }
        for id in &volumes {
            self.check_snapshot_rates(now, id)?;
        }
        self.check_snapshot_quotas(volumes.len())?;
        let ends: Vec<Timestamp> = volumes.iter().map(|_| self.ready_at(now, |latencies| latencies.snapshot)).collect();
        let ready_at = ends.into_iter().max().unwrap_or(now);
        let mut snapshots = Vec::new();
        for id in &volumes {
            let mut tags = if request.copy_tags { self.volume(id)?.tags.clone() } else { Tags::new() };
            tags.extend(own.clone());
            tags::limit(&tags)?;
            snapshots.push(self.new_snapshot(now, ready_at, id, &request.description, tags)?);
        }
        Ok(snapshots)
    }

    fn new_snapshot(
        &mut self,
        now: Timestamp,
        ready_at: Timestamp,
        volume_id: &str,
        description: &str,
        tags: Tags,
    ) -> Result<Snapshot, ApiError> {
        let id = self.next_id(Kind::Snapshot.prefix());
        let volume = self.volume_mut(volume_id)?;
        volume.last_snapshot = Some(now);
        let snapshot = Snapshot {
            id: id.clone(),
            volume_id: volume.id.clone(),
            volume_size_gib: volume.size_gib,
            description: description.to_owned(),
            encrypted: volume.encrypted,
            kms_key_id: volume.kms_key_id.clone(),
            started: now,
            tags,
            phase: SnapshotPhase::Pending { ready_at, cloned: false },
            source_snapshot_id: None,
            doomed: false,
            lock: None,
            fast_restores: BTreeMap::new(),
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
        let snapshots = self.index.snapshots(volume_id).filter_map(|id| self.snapshots.get(id));
        let pending = snapshots.filter(|s| s.status() != "completed").count();
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

    pub(in crate::world) fn copy_snapshot(&mut self, now: Timestamp, request: &CopySnapshot) -> Result<Snapshot, ApiError> {
        let tags = tags::specified(&request.tag_specifications, Kind::Snapshot, &[])?;
        self.check_source_region(&request.source_region)?;
        let source = self.snapshot(&request.source_snapshot_id)?;
        if !matches!(source.phase, SnapshotPhase::Completed { .. }) {
            return Err(ApiError::state(format!("Snapshot '{}' is in invalid state - {}", source.id, source.status())));
        }
        if request.encrypted == Some(false) && source.encrypted {
            return Err(ApiError::combination("A copy of an encrypted snapshot cannot be unencrypted"));
        }
        if request.kms_key_id.is_some() && !(source.encrypted || request.encrypted == Some(true)) {
            return Err(ApiError::new("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set."));
        }
        // API reference, `CopySnapshot`: up to 48 hours, in steps of 15 minutes.
        let minutes = request.completion_minutes;
        if let Some(minutes) = minutes.filter(|m| !(15..=2_880).contains(m) || m % 15 != 0) {
            return Err(ApiError::invalid_value(format!(
                "Value ({minutes}) for parameter CompletionDurationMinutes is invalid. It must be a multiple of 15, from 15 to 2880."
            )));
        }
        let source = source.clone();
        self.check_snapshot_quotas(1)?;
        let copying = |s: &&Snapshot| s.source_snapshot_id.is_some() && s.status() == "pending";
        if self.snapshots.rows().values().filter(copying).count() >= MOST_SNAPSHOT_COPIES {
            return Err(ApiError::new(
                "ResourceLimitExceeded",
                format!("You have exceeded your maximum of {MOST_SNAPSHOT_COPIES} concurrent snapshot copies."),
            ));
        }
        let drawn = self.ready_at(now, |latencies| latencies.snapshot);
        let ready_at = minutes.map_or(drawn, |minutes| drawn.min(after(now, minutes * 60_000)));
        let copy = Snapshot {
            id: self.next_id(Kind::Snapshot.prefix()),
            volume_id: ARBITRARY_VOLUME.to_owned(),
            description: request.description.clone(),
            encrypted: source.encrypted || request.encrypted == Some(true),
            kms_key_id: request.kms_key_id.clone().or_else(|| source.kms_key_id.clone()),
            started: now,
            tags,
            phase: SnapshotPhase::Pending { ready_at, cloned: false },
            source_snapshot_id: Some(source.id.clone()),
            doomed: false,
            lock: None,
            fast_restores: BTreeMap::new(),
            deleted: false,
            ..source
        };
        self.snapshots.insert(copy.id.clone(), copy.clone());
        Ok(copy)
    }

    /// There is one region here: a snapshot of another one exists nowhere.
    fn check_source_region(&self, region: &str) -> Result<(), ApiError> {
        if region == self.settings.region {
            return Ok(());
        }
        if zones::is_region(region) {
            return Err(ApiError::new(
                "UnsupportedOperation",
                format!("This simulator has one region, {}: it cannot copy from {region}", self.settings.region),
            ));
        }
        Err(ApiError::invalid_value(format!("Value ({region}) for parameter sourceRegion is invalid.")))
    }

    pub(in crate::world) fn delete_snapshot(&mut self, now: Timestamp, id: &str) -> Result<(), ApiError> {
        let snapshot = self.snapshot(id)?;
        // EBS User Guide, "Amazon EBS snapshot lock": a locked snapshot cannot be deleted by anybody.
        // The code is not documented; this one is assumed.
        if snapshot.lock.as_ref().is_some_and(|lock| lock.holds(now)) {
            return Err(ApiError::new("SnapshotLocked", format!("The snapshot '{id}' is locked and cannot be deleted.")));
        }
        // A pending snapshot is hidden at once and goes when it is complete.
        self.snapshot_mut(id)?.deleted = true;
        Ok(())
    }

    /// The snapshot of this id as the call sees it, or the error EC2 gives instead. A call
    /// that changes something may miss a new snapshot, but works on what is.
    pub(in crate::world) fn snapshot(&self, id: &str) -> Result<&Snapshot, ApiError> {
        Kind::Snapshot.check(id)?;
        let seen = self.snapshots.see(id, self.view.of_ids()).filter(|s| !s.deleted);
        let found = if self.view.writes() { seen.and_then(|_| self.snapshots.get(id)).filter(|s| !s.deleted) } else { seen };
        found.ok_or_else(|| Kind::Snapshot.not_found(id))
    }

    /// As [`World::snapshot`], to change it.
    pub(in crate::world) fn snapshot_mut(&mut self, id: &str) -> Result<&mut Snapshot, ApiError> {
        self.snapshot(id)?;
        self.snapshots.get_mut(id).ok_or_else(|| Kind::Snapshot.not_found(id))
    }
}
