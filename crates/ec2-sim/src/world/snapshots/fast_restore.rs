//! `EnableFastSnapshotRestores`, `DisableFastSnapshotRestores`, `DescribeFastSnapshotRestores`.
//!
//! Source: EBS User Guide, "Amazon EBS fast snapshot restore".

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::world::model::reply::{FastRestoreItem, FastRestoreRefusal};
use crate::world::model::{FastRestore, FastRestoreState, Snapshot};
use crate::world::queries::filters::{self, Filterable};
use crate::world::queries::pages::{PageLimits, page};
use crate::world::queries::zones::zone_id;
use crate::world::rules::latency::after;
use crate::world::{ACCOUNT_ID, ApiError, Describe, FastSnapshotRestores, Kind, Page, World};

const PAGES: PageLimits = PageLimits { least: 1, most: 200, ids: "snapshotIds" };

/// GiB of the largest snapshot that can be restored fast.
const LARGEST_GIB: u32 = 16 * 1_024;

/// What became of a switch: the snapshots and zones where it worked, and those where it did not.
type Switched = (Vec<FastRestoreItem>, Vec<FastRestoreRefusal>);

impl World {
    pub(in crate::world) fn enable_fast_restores(&mut self, now: Timestamp, request: &FastSnapshotRestores) -> Result<Switched, ApiError> {
        self.switch(now, request, FastRestoreState::Enabling, Self::enable_fast_restore)
    }

    pub(in crate::world) fn disable_fast_restores(&mut self, now: Timestamp, request: &FastSnapshotRestores) -> Result<Switched, ApiError> {
        self.switch(now, request, FastRestoreState::Disabling, Self::disable_fast_restore)
    }

    /// Each pair of snapshot and zone succeeds or fails alone. The answer shows the beginning of
    /// the switch, also where it takes no time (API reference, `EnableFastSnapshotRestores`).
    fn switch(
        &mut self,
        now: Timestamp,
        request: &FastSnapshotRestores,
        state: FastRestoreState,
        one: fn(&mut Self, Timestamp, &str, &str) -> Result<FastRestore, ApiError>,
    ) -> Result<Switched, ApiError> {
        if request.snapshot_ids.is_empty() {
            return Err(ApiError::missing("SourceSnapshotId"));
        }
        let zones = self.zones_of(request)?;
        for id in &request.snapshot_ids {
            Kind::Snapshot.check(id)?;
        }
        let (mut done, mut refused) = (Vec::new(), Vec::new());
        for snapshot_id in &request.snapshot_ids {
            for zone in &zones {
                match one(self, now, snapshot_id, zone) {
                    Ok(restore) => done.push(FastRestoreItem { state, ..item(snapshot_id, zone, restore, now) }),
                    Err(error) => refused.push(FastRestoreRefusal { snapshot_id: snapshot_id.clone(), zone: zone.clone(), error }),
                }
            }
        }
        Ok((done, refused))
    }

    fn zones_of(&self, request: &FastSnapshotRestores) -> Result<Vec<String>, ApiError> {
        if !request.zones.is_empty() && !request.zone_ids.is_empty() {
            return Err(ApiError::combination("Only one of AvailabilityZone and AvailabilityZoneId can be specified"));
        }
        if request.zones.is_empty() && request.zone_ids.is_empty() {
            return Err(ApiError::missing("AvailabilityZone"));
        }
        let named = request.zones.iter().map(|name| self.zone(Some(name), None));
        named.chain(request.zone_ids.iter().map(|id| self.zone(None, Some(id)))).collect()
    }

