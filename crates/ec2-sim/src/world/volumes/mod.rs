//! `CreateVolume` and `DeleteVolume`, and what all calls on volumes share.

pub(in crate::world) mod attachments;
mod copy;
mod describe;
mod modify;
pub(in crate::world) mod types;

pub use describe::VolumeAttribute;

use jiff::Timestamp;

use crate::world::engine::tokens::Replay;
use crate::world::model::{Volume, VolumePhase};
use crate::world::queries::tags;
use crate::world::rules::fault::Failure;
use crate::world::rules::latency::after;
use crate::world::{ApiError, CreateVolume, Kind, SnapshotPhase, Tags, VolumeType, World};
use types::Wanted;

/// MiB/s that a provisioned initialization rate may have (API reference, `CreateVolume`).
const INITIALIZATION_RATES: std::ops::RangeInclusive<i64> = 100..=300;

/// What a snapshot contributes to a volume restored from it.
struct Origin {
    size_gib: u32,
    encrypted: bool,
    kms_key_id: Option<String>,
}

/// What is settled about a new volume before it gets its id.
struct Plan {
    zone: String,
    wanted: Wanted,
    size_gib: u32,
    origin: Option<Origin>,
    initialization_rate: Option<u32>,
    tags: Tags,
}

impl World {
    pub(in crate::world) fn create_volume(&mut self, now: Timestamp, request: &CreateVolume) -> Result<Volume, ApiError> {
        let token = request.client_token.as_deref();
        let plan = self.plan_volume(now, request);
        if let Ok(plan) = &plan {
            self.check_storage(plan.wanted.volume_type, u64::from(plan.size_gib), plan.wanted.quota_iops())?;
        }
        // What a token has made is found even if the request would be refused by now.
        if let Replay::Same(ids) = self.replay("CreateVolume", token, request)? {
            let first = ids.first().map(String::as_str).unwrap_or_default();
            return self.volumes.get(first).cloned().ok_or_else(|| Kind::Volume.not_found(first));
        }
        let volume = self.new_volume(now, request, plan?)?;
        self.remember("CreateVolume", token, request, vec![volume.id.clone()], now);
        self.volumes.insert(volume.id.clone(), volume.clone());
        Ok(volume)
    }

    /// Everything about the request that can be refused.
    fn plan_volume(&self, now: Timestamp, request: &CreateVolume) -> Result<Plan, ApiError> {
        let zone = self.zone(request.zone.as_deref(), request.zone_id.as_deref())?;
        let volume_type = VolumeType::parse(request.volume_type.as_deref())?;
        self.check_zone_has(&zone, volume_type)?;
        let origin = self.origin(request)?;
        self.check_key(origin.as_ref().and_then(|origin| origin.kms_key_id.as_deref()))?;
        let size_gib = size(request, origin.as_ref(), volume_type)?;
        let wanted = volume_type.performance(request.iops, request.throughput, size_gib)?;
        let initialization_rate = self.initialization_rate(now, request)?;
        if request.kms_key_id.is_some() && request.encrypted != Some(true) {
            return Err(ApiError::new("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set."));
        }
        let tags = tags::specified(&request.tag_specifications, Kind::Volume, &[])?;
        Ok(Plan { zone, wanted, size_gib, origin, initialization_rate, tags })
    }

