//! Describe filters: names, values with `*` and `?`, and what they match on each resource.

use std::collections::BTreeSet;

use crate::world::model::{Instance, Modification, Snapshot, Tags, Volume};
use crate::world::queries::zones;
use crate::world::{ApiError, Kind, World};

/// One filter of a describe call: it matches when any value does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Such as `status` or `tag:Name`.
    pub name: String,
    /// Patterns; `*` stands for any run of characters, `?` for one, `\` escapes both.
    pub values: Vec<String>,
}

/// A resource that describe calls can filter.
pub(in crate::world) trait Filterable {
    /// The filter names it knows, besides `tag:<key>`.
    const NAMES: &'static [&'static str];

    /// The values it has under a known name.
    fn values(&self, name: &str) -> Vec<String>;

    /// Its tags.
    fn tags(&self) -> Option<&Tags> {
        None
    }
}

/// Values of all filters of a call together. Observed: gjbae1212/gossm #47, apache/druid #1954.
const MOST_VALUES: usize = 200;
/// Characters. Observed: ansible-collections/amazon.aws #2393.
const LONGEST_VALUE: usize = 255;

/// Refuses filters that this kind of resource does not know, and those that are too many or too long.
pub(in crate::world) fn check<T: Filterable>(filters: &[Filter]) -> Result<(), ApiError> {
    for filter in filters {
        let known = filter.name.starts_with("tag:") || T::NAMES.contains(&filter.name.as_str());
        if !known {
            return Err(ApiError::invalid_value(format!("The filter '{}' is invalid", filter.name)));
        }
        if filter.values.is_empty() {
            return Err(ApiError::invalid_value(format!("The filter '{}' must have at least one value", filter.name)));
        }
    }
    let too_much = |message: String| Err(ApiError::new("FilterLimitExceeded", message));
    if filters.iter().map(|filter| filter.values.len()).sum::<usize>() > MOST_VALUES {
        return too_much(format!("The maximum number of filter values specified on a single call is {MOST_VALUES}"));
    }
    if filters.iter().flat_map(|filter| &filter.values).any(|value| value.chars().count() > LONGEST_VALUE) {
        return too_much(format!("The maximum length for a filter value is {LONGEST_VALUE} characters"));
    }
    Ok(())
}

/// Whether the resource matches every filter.
pub(in crate::world) fn matches<T: Filterable>(resource: &T, filters: &[Filter]) -> bool {
    filters.iter().all(|filter| {
        let fits = |value: &str| filter.values.iter().any(|pattern| glob(pattern, value));
        match filter.name.strip_prefix("tag:") {
            Some(key) => resource.tags().and_then(|tags| tags.get(key)).is_some_and(|value| fits(value)),
            None if filter.name == "tag-key" => resource.tags().is_some_and(|tags| tags.keys().any(|key| fits(key))),
            None => resource.values(&filter.name).iter().any(|value| fits(value)),
        }
    })
}

/// Whether the whole of `text` matches the pattern.
pub(in crate::world) fn glob(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?', '\\']) {
        return pattern == text;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go back to: behind the last star, and the text it has swallowed so far.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                p += 1;
                retry = Some((p, t));
                continue;
            }
            Some('?') => {
                p += 1;
                t += 1;
                continue;
            }
            Some('\\') if pattern.get(p + 1) == Some(&text[t]) => {
                p += 2;
                t += 1;
                continue;
            }
            Some(c) if *c == text[t] => {
                p += 1;
                t += 1;
                continue;
            }
            _ => {}
        }
        let Some((after_star, swallowed)) = retry else {
            return false;
        };
        retry = Some((after_star, swallowed + 1));
        p = after_star;
        t = swallowed + 1;
    }
    pattern[p..].iter().all(|c| *c == '*')
}

impl Filterable for Volume {
    const NAMES: &'static [&'static str] = &[
        "attachment.attach-time",
        "attachment.delete-on-termination",
        "attachment.device",
        "attachment.instance-id",
        "attachment.status",
        "availability-zone",
        "availability-zone-id",
        "create-time",
        "encrypted",
        "fast-restored",
        "multi-attach-enabled",
        "size",
        "snapshot-id",
        "status",
        "tag-key",
        "volume-id",
        "volume-type",
    ];

    fn values(&self, name: &str) -> Vec<String> {
        let attachment = self.attachment.as_ref();
        match name {
            "attachment.attach-time" => attachment.map(|a| time(a.attached)),
            "attachment.delete-on-termination" => attachment.map(|_| "false".to_owned()),
            "attachment.device" => attachment.map(|a| a.device.clone()),
            "attachment.instance-id" => attachment.map(|a| a.instance_id.clone()),
            "attachment.status" => attachment.map(|a| a.status().to_owned()),
            "availability-zone" => Some(self.zone.clone()),
            "availability-zone-id" => Some(zones::zone_id(&self.zone)),
            "create-time" => Some(time(self.created)),
            "encrypted" => Some(self.encrypted.to_string()),
            "fast-restored" => Some(self.fast_restored.to_string()),
            "multi-attach-enabled" => Some("false".to_owned()),
            "size" => Some(self.size_gib.to_string()),
            "snapshot-id" => self.snapshot_id.clone(),
            "status" => Some(self.status().to_owned()),
            "volume-id" => Some(self.id.clone()),
            "volume-type" => Some(self.volume_type.name().to_owned()),
            _ => None,
        }
        .into_iter()
        .collect()
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

/// The last modification of a volume, which has filters of its own.
pub(in crate::world) struct ModificationView<'a> {
    pub(in crate::world) volume_id: &'a str,
    pub(in crate::world) modification: &'a Modification,
}