    fn enable_fast_restore(&mut self, now: Timestamp, id: &str, zone: &str) -> Result<FastRestore, ApiError> {
        let snapshot = self.snapshot(id)?;
        if snapshot.status() == "error" {
            return Err(ApiError::state(format!("Snapshot '{id}' is in invalid state - error")));
        }
        if snapshot.volume_size_gib > LARGEST_GIB {
            return Err(ApiError::invalid_value(format!("Snapshot '{id}' is larger than {LARGEST_GIB} GiB")));
        }
        if snapshot.fast_restores.get(zone).is_some_and(|restore| is_on(restore, now)) {
            return Err(ApiError::new(
                "FastSnapshotRestoreAlreadyEnabled",
                format!("Fast snapshot restore is already enabled for snapshot '{id}' in {zone}."),
            ));
        }
        let size_gib = snapshot.volume_size_gib;
        let other = |s: &&Snapshot| s.id != id && s.fast_restores.values().any(|restore| is_on(restore, now));
        let most = self.rules.quotas.fast_restored_snapshots;
        if self.snapshots.rows().values().filter(other).count() >= most {
            return Err(ApiError::new(
                "FastSnapshotRestoreLimitExceeded",
                format!("You have exceeded your maximum of {most} snapshots with fast snapshot restore in this region."),
            ));
        }
        let optimizing = self.ready_at(now, |latencies| latencies.switch_fast_restore);
        let a_gib = self.settings.profile.latencies().fast_restore_gib;
        let enabled = after(optimizing, i64::from(size_gib) * self.draw_span(a_gib));
        let credits_milli = if self.rules.credits_at_once { FastRestore::most_credits_milli(size_gib) } else { 0 };
        let restore = FastRestore { enabling: now, optimizing, enabled, disabling: None, disabled: None, credits_milli, counted: enabled };
        self.snapshot_mut(id)?.fast_restores.insert(zone.to_owned(), restore.clone());
        Ok(restore)
    }

    fn disable_fast_restore(&mut self, now: Timestamp, id: &str, zone: &str) -> Result<FastRestore, ApiError> {
        let not_enabled = || {
            ApiError::new("FastSnapshotRestoreNotEnabled", format!("Fast snapshot restore is not enabled for snapshot '{id}' in {zone}."))
        };
        if !self.snapshot(id)?.fast_restores.get(zone).is_some_and(|restore| is_on(restore, now)) {
            return Err(not_enabled());
        }
        let disabled = self.ready_at(now, |latencies| latencies.switch_fast_restore);
        let restore = self.snapshot_mut(id)?.fast_restores.get_mut(zone).ok_or_else(not_enabled)?;
        restore.disabling = Some(now);
        restore.disabled = Some(disabled);
        Ok(restore.clone())
    }

    /// Takes a credit for a volume created from this snapshot in this zone; whether there was one.
    pub(in crate::world) fn take_fast_restore_credit(&mut self, now: Timestamp, snapshot_id: &str, zone: &str) -> Result<bool, ApiError> {
        if !self.snapshot(snapshot_id)?.fast_restores.contains_key(zone) {
            return Ok(false);
        }
        let snapshot = self.snapshot_mut(snapshot_id)?;
        let size_gib = snapshot.volume_size_gib;
        let restore = snapshot.fast_restores.get_mut(zone);
        Ok(restore.is_some_and(|restore| restore.take_credit(size_gib, now)))
    }

    pub(in crate::world) fn describe_fast_restores(&self, now: Timestamp, request: &Describe) -> Result<Page<FastRestoreItem>, ApiError> {
        filters::check::<FastRestoreItem>(&request.filters)?;
        let items = self.snapshots_seen(&[], &[]).into_iter().flat_map(|snapshot| {
            let items: BTreeMap<&String, &FastRestore> = snapshot.fast_restores.iter().collect();
            items.into_iter().map(|(zone, restore)| item(&snapshot.id, zone, restore.clone(), now))
        });
        let matching = items.filter(|item| filters::matches(item, &request.filters));
        page(matching, |item| &item.order, request, PAGES)
    }
}

fn is_on(restore: &FastRestore, now: Timestamp) -> bool {
    !matches!(restore.state(now), FastRestoreState::Disabling | FastRestoreState::Disabled)
}

fn item(snapshot_id: &str, zone: &str, restore: FastRestore, now: Timestamp) -> FastRestoreItem {
    let order = format!("{snapshot_id} {zone}");
    FastRestoreItem { snapshot_id: snapshot_id.to_owned(), zone: zone.to_owned(), state: restore.state(now), restore, order }
}

impl Filterable for FastRestoreItem {
    const NAMES: &'static [&'static str] = &["availability-zone", "availability-zone-id", "owner-id", "snapshot-id", "state"];

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            "availability-zone" => vec![self.zone.clone()],
            "availability-zone-id" => vec![zone_id(&self.zone)],
            "owner-id" => vec![ACCOUNT_ID.to_owned()],
            "snapshot-id" => vec![self.snapshot_id.clone()],
            "state" => vec![self.state.name().to_owned()],
            _ => Vec::new(),
        }
    }
}