    fn new_volume(&mut self, now: Timestamp, request: &CreateVolume, plan: Plan) -> Result<Volume, ApiError> {
        let Plan { zone, wanted, size_gib, origin, initialization_rate, tags } = plan;
        let inherited = origin.as_ref();
        let fast_restored = match &request.snapshot_id {
            // A rate that is asked for goes before fast restore (API reference, `CreateVolume`).
            Some(snapshot_id) if initialization_rate.is_none() => self.take_fast_restore_credit(now, snapshot_id, &zone)?,
            _ => false,
        };
        let id = self.next_id(Kind::Volume.prefix());
        let ready_at = self.ready_at(now, |latencies| latencies.create);
        let initialized_at = match &request.snapshot_id {
            Some(_) if fast_restored => Some(now),
            Some(_) => Some(self.initialized_at(ready_at, size_gib, initialization_rate)),
            None => None,
        };
        let kms_key_id = request.kms_key_id.clone().or_else(|| inherited.and_then(|o| o.kms_key_id.clone()));
        Ok(Volume {
            id,
            size_gib,
            zone,
            volume_type: wanted.volume_type,
            iops: wanted.iops,
            throughput: wanted.throughput,
            encrypted: request.encrypted.unwrap_or(false) || inherited.is_some_and(|o| o.encrypted),
            doom: doom(kms_key_id.as_deref()),
            kms_key_id,
            snapshot_id: request.snapshot_id.clone(),
            source_volume_id: None,
            initialization_rate,
            created: now,
            initialized_at,
            fast_restored,
            modification: None,
            modified: Vec::new(),
            last_snapshot: None,
            tags,
            phase: VolumePhase::Creating { ready_at, filled: false },
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

    fn initialized_at(&mut self, ready_at: Timestamp, size_gib: u32, rate: Option<u32>) -> Timestamp {
        let size = i64::from(size_gib);
        let latencies = self.settings.profile.latencies();
        let millis = match rate {
            Some(rate) if latencies.honours_initialization_rate => size * 1024 * 1000 / i64::from(rate.max(1)),
            _ => size * self.draw_span(latencies.initialize_gib),
        };
        after(ready_at, millis)
    }

    /// The rate of a request; refused when the account's rates would add up to too much
    /// (EBS User Guide, "Initialize Amazon EBS volumes": the request fails).
    fn initialization_rate(&self, now: Timestamp, request: &CreateVolume) -> Result<Option<u32>, ApiError> {
        let Some(rate) = initialization_rate(request)? else { return Ok(None) };
        let initializing = |volume: &&Volume| volume.initialized_at.is_some_and(|end| now < end);
        let taken: u64 = self.volumes.rows().values().filter(initializing).filter_map(|v| v.initialization_rate).map(u64::from).sum();
        if taken + u64::from(rate) > self.rules.quotas.initialization_mib_s {
            return Err(ApiError::new(
                "VolumeLimitExceeded",
                format!(
                    "The provisioned initialization rates of this region would exceed {} MiB/s.",
                    self.rules.quotas.initialization_mib_s
                ),
            ));
        }
        Ok(Some(rate))
    }

    pub(in crate::world) fn delete_volume(&mut self, now: Timestamp, id: &str) -> Result<(), ApiError> {
        let volume = self.volume(id)?;
        if let Some(attachment) = &volume.attachment {
            return Err(ApiError::new("VolumeInUse", format!("Volume {id} is currently attached to {}", attachment.instance_id)));
        }
        match volume.phase {
            VolumePhase::Available | VolumePhase::Error => {
                let gone_at = self.ready_at(now, |latencies| latencies.delete);
                self.volume_mut(id)?.phase = VolumePhase::Deleting { gone_at };
                Ok(())
            }
            // A second delete changes nothing.
            VolumePhase::Deleting { .. } => Ok(()),
            VolumePhase::Creating { .. } => Err(ApiError::state(format!("Volume '{id}' is in the 'creating' state."))),
        }
    }

    /// The volume of this id as the call sees it, or the error EC2 gives instead. A call
    /// that changes something may miss a new volume, but works on what is.
    pub(in crate::world) fn volume(&self, id: &str) -> Result<&Volume, ApiError> {
        Kind::Volume.check(id)?;
        let seen = self.volumes.see(id, self.view.of_ids());
        let found = if self.view.writes() { seen.and_then(|_| self.volumes.get(id)) } else { seen };
        found.ok_or_else(|| Kind::Volume.not_found(id))
    }

    /// As [`World::volume`], to change it.
    pub(in crate::world) fn volume_mut(&mut self, id: &str) -> Result<&mut Volume, ApiError> {
        self.volume(id)?;
        self.volumes.get_mut(id).ok_or_else(|| Kind::Volume.not_found(id))
    }
}

/// What becomes of a volume with this key. EC2 looks at the key after it has answered: one
/// that is none lets the volume fail later (API reference, `CreateVolume`), and the volume
/// disappears (aws-ebs-csi-driver #3010).
fn doom(kms_key_id: Option<&str>) -> Option<Failure> {
    let hex = |part: &str| part.chars().all(|c| c.is_ascii_hexdigit());
    let is_key = |key: &str| {
        let key = key.strip_prefix("key/").unwrap_or(key);
        let uuid = key.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && key.split('-').all(hex);
        uuid || key.strip_prefix("mrk-").is_some_and(hex) || key.strip_prefix("alias/").is_some_and(|name| !name.is_empty())
    };
    let key = kms_key_id?;
    let known = match key.strip_prefix("arn:") {
        Some(arn) => arn.split(':').nth(1) == Some("kms") && arn.rsplit(':').next().is_some_and(is_key),
        None => is_key(key),
    };
    (!known).then_some(Failure::Vanish)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_key_is_taken_for_one() {
        let table = [
            ("1234abcd-12ab-34cd-56ef-1234567890ab", true),
            ("alias/my-key", true),
            ("arn:aws:kms:us-east-1:012345678910:key/1234abcd-12ab-34cd-56ef-1234567890ab", true),
            ("arn:aws:kms:us-east-1:012345678910:alias/my-key", true),
            ("mrk-1234abcd12ab34cd56ef1234567890ab", true),
            ("arn:aws:s3:::bucket", false),
            ("alias/", false),
            ("nonsense", false),
            ("", false),
        ];
        for (key, known) in table {
            assert_eq!(doom(Some(key)).is_none(), known, "{key}");
        }
        assert_eq!(doom(None), None);
    }
}
