//! Regions and their Availability Zones.

use crate::world::queries::filters::{self, Filterable};
use crate::world::{ApiError, Describe, DescribeZones, World};

/// An Availability Zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Such as `us-east-1a`.
    pub name: String,
    /// Such as `use1-az1`, the same in every account.
    pub id: String,
    /// Such as `us-east-1`.
    pub region: String,
}

/// How many zones each region has here.
const ZONES: [char; 3] = ['a', 'b', 'c'];

/// The regions listed besides the configured one.
const REGIONS: [&str; 8] =
    ["ap-northeast-1", "ap-southeast-2", "eu-central-1", "eu-north-1", "eu-west-1", "us-east-1", "us-east-2", "us-west-2"];

/// Whether there is a region of this name.
pub(in crate::world) fn is_region(name: &str) -> bool {
    REGIONS.contains(&name)
}

/// The zones of a region.
pub fn zones(region: &str) -> Vec<Zone> {
    ZONES
        .iter()
        .map(|letter| {
            let name = format!("{region}{letter}");
            Zone { id: zone_id(&name), name, region: region.to_owned() }
        })
        .collect()
}

/// The zone id of a zone's name: `us-east-1b` is `use1-az2`.
pub fn zone_id(name: &str) -> String {
    let letter = name.chars().last().unwrap_or('a');
    let number = u32::from(letter).saturating_sub(u32::from('a')) + 1;
    let region = name.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let short: String = region
        .split('-')
        .enumerate()
        .map(|(place, part)| match (place, part) {
            (0, area) => area.to_owned(),
            (_, "northeast") => "ne".to_owned(),
            (_, "northwest") => "nw".to_owned(),
            (_, "southeast") => "se".to_owned(),
            (_, "southwest") => "sw".to_owned(),
            (_, part) => part.chars().take(1).collect(),
        })
        .collect();
    format!("{short}-az{number}")
}

impl Filterable for Zone {
    const NAMES: &'static [&'static str] = &["group-name", "opt-in-status", "region-name", "state", "zone-id", "zone-name", "zone-type"];

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            "group-name" | "region-name" => vec![self.region.clone()],
            "opt-in-status" => vec!["opt-in-not-required".to_owned()],
            "state" => vec!["available".to_owned()],
            "zone-id" => vec![self.id.clone()],
            "zone-name" => vec![self.name.clone()],
            "zone-type" => vec!["availability-zone".to_owned()],
            _ => Vec::new(),
        }
    }
}

struct Region(String);

impl Filterable for Region {
    const NAMES: &'static [&'static str] = &["endpoint", "opt-in-status", "region-name"];

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            "endpoint" => vec![format!("ec2.{}.amazonaws.com", self.0)],
            "opt-in-status" => vec!["opt-in-not-required".to_owned()],
            "region-name" => vec![self.0.clone()],
            _ => Vec::new(),
        }
    }
}

impl World {
    /// The zone that a call names, by name or by id.
    pub(in crate::world) fn zone(&self, name: Option<&str>, id: Option<&str>) -> Result<String, ApiError> {
        let (parameter, asked) = match (name, id) {
            (Some(_), Some(_)) => {
                return Err(ApiError::combination("Only one of availabilityZone and availabilityZoneId can be specified"));
            }
            (Some(name), None) => ("availabilityZone", name),
            (None, Some(id)) => ("availabilityZoneId", id),
            (None, None) => return Err(ApiError::missing("AvailabilityZone")),
        };
        zones(&self.settings.region)
            .into_iter()
            .find(|zone| Some(zone.name.as_str()) == name || Some(zone.id.as_str()) == id)
            .map(|zone| zone.name)
            .ok_or_else(|| {
                ApiError::invalid_value(format!("Value ({asked}) for parameter {parameter} is invalid. The zone '{asked}' does not exist."))
            })
    }

    pub(in crate::world) fn describe_zones(&self, request: &DescribeZones) -> Result<Vec<Zone>, ApiError> {
        filters::check::<Zone>(&request.filters)?;
        let all = zones(&self.settings.region);
        let unknown = |asked: &String| !all.iter().any(|z| z.name == *asked || z.id == *asked);
        if let Some(asked) = request.names.iter().chain(&request.ids).find(|a| unknown(a)) {
            return Err(ApiError::invalid_value(format!("Invalid availability zone: [{asked}]")));
        }
        Ok(all
            .into_iter()
            .filter(|zone| request.names.is_empty() || request.names.contains(&zone.name))
            .filter(|zone| request.ids.is_empty() || request.ids.contains(&zone.id))
            .filter(|zone| filters::matches(zone, &request.filters))
            .collect())
    }

    pub(in crate::world) fn describe_regions(&self, request: &Describe) -> Result<Vec<String>, ApiError> {
        filters::check::<Region>(&request.filters)?;
        let mut all: Vec<String> = REGIONS.map(str::to_owned).to_vec();
        if !all.contains(&self.settings.region) {
            all.push(self.settings.region.clone());
        }
        if let Some(asked) = request.ids.iter().find(|asked| !all.contains(asked)) {
            return Err(ApiError::invalid_value(format!("Invalid region provided: [{asked}]")));
        }
        Ok(all
            .into_iter()
            .filter(|region| request.ids.is_empty() || request.ids.contains(region))
            .filter(|region| filters::matches(&Region(region.clone()), &request.filters))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ids_are_those_of_aws() {
        let table = [
            ("us-east-1a", "use1-az1"),
            ("us-west-2c", "usw2-az3"),
            ("eu-central-1b", "euc1-az2"),
            ("ap-southeast-2a", "apse2-az1"),
            ("ap-northeast-1a", "apne1-az1"),
        ];
        for (name, id) in table {
            assert_eq!(zone_id(name), id);
        }
    }
}
