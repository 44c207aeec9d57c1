//! `CopyVolumes`: a copy of a volume in its zone, one at a time per source.
//!
//! Source: EBS User Guide, "Copy an Amazon EBS volume", and the API model.

use jiff::Timestamp;

use super::types::Wanted;
use crate::world::engine::tokens::Replay;
use crate::world::model::{Volume, VolumePhase};
use crate::world::queries::tags;
use crate::world::rules::latency::after;
use crate::world::{ApiError, CopyVolumes, Kind, VolumeType, World};

impl World {
    pub(in crate::world) fn copy_volumes(&mut self, now: Timestamp, request: &CopyVolumes) -> Result<Vec<Volume>, ApiError> {
        let token = request.client_token.as_deref();
        let plan = self.plan_copy(request);
        if let Ok((_, wanted, size_gib)) = &plan {
            self.check_storage(wanted.volume_type, u64::from(*size_gib), wanted.quota_iops())?;
        }
        if let Replay::Same(ids) = self.replay("CopyVolumes", token, request)? {
            return Ok(ids.iter().filter_map(|id| self.volumes.get(id).cloned()).collect());
        }
        let (source, wanted, size_gib) = plan?;
        self.check_copies(now, &source)?;
        let tags = tags::specified(&request.tag_specifications, Kind::Volume, &[])?;
        let copy = self.new_copy(now, request, &source, wanted, size_gib);
        // Tags of the source are not inherited.
        let copy = Volume { tags, ..copy };
        self.remember("CopyVolumes", token, request, vec![copy.id.clone()], now);
        self.volumes.insert(copy.id.clone(), copy.clone());
        Ok(vec![copy])
    }

    fn plan_copy(&self, request: &CopyVolumes) -> Result<(Volume, Wanted, u32), ApiError> {
        let source = self.volume(&request.source_volume_id)?;
        // The API's default, also for a copy of a gp3 volume.
        let volume_type = VolumeType::parse(request.volume_type.as_deref())?;
        self.check_zone_has(&source.zone, volume_type)?;
        self.check_key(source.kms_key_id.as_deref())?;
        let asked = request.size_gib.unwrap_or_else(|| i64::from(source.size_gib));
        if asked < i64::from(source.size_gib) {
            return Err(ApiError::invalid_value(format!(
                "Volume of size {asked}GB is smaller than source volume '{}', expect size >= {}GB",
                source.id, source.size_gib
            )));
        }
        let size_gib = volume_type.check_size(asked)?;
        let wanted = volume_type.performance(request.iops, request.throughput, size_gib)?;
        if request.encrypted == Some(false) && source.encrypted {
            return Err(ApiError::combination("A copy of an encrypted volume cannot be unencrypted"));
        }
        if request.kms_key_id.is_some() && !(source.encrypted || request.encrypted == Some(true)) {
            return Err(ApiError::new("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set."));
        }
        Ok((source.clone(), wanted, size_gib))
    }

    fn check_copies(&self, now: Timestamp, source: &Volume) -> Result<(), ApiError> {
        let id = &source.id;
        if source.phase != VolumePhase::Available {
            return Err(ApiError::state(format!("Volume '{id}' is in the '{}' state.", source.status())));
        }
        if let Some(modification) = source.modification.as_ref().filter(|m| m.state() == "modifying") {
            return Err(ApiError::state(format!("Volume '{id}' is in modification state '{}'.", modification.state())));
        }
        let initializing = |id: &&str| self.volumes.get(id).is_some_and(|volume| volume.is_initializing(now));
        if source.source_volume_id.is_some() && source.is_initializing(now) {
            return Err(ApiError::state(format!("Volume '{id}' is a copy that is still being initialized.")));
        }
        // The code for a second copy of one source is documented nowhere; this one is what a
        // public test log shows, while the limit of the region has the other.
        if self.index.copies(id).any(|copy| initializing(&copy)) {
            return Err(ApiError::new(
                "ConcurrentCopyVolumeLimitExceeded",
                format!("Volume '{id}' has a copy in progress. Wait until that copy is fully initialized."),
            ));
        }
        let most = self.rules.quotas.volume_copies;
        if self.index.all_copies().filter(initializing).count() >= most {
            return Err(ApiError::new(
                "CopyVolumesLimitExceeded",
                format!("You have exceeded your maximum of {most} volume copies in progress in this region."),
            ));
        }
        Ok(())
    }

    fn new_copy(&mut self, now: Timestamp, request: &CopyVolumes, source: &Volume, wanted: Wanted, size_gib: u32) -> Volume {
        let id = self.next_id(Kind::Volume.prefix());
        let ready_at = self.ready_at(now, |latencies| latencies.create);
        let latencies = self.settings.profile.latencies();
        let millis = i64::from(source.size_gib) * self.draw_span(latencies.copy_gib);
        let kms_key_id = request.kms_key_id.clone().or_else(|| source.kms_key_id.clone());
        Volume {
            id,
            size_gib,
            zone: source.zone.clone(),
            volume_type: wanted.volume_type,
            iops: wanted.iops,
            throughput: wanted.throughput,
            encrypted: request.encrypted.unwrap_or(source.encrypted),
            doom: super::doom(request.kms_key_id.as_deref()),
            kms_key_id,
            snapshot_id: None,
            source_volume_id: Some(source.id.clone()),
            initialization_rate: None,
            created: now,
            initialized_at: Some(after(ready_at, millis)),
            fast_restored: false,
            modification: None,
            modified: Vec::new(),
            last_snapshot: None,
            tags: std::collections::BTreeMap::new(),
            phase: VolumePhase::Creating { ready_at, filled: false },
            attachment: None,
        }
    }
}