/// A volume as `DescribeVolumeStatus` sees it, whose filters are others.
pub(in crate::world) struct StatusView<'a> {
    pub(in crate::world) volume: &'a Volume,
    pub(in crate::world) now: jiff::Timestamp,
}

impl Filterable for StatusView<'_> {
    const NAMES: &'static [&'static str] = &[
        "availability-zone",
        "availability-zone-id",
        "volume-status.details-name",
        "volume-status.details-status",
        "volume-status.status",
    ];

    fn values(&self, name: &str) -> Vec<String> {
        let (sum, checks) = self.volume.health(self.now);
        match name {
            "volume-status.details-name" => checks.map(|(name, _)| name.to_owned()).to_vec(),
            "volume-status.details-status" => checks.map(|(_, status)| status.to_owned()).to_vec(),
            "volume-status.status" => vec![sum.to_owned()],
            other => self.volume.values(other),
        }
    }
}

impl Filterable for Snapshot {
    const NAMES: &'static [&'static str] = &[
        "description",
        "encrypted",
        "owner-id",
        "progress",
        "snapshot-id",
        "start-time",
        "status",
        "storage-tier",
        "tag-key",
        "volume-id",
        "volume-size",
    ];

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            "description" => vec![self.description.clone()],
            "encrypted" => vec![self.encrypted.to_string()],
            "owner-id" => vec![crate::world::ACCOUNT_ID.to_owned()],
            // Progress moves with the clock, which a filter does not see: ends only.
            "progress" if self.status() == "completed" => vec!["100%".to_owned()],
            "snapshot-id" => vec![self.id.clone()],
            "start-time" => vec![time(self.started)],
            "status" => vec![self.status().to_owned()],
            "storage-tier" => vec!["standard".to_owned()],
            "volume-id" => vec![self.volume_id.clone()],
            "volume-size" => vec![self.volume_size_gib.to_string()],
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

/// An instance together with its attached volumes, which filters can ask about.
pub(in crate::world) struct InstanceView<'a> {
    pub(in crate::world) instance: &'a Instance,
    pub(in crate::world) volumes: Vec<&'a Volume>,
}

impl Filterable for InstanceView<'_> {
    const NAMES: &'static [&'static str] = &[
        "availability-zone",
        "block-device-mapping.device-name",
        "block-device-mapping.status",
        "block-device-mapping.volume-id",
        "client-token",
        "instance-id",
        "instance-state-code",
        "instance-state-name",
        "instance-type",
        "reservation-id",
        "tag-key",
    ];

    fn values(&self, name: &str) -> Vec<String> {
        let instance = self.instance;
        let attachments = || self.volumes.iter().filter_map(|v| v.attachment.as_ref());
        match name {
            "availability-zone" => vec![instance.zone.clone()],
            "block-device-mapping.device-name" => attachments().map(|a| a.device.clone()).collect(),
            "block-device-mapping.status" => attachments().map(|a| a.mapping_status().to_owned()).collect(),
            "block-device-mapping.volume-id" => self.volumes.iter().map(|v| v.id.clone()).collect(),
            "client-token" => instance.client_token.iter().cloned().collect(),
            "instance-id" => vec![instance.id.clone()],
            "instance-state-code" => vec![instance.phase.state().0.to_string()],
            "instance-state-name" => vec![instance.phase.state().1.to_owned()],
            "instance-type" => vec![instance.instance_type.clone()],
            "reservation-id" => vec![instance.reservation_id.clone()],
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.instance.tags)
    }
}

impl World {
    /// The ids of this kind among which all matches of the filters are, where the index can
    /// tell without looking at every resource: from ids and tags that are given exactly.
    pub(in crate::world) fn candidates<'a>(&'a self, kind: Kind, filters: &'a [Filter]) -> Option<BTreeSet<&'a str>> {
        let own_id = format!("{}-id", kind.resource_type());
        let exact = filters.iter().filter(|filter| !filter.values.iter().any(|value| value.contains(['*', '?', '\\'])));
        let found = exact.filter_map(|filter| {
            let mut ids = BTreeSet::new();
            for value in &filter.values {
                match (kind, filter.name.as_str()) {
                    (_, name) if name == own_id => ids.extend([value.as_str()]),
                    (Kind::Volume, "attachment.instance-id") => ids.extend(self.index.attached(value)),
                    (Kind::Snapshot, "volume-id") => ids.extend(self.index.snapshots(value)),
                    (_, name) => {
                        let of_kind = |id: &&str| id.starts_with(kind.prefix());
                        ids.extend(self.index.tagged(name.strip_prefix("tag:")?, value).filter(of_kind));
                    }
                }
            }
            Some(ids)
        });
        found.min_by_key(BTreeSet::len)
    }
}

/// A time as the wire spells it.
pub(crate) fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_documented() {
        let table = [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*c*f", "abcde", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("**a", "bca", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(glob(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
