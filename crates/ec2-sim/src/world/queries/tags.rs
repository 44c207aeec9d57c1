//! Tags: the rules for them, and the calls that change and list them.

use crate::world::queries::filters::{self, Filterable};
use crate::world::queries::pages::{PageLimits, page};
use crate::world::{ApiError, CreateTags, DeleteTags, Describe, Filter, Kind, Page, Tag, TagSpecification, Tags, World};

/// A tag together with the resource it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagDescription {
    /// The resource.
    pub resource_id: String,
    /// Its type, such as `volume`.
    pub resource_type: &'static str,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Sorts tags by resource and key.
    order: String,
}

/// How many tags a resource may have.
const MOST_TAGS: usize = 50;
/// Characters.
const LONGEST_KEY: usize = 128;
/// Characters.
const LONGEST_VALUE: usize = 256;

/// The tags that the specifications give a new resource of this kind.
///
/// `also` names further resource types that the call accepts and this world ignores.
pub(in crate::world) fn specified(specifications: &[TagSpecification], kind: Kind, also: &[&str]) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for specification in specifications {
        let resource_type = specification.resource_type.as_str();
        if resource_type.is_empty() {
            return Err(ApiError::missing("TagSpecification.N.ResourceType"));
        }
        let ours = resource_type == kind.resource_type();
        if !ours && !also.contains(&resource_type) {
            return Err(ApiError::invalid_value(format!("'{resource_type}' is not a valid taggable resource type for this operation.")));
        }
        for tag in &specification.tags {
            check(tag)?;
            if ours && tags.insert(tag.key.clone(), tag.value.clone()).is_some() {
                return Err(ApiError::invalid_value(format!("Duplicate tag key '{}' specified.", tag.key)));
            }
        }
    }
    limit(&tags)?;
    Ok(tags)
}

fn check(tag: &Tag) -> Result<(), ApiError> {
    reserved(&tag.key)?;
    if tag.key.is_empty() || tag.key.chars().count() > LONGEST_KEY {
        return Err(ApiError::invalid_value(format!("Tag key '{}' must be between 1 and {LONGEST_KEY} characters in length.", tag.key)));
    }
    if tag.value.chars().count() > LONGEST_VALUE {
        return Err(ApiError::invalid_value(format!(
            "Tag value exceeds the maximum length of {LONGEST_VALUE} characters: '{}'",
            tag.value
        )));
    }
    Ok(())
}

fn reserved(key: &str) -> Result<(), ApiError> {
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(ApiError::invalid_value("Tag keys starting with 'aws:' are reserved for internal use"));
    }
    Ok(())
}

pub(in crate::world) fn limit(tags: &Tags) -> Result<(), ApiError> {
    if tags.len() > MOST_TAGS {
        return Err(ApiError::new("TagLimitExceeded", format!("The maximum number of tags for a resource is {MOST_TAGS}.")));
    }
    Ok(())
}

impl TagDescription {
    /// Like every resource, but `tag:<key>` asks for this one tag.
    fn matches(&self, all: &[Filter]) -> bool {
        let (pairs, others): (Vec<Filter>, Vec<Filter>) = all.iter().cloned().partition(|f| f.name.starts_with("tag:"));
        pairs.iter().all(|filter| {
            filter.name.strip_prefix("tag:") == Some(self.key.as_str()) && filter.values.iter().any(|v| filters::glob(v, &self.value))
        }) && filters::matches(self, &others)
    }
}

impl Filterable for TagDescription {
    const NAMES: &'static [&'static str] = &["key", "resource-id", "resource-type", "value"];

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            "key" => vec![self.key.clone()],
            "resource-id" => vec![self.resource_id.clone()],
            "resource-type" => vec![self.resource_type.to_owned()],
            "value" => vec![self.value.clone()],
            _ => Vec::new(),
        }
    }
}

const PAGES: PageLimits = PageLimits { least: 5, most: 1_000, ids: "resources" };

impl World {
    pub(in crate::world) fn create_tags(&mut self, request: &CreateTags) -> Result<(), ApiError> {
        if request.resources.is_empty() {
            return Err(ApiError::missing("ResourceId"));
        }
        if request.tags.is_empty() {
            return Err(ApiError::missing("Tag"));
        }
        for tag in &request.tags {
            check(tag)?;
        }
        // Everything is checked before anything is changed: a call tags all or none.
        let mut after = Vec::new();
        for id in &request.resources {
            let mut tags = self.tags_of(id)?.clone();
            tags.extend(request.tags.iter().map(|t| (t.key.clone(), t.value.clone())));
            limit(&tags)?;
            after.push((id, tags));
        }
        for (id, tags) in after {
            *self.tags_of(id)? = tags;
        }
        Ok(())
    }

    pub(in crate::world) fn delete_tags(&mut self, request: &DeleteTags) -> Result<(), ApiError> {
        if request.resources.is_empty() {
            return Err(ApiError::missing("ResourceId"));
        }
        for (key, _) in &request.tags {
            reserved(key)?;
        }
        for id in &request.resources {
            self.tags_of(id)?;
        }
        for id in &request.resources {
            let tags = self.tags_of(id)?;
            if request.tags.is_empty() {
                tags.clear();
            }
            for (key, value) in &request.tags {
                if value.is_none() || tags.get(key) == value.as_ref() {
                    tags.remove(key);
                }
            }
        }
        Ok(())
    }

    pub(in crate::world) fn tags_of(&mut self, id: &str) -> Result<&mut Tags, ApiError> {
        let kind = Kind::ALL.into_iter().find(|k| id.starts_with(k.prefix()));
        let Some(kind) = kind else {
            return Err(ApiError::new("InvalidID", format!("The ID '{id}' is not valid")));
        };
        match kind {
            Kind::Volume => self.volume_mut(id).map(|v| &mut v.tags),
            Kind::Snapshot => self.snapshot_mut(id).map(|s| &mut s.tags),
            Kind::Instance => self.instance_mut(id).map(|i| &mut i.tags),
        }
    }

    pub(in crate::world) fn describe_tags(&self, request: &Describe) -> Result<Page<TagDescription>, ApiError> {
        filters::check::<TagDescription>(&request.filters)?;
        // Tags are seen as late as what carries them.
        let at = |id: &str| self.view.of_item(id);
        let volumes = self.volumes.known_ids().into_iter().filter_map(|id| self.volumes.see(id, at(id)));
        let volumes = volumes.map(|v| (Kind::Volume, &v.id, &v.tags));
        let instances = self.instances.known_ids().into_iter().filter_map(|id| self.instances.see(id, at(id)));
        let instances = instances.map(|i| (Kind::Instance, &i.id, &i.tags));
        let snapshots = self.snapshots.known_ids().into_iter().filter_map(|id| self.snapshots.see(id, at(id)));
        let snapshots = snapshots.filter(|s| !s.deleted).map(|s| (Kind::Snapshot, &s.id, &s.tags));
        let mut found: Vec<TagDescription> = volumes
            .chain(instances)
            .chain(snapshots)
            .flat_map(|(kind, id, tags)| {
                tags.iter().map(move |(key, value)| TagDescription {
                    resource_id: id.clone(),
                    resource_type: kind.resource_type(),
                    key: key.clone(),
                    value: value.clone(),
                    order: format!("{id} {key}"),
                })
            })
            .filter(|tag| tag.matches(&request.filters))
            .collect();
        found.sort_by(|a, b| a.order.cmp(&b.order));
        page(found, |tag| &tag.order, request, PAGES)
    }
}
