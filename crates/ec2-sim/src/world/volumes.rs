//! `CreateVolume`, `DeleteVolume` and the calls that describe volumes.

use jiff::Timestamp;

use super::filters::{self, StatusView};
use super::latency::after;
use super::model::{Volume, VolumePhase};
use super::pages::{PageLimits, page};
use super::tokens::Replay;
use super::{ApiError, CreateVolume, Describe, Kind, Page, SnapshotPhase, VolumeType, World, tags};

/// Page sizes of `DescribeVolumes` and `DescribeVolumeStatus`.
const PAGES: PageLimits = PageLimits { least: 5, most: 1_000, ids: "volumeIds" };

/// MiB/s that a provisioned initialization rate may have.
const INITIALIZATION_RATES: std::ops::RangeInclusive<i64> = 100..=300;

/// What a snapshot contributes to a volume restored from it.
struct Origin {
    size_gib: u32,
    encrypted: bool,
    kms_key_id: Option<String>,
}

impl World {
    pub(super) fn create_volume(&mut self, now: Timestamp, request: &CreateVolume) -> Result<Volume, ApiError> {
        let token = request.client_token.as_deref();
        match self.replay("CreateVolume", token, request)? {
            Replay::Same(ids) => {
                let first = ids.first().map(String::as_str).unwrap_or_default();
                return self.volume(first).cloned();
            }
            Replay::Fresh => {}
        }
        let volume = self.new_volume(now, request)?;
        self.remember("CreateVolume", token, request, vec![volume.id.clone()], now);
        self.volumes.insert(volume.id.clone(), volume.clone());
        Ok(volume)
    }

    fn new_volume(&mut self, now: Timestamp, request: &CreateVolume) -> Result<Volume, ApiError> {
        let zone = self.zone(request.zone.as_deref(), request.zone_id.as_deref())?;
        let volume_type = VolumeType::parse(request.volume_type.as_deref())?;
        let origin = self.origin(request)?;
        let size_gib = size(request, origin.as_ref(), volume_type)?;
        let performance = volume_type.performance(request, size_gib)?;
        let initialization_rate = initialization_rate(request)?;
        let encrypted = request.encrypted.unwrap_or(false);
        if request.kms_key_id.is_some() && !encrypted {
            return Err(ApiError::new("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set."));
        }
        let tags = tags::specified(&request.tag_specifications, Kind::Volume, &[])?;
        let inherited = origin.as_ref();
        Ok(Volume {
            id: self.next_id(Kind::Volume.prefix()),
            size_gib,
            zone,
            volume_type,
            iops: performance.iops,
            throughput: performance.throughput,
            encrypted: encrypted || inherited.is_some_and(|o| o.encrypted),
            kms_key_id: request.kms_key_id.clone().or_else(|| inherited.and_then(|o| o.kms_key_id.clone())),
            snapshot_id: request.snapshot_id.clone(),
            initialization_rate,
            created: now,
            initialized_at: request.snapshot_id.is_some().then(|| self.initialized_at(now, size_gib, initialization_rate)),
            last_snapshot: None,
            tags,
            phase: VolumePhase::Creating { ready_at: after(now, self.latencies().create_ms), filled: false },
            attachment: None,
        })
    }

    fn origin(&self, request: &CreateVolume) -> Result<Option<Origin>, ApiError> {
        let Some(id) = request.snapshot_id.as_deref() else {
            return Ok(None);
        };
        let snapshot = self.snapshot(id)?;
        if !matches!(snapshot.phase, SnapshotPhase::Completed { .. }) {
            return Err(ApiError::state(format!("Snapshot '{id}' is in invalid state - {}", snapshot.status())));
        }
        Ok(Some(Origin { size_gib: snapshot.volume_size_gib, encrypted: snapshot.encrypted, kms_key_id: snapshot.kms_key_id.clone() }))
    }

    fn initialized_at(&self, now: Timestamp, size_gib: u32, rate: Option<u32>) -> Timestamp {
        let latencies = self.latencies();
        let size = i64::from(size_gib);
        let millis = match rate {
            Some(rate) if latencies.honours_initialization_rate => size * 1024 * 1000 / i64::from(rate.max(1)),
            _ => size * latencies.initialize_gib_ms,
        };
        after(now, latencies.create_ms + millis)
    }

