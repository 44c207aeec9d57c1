//! `ModifyVolume` and what becomes of it.
//!
//! Source: API reference, `ModifyVolume`; EBS User Guide, "Monitor the progress of volume modifications".

use jiff::{SignedDuration, Timestamp};

use super::types::Wanted;
use crate::world::model::{Modification, ModificationPhase, Specification, Volume, VolumePhase};
use crate::world::rules::latency::after;
use crate::world::{ApiError, ModifyVolume, VolumeType, World};

/// The window in which modifications are counted (API reference).
const DAY: SignedDuration = SignedDuration::from_hours(24);

impl World {
    pub(in crate::world) fn modify_volume(&mut self, now: Timestamp, request: &ModifyVolume) -> Result<Modification, ApiError> {
        let volume = self.volume(&request.volume_id)?;
        self.check_modifiable(now, volume)?;
        let original = volume.specification();
        let target = target(request, original)?;
        let (target_type, original_type) = (target.volume_type, original.volume_type);
        let grown_gib = if target_type == original_type { target.size_gib - original.size_gib } else { target.size_gib };
        let had_iops = if target_type == original_type { original.iops.unwrap_or(0) } else { 0 };
        let more_iops = target.iops.unwrap_or(0).saturating_sub(had_iops);
        self.check_storage(target_type, u64::from(grown_gib), u64::from(more_iops)).map_err(|error| match error.code {
            // A modification over the quota has a code of its own.
            "VolumeLimitExceeded" => ApiError::new("VolumeModificationSizeLimitExceeded", error.message),
            _ => error,
        })?;
        let usable_at = self.ready_at(now, |latencies| latencies.modify);
        let optimize = self.settings.profile.latencies().optimize;
        let done_at = after(usable_at, self.draw_span(optimize));
        let resized = target.size_gib == original.size_gib;
        let phase = ModificationPhase::Modifying { resized };
        let modification = Modification { original, target, started: now, usable_at, done_at, doomed: false, phase };
        let volume = self.volume_mut(&request.volume_id)?;
        volume.modification = Some(modification.clone());
        volume.modified.retain(|at| now.duration_since(*at) < DAY);
        volume.modified.push(now);
        Ok(modification)
    }

    fn check_modifiable(&self, now: Timestamp, volume: &Volume) -> Result<(), ApiError> {
        let id = &volume.id;
        if volume.phase != VolumePhase::Available {
            return Err(ApiError::state(format!("Volume '{id}' is in the '{}' state.", volume.status())));
        }
        if let Some(modification) = volume.modification.as_ref().filter(|m| m.is_under_way()) {
            return Err(ApiError::new(
                "IncorrectModificationState",
                format!("The volume {id} has a modification in state '{}'. Wait until it is completed.", modification.state()),
            ));
        }
        let recent: Vec<&Timestamp> = volume.modified.iter().filter(|at| now.duration_since(**at) < DAY).collect();
        let most = self.rules.modifications_a_day;
        if recent.len() >= most as usize {
            let again = recent.first().and_then(|at| at.checked_add(DAY).ok());
            return Err(ApiError::new(
                "VolumeModificationRateExceeded",
                format!(
                    "The volume {id} has been modified {most} times within 24 hours, which is the maximum. Next modification possible: {}.",
                    again.map(crate::world::time).unwrap_or_default()
                ),
            ));
        }
        Ok(())
    }

    /// The new size and performance take hold, or the modification fails.
    pub(in crate::world) fn apply_modification(&mut self, id: &str) {
        let Some(volume) = self.volumes.get_mut(id) else { return };
        let Some(modification) = &mut volume.modification else { return };
        if modification.doomed {
            modification.phase = ModificationPhase::Failed;
            return;
        }
        modification.phase = ModificationPhase::Optimizing;
        let target = modification.target;
        volume.size_gib = target.size_gib;
        volume.volume_type = target.volume_type;
        volume.iops = target.iops;
        volume.throughput = target.throughput;
    }
}

impl Volume {
    /// What the volume is, as a modification names it.
    pub fn specification(&self) -> Specification {
        Specification { size_gib: self.size_gib, volume_type: self.volume_type, iops: self.iops, throughput: self.throughput }
    }
}

/// What the request makes of a volume. What it leaves out stays, as far as the type allows.
fn target(request: &ModifyVolume, original: Specification) -> Result<Specification, ApiError> {
    let nothing = request.size_gib.is_none() && request.volume_type.is_none() && request.iops.is_none() && request.throughput.is_none();
    if nothing {
        return Err(ApiError::new("MissingParameter", "The request must contain the parameter size, volumeType, iops or throughput"));
    }
    let volume_type = match request.volume_type.as_deref() {
        Some(name) => VolumeType::parse(Some(name))?,
        None => original.volume_type,
    };
    let asked = request.size_gib.unwrap_or_else(|| i64::from(original.size_gib));
    if asked < i64::from(original.size_gib) {
        return Err(ApiError::invalid_value(format!("New size cannot be smaller than existing size ({}GiB)", original.size_gib)));
    }
    let size_gib = volume_type.check_size(asked)?;
    let same = volume_type == original.volume_type;
    let keep = |asked: Option<i64>, had: Option<u32>| asked.or_else(|| had.filter(|_| same && volume_type.is_provisioned()).map(i64::from));
    let iops = keep(request.iops, original.iops);
    let throughput = keep(request.throughput, original.throughput);
    let Wanted { iops, throughput, .. } = volume_type.performance(iops, throughput, size_gib)?;
    let target = Specification { size_gib, volume_type, iops, throughput };
    if target == original {
        return Err(ApiError::invalid_value("The requested modification changes nothing: the volume already has these values."));
    }
    check_magnetic(original.volume_type, volume_type)?;
    Ok(target)
}

/// A volume of the previous generation cannot be modified to or from (EBS User Guide, "Requirements
/// for Amazon EBS volume modifications": `standard` can only become another type, never be one).
fn check_magnetic(from: VolumeType, to: VolumeType) -> Result<(), ApiError> {
    if to == VolumeType::Standard && from != VolumeType::Standard {
        return Err(ApiError::invalid_value("Modifying volume type to standard is not supported."));
    }
    Ok(())
}
