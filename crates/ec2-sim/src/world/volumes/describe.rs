//! The calls that describe volumes, their health, their attributes and their modifications.

use jiff::Timestamp;

use crate::world::model::{Modification, Volume};
use crate::world::queries::filters::{self, Filterable, ModificationView, StatusView};
use crate::world::queries::pages::{PageLimits, page};
use crate::world::{ApiError, Describe, DescribeVolumeAttribute, Kind, Page, World};

/// Page sizes of `DescribeVolumes` and `DescribeVolumeStatus`.
const PAGES: PageLimits = PageLimits { least: 5, most: 1_000, ids: "volumeIds" };
/// API reference, `DescribeVolumesModifications`: up to 500.
const MODIFICATION_PAGES: PageLimits = PageLimits { least: 1, most: 500, ids: "volumeIds" };

/// The answer of `DescribeVolumeAttribute`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeAttribute {
    /// Whether I/O is enabled again by itself after a possible loss of data: never here.
    AutoEnableIo(bool),
    /// Product codes of a marketplace: none here.
    ProductCodes,
}

impl World {
    pub(in crate::world) fn describe_volumes(&self, request: &Describe) -> Result<Page<Volume>, ApiError> {
        filters::check::<Volume>(&request.filters)?;
        let volumes = self.volumes_asked_for(request)?;
        page(volumes.filter(|volume| filters::matches(*volume, &request.filters)), |v| &v.id, request, PAGES)
            .map(|page| page.map(Volume::clone))
    }

    /// The volumes, and the moment whose initialization progress they show.
    pub(in crate::world) fn describe_volume_status(
        &self,
        now: Timestamp,
        request: &Describe,
    ) -> Result<(Page<Volume>, Timestamp), ApiError> {
        filters::check::<StatusView<'_>>(&request.filters)?;
        let seen_at = last_update(now, self.rules.initialization_lag_ms);
        let volumes = self.volumes_asked_for(request)?;
        let matching = volumes.filter(|volume| filters::matches(&StatusView { volume, now: seen_at }, &request.filters));
        Ok((page(matching, |v| &v.id, request, PAGES)?.map(Volume::clone), seen_at))
    }

    pub(in crate::world) fn describe_volumes_modifications(&self, request: &Describe) -> Result<Page<(String, Modification)>, ApiError> {
        filters::check::<ModificationView<'_>>(&request.filters)?;
        let volumes = self.volumes_asked_for(request)?;
        let mut modified = Vec::new();
        for volume in volumes {
            match &volume.modification {
                Some(modification) => modified.push(ModificationView { volume_id: &volume.id, modification }),
                None if !request.ids.is_empty() => {
                    return Err(ApiError::new(
                        "InvalidVolumeModification.NotFound",
                        format!("Modification for volume '{}' does not exist.", volume.id),
                    ));
                }
                None => {}
            }
        }
        let matching = modified.into_iter().filter(|view| filters::matches(view, &request.filters));
        let page = page(matching, |view| view.volume_id, request, MODIFICATION_PAGES)?;
        Ok(page.map(|view| (view.volume_id.to_owned(), view.modification.clone())))
    }

    pub(in crate::world) fn describe_volume_attribute(
        &self,
        request: &DescribeVolumeAttribute,
    ) -> Result<(String, VolumeAttribute), ApiError> {
        let volume = self.volume(&request.volume_id)?;
        let attribute = match request.attribute.as_str() {
            "autoEnableIO" => VolumeAttribute::AutoEnableIo(false),
            "productCodes" => VolumeAttribute::ProductCodes,
            other => {
                return Err(ApiError::invalid_value(format!(
                    "Value ({other}) for parameter attribute is invalid. Expected: autoEnableIO, productCodes"
                )));
            }
        };
        Ok((volume.id.clone(), attribute))
    }

    /// The volumes that the ids or, where the index can tell, the filters ask for, in the order of their ids.
    fn volumes_asked_for<'a>(&'a self, request: &'a Describe) -> Result<Box<dyn Iterator<Item = &'a Volume> + 'a>, ApiError> {
        for id in &request.ids {
            self.volume(id)?;
        }
        if !request.ids.is_empty() {
            let ids: std::collections::BTreeSet<&str> = request.ids.iter().map(String::as_str).collect();
            return Ok(Box::new(ids.into_iter().filter_map(|id| self.volume(id).ok())));
        }
        if self.view.is_late() {
            let ids = self.volumes.known_ids();
            return Ok(Box::new(ids.into_iter().filter_map(|id| self.volumes.see(id, self.view.of_item(id)))));
        }
        Ok(match self.candidates(Kind::Volume, &request.filters) {
            Some(ids) => Box::new(ids.into_iter().filter_map(|id| self.volumes.get(id))),
            None => Box::new(self.volumes.rows().values()),
        })
    }
}

impl Volume {
    /// Whether it still lacks blocks at `now`.
    pub fn is_initializing(&self, now: Timestamp) -> bool {
        self.initialized_at.is_some_and(|end| now < end)
    }
}

/// When progress was brought up to date last: every `period_ms`, so that it is up to that late.
fn last_update(now: Timestamp, period_ms: u64) -> Timestamp {
    let period = i64::try_from(period_ms).unwrap_or(i64::MAX).max(1);
    let millis = now.as_millisecond();
    Timestamp::from_millisecond(millis - millis.rem_euclid(period)).unwrap_or(now)
}

impl Filterable for ModificationView<'_> {
    const NAMES: &'static [&'static str] = &[
        "modification-state",
        "original-iops",
        "original-size",
        "original-volume-type",
        "originalMultiAttachEnabled",
        "start-time",
        "target-iops",
        "target-size",
        "target-volume-type",
        "targetMultiAttachEnabled",
        "volume-id",
    ];

    fn values(&self, name: &str) -> Vec<String> {
        let Modification { original, target, started, .. } = self.modification;
        let iops = |iops: Option<u32>| iops.iter().map(u32::to_string).collect();
        match name {
            "modification-state" => vec![self.modification.state().to_owned()],
            "original-iops" => iops(original.iops),
            "original-size" => vec![original.size_gib.to_string()],
            "original-volume-type" => vec![original.volume_type.name().to_owned()],
            "originalMultiAttachEnabled" | "targetMultiAttachEnabled" => vec!["false".to_owned()],
            "start-time" => vec![filters::time(*started)],
            "target-iops" => iops(target.iops),
            "target-size" => vec![target.size_gib.to_string()],
            "target-volume-type" => vec![target.volume_type.name().to_owned()],
            "volume-id" => vec![self.volume_id.to_owned()],
            _ => Vec::new(),
        }
    }
}