    pub(super) fn delete_volume(&mut self, now: Timestamp, id: &str) -> Result<(), ApiError> {
        let gone_at = after(now, self.latencies().delete_ms);
        let volume = self.volume_mut(id)?;
        if let Some(attachment) = &volume.attachment {
            return Err(ApiError::new("VolumeInUse", format!("Volume {id} is currently attached to {}", attachment.instance_id)));
        }
        match volume.phase {
            VolumePhase::Available | VolumePhase::Error => {
                volume.phase = VolumePhase::Deleting { gone_at };
                Ok(())
            }
            // A second delete changes nothing.
            VolumePhase::Deleting { .. } => Ok(()),
            VolumePhase::Creating { .. } => Err(ApiError::state(format!("Volume '{id}' is in the 'creating' state."))),
        }
    }

    pub(super) fn describe_volumes(&self, request: &Describe) -> Result<Page<Volume>, ApiError> {
        filters::check::<Volume>(&request.filters)?;
        for id in &request.ids {
            self.volume(id)?;
        }
        let found = self
            .volumes
            .values()
            .filter(|v| request.ids.is_empty() || request.ids.contains(&v.id))
            .filter(|v| filters::matches(*v, &request.filters))
            .cloned()
            .collect();
        page(found, |v| &v.id, request, PAGES)
    }

    pub(super) fn describe_volume_status(&self, now: Timestamp, request: &Describe) -> Result<Page<Volume>, ApiError> {
        filters::check::<StatusView<'_>>(&request.filters)?;
        for id in &request.ids {
            self.volume(id)?;
        }
        let found = self
            .volumes
            .values()
            .filter(|v| request.ids.is_empty() || request.ids.contains(&v.id))
            .filter(|volume| filters::matches(&StatusView { volume, now }, &request.filters))
            .cloned()
            .collect();
        page(found, |v| &v.id, request, PAGES)
    }

    /// The volume of this id, or the error EC2 gives instead.
    pub(super) fn volume(&self, id: &str) -> Result<&Volume, ApiError> {
        Kind::Volume.check(id)?;
        self.volumes.get(id).ok_or_else(|| Kind::Volume.not_found(id))
    }

    /// As [`World::volume`], to change it.
    pub(super) fn volume_mut(&mut self, id: &str) -> Result<&mut Volume, ApiError> {
        Kind::Volume.check(id)?;
        self.volumes.get_mut(id).ok_or_else(|| Kind::Volume.not_found(id))
    }
}

fn size(request: &CreateVolume, origin: Option<&Origin>, volume_type: VolumeType) -> Result<u32, ApiError> {
    let least = origin.map(|o| o.size_gib);
    let Some(asked) = request.size_gib.or(least.map(i64::from)) else {
        return Err(ApiError::new("MissingParameter", "The request must contain the parameter size or snapshotId"));
    };
    if let Some(least) = least.filter(|least| asked < i64::from(*least)) {
        return Err(ApiError::invalid_value(format!(
            "Volume of size {asked}GB is smaller than snapshot '{}', expect size >= {least}GB",
            request.snapshot_id.as_deref().unwrap_or_default()
        )));
    }
    volume_type.check_size(asked)
}

fn initialization_rate(request: &CreateVolume) -> Result<Option<u32>, ApiError> {
    let Some(rate) = request.initialization_rate else {
        return Ok(None);
    };
    if request.snapshot_id.is_none() {
        return Err(ApiError::combination("The parameter volumeInitializationRate requires the parameter snapshotId"));
    }
    if !INITIALIZATION_RATES.contains(&rate) {
        return Err(ApiError::invalid_value(format!(
            "Value ({rate}) for parameter volumeInitializationRate is invalid. It must be between {} and {} MiB/s.",
            INITIALIZATION_RATES.start(),
            INITIALIZATION_RATES.end()
        )));
    }
    Ok(u32::try_from(rate).ok())
}
