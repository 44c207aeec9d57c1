//! A VolumePool manifest without a cluster: what is wrong with it, and the world that it is explained in.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use crate::api::{self, VolumePool};
use crate::controller::parse;
use crate::domain::tags::TAG_SOURCE;
use crate::domain::{CloudSnapshot, CloudVolume, GiB, NodeName, SnapshotState, VolumeId, VolumeSettings, VolumeState, Zone};
use crate::plan::{AgentSeen, PoolSeen, Source, SourceLoad, SourceSeen};
use crate::yaml;

/// The zone that is taken where a manifest names none.
const ANY_ZONE: &str = "us-east-1a";
/// The name of the node that has an agent.
const ANY_NODE: &str = "a node with an agent";

/// What a manifest does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct Assumed {
    /// Size of the source.
    pub source_size: GiB,
}

/// All pools of a file; other kinds are left out. The error names the document and the field.
pub fn pool_of(text: &str) -> anyhow::Result<Vec<VolumePool>> {
    let mut pools = Vec::new();
    for (number, document) in (1..).zip(yaml::documents(text)?) {
        if document.get("kind").and_then(Value::as_str) != Some("VolumePool") {
            continue;
        }
        let faults = fault(&document);
        ensure!(faults.is_empty(), "document {number}: {}", faults.join("; "));
        let pool: VolumePool = serde_json::from_value(document).with_context(|| format!("document {number}"))?;
        pools.push(pool);
    }
    if pools.is_empty() {
        bail!("there is no VolumePool in it; give a manifest with kind: VolumePool");
    }
    Ok(pools)
}

/// What the API server would refuse or drop, as far as the schema alone says it. Its CEL rules are not checked here, but
/// the one that every pool meets: exactly one source.
pub fn fault(document: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let definitions = api::definitions();
    let schema = definitions.iter().find(|(file, _)| *file == "volumepools.yaml");
    let schema = schema.and_then(|(_, definition)| definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec"));
    match (document.get("spec"), schema) {
        (Some(spec), Some(schema)) => check("spec", spec, schema, &mut faults),
        (None, _) => faults.push("spec is missing".to_owned()),
        (_, None) => faults.push("the schema of VolumePool is missing in this program".to_owned()),
    }
    if document.pointer("/metadata/name").and_then(Value::as_str).is_none_or(str::is_empty) {
        faults.push("metadata.name is missing".to_owned());
    }
    let sources = document.pointer("/spec/source").and_then(Value::as_object).map_or(0, serde_json::Map::len);
    if sources != 1 {
        faults.push(format!("spec.source needs exactly one kind of source, not {sources}"));
    }
    faults
}

fn check(path: &str, value: &Value, schema: &Value, faults: &mut Vec<String>) {
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    let fits = match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        _ => true,
    };
    if !fits {
        faults.push(format!("{path} must be of type {kind}"));
        return;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array).filter(|allowed| !allowed.contains(value)) {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        faults.push(format!("{path} must be one of {}, not {value}", allowed.join(", ")));
    }
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let (least, most) = (bound("minimum").unwrap_or(f64::MIN), bound("maximum").unwrap_or(f64::MAX));
    if let Some(number) = value.as_f64().filter(|number| !(least..=most).contains(number)) {
        faults.push(format!("{path} must be from {least} to {most}, not {number}"));
    }
    check_parts(path, value, schema, faults);
}

fn check_parts(path: &str, value: &Value, schema: &Value, faults: &mut Vec<String>) {
    let fields = schema.get("properties").and_then(Value::as_object);
    for (name, part) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match (fields.and_then(|fields| fields.get(name)), schema.get("additionalProperties")) {
            (Some(schema), _) | (None, Some(schema)) => check(&path, part, schema, faults),
            (None, None) => {
                let known: Vec<&str> = fields.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                faults.push(format!("{path} does not exist; there are: {}", known.join(", ")));
            }
        }
    }
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if value.is_object() && value.get(name).is_none() {
            faults.push(format!("{path}.{name} is missing"));
        }
    }
    if let Some(schema) = schema.get("items") {
        for (index, part) in value.as_array().into_iter().flatten().enumerate() {
            check(&format!("{path}[{index}]"), part, schema, faults);
        }
    }
}

/// A pool that was never applied, in an account that has its source and in a cluster that has nodes where it wants them;
/// and what that takes for granted.
pub fn seen_of(pool: &VolumePool, assumed: &Assumed, now: Timestamp) -> anyhow::Result<(PoolSeen, Vec<String>)> {
    let mut wanted = parse::pool_wanted(pool, "offline").context("spec.source or spec.template.size cannot be read")?;
    let zone = wanted.zones.first().cloned().unwrap_or_else(|| Zone::new(ANY_ZONE));
    let size = wanted.size.unwrap_or(assumed.source_size).min(assumed.source_size);
    let tags = [(TAG_SOURCE.to_owned(), "*".to_owned())].into();
    let (source, name) = match &wanted.source {
        Source::Snapshot(id) => (SourceSeen::Snapshot(source_snapshot(id.clone(), size, tags, now)), id.to_string()),
        Source::Volume(id) => (SourceSeen::Volume(source_volume(id.clone(), &zone, size, tags)), id.to_string()),
        Source::Claim(name) => {
            let id = VolumeId::new("vol-of-the-claim");
            (SourceSeen::Volume(source_volume(id, &zone, size, tags)), format!("the volume of the claim {name}"))
        }
    };
    let mut notes = vec![
        format!("{name} exists, is shared with the pool, and has {size} (--source-size)"),
        "nothing of the pool exists yet".to_owned(),
    ];
    if pool.spec.zones.is_empty() {
        notes.push(format!("the source is in {zone}"));
    }
    notes.push("each zone of the pool has a node".to_owned());
    let agent = (NodeName::new(ANY_NODE), AgentSeen { zone: zone.clone(), free_slots: 1, publishes: true, is_cordoned: false });
    let is_live = wanted.live.is_some();
    if let (Some(publish), Source::Claim(claim)) = (&mut wanted.live, &wanted.source) {
        publish.attached_by = Some("the driver of the claim".to_owned());
        notes.push(format!("no pod has the claim {claim} mounted"));
    } else if is_live {
        notes.push(format!("an agent in {zone} has room for the source"));
    }
    let zones_with_nodes: BTreeSet<Zone> = if wanted.zones.is_empty() { [zone].into() } else { wanted.zones.iter().cloned().collect() };
    let seen = PoolSeen {
        observed: now,
        source_load: SourceLoad::default(),
        source_free: None,
        pool: wanted,
        source,
        snapshots: Vec::new(),
        volumes: Vec::new(),
        source_object: None,
        agents: is_live.then_some(agent).into_iter().collect(),
        instances: BTreeMap::new(),
        nodes: [NodeName::new(ANY_NODE)].into(),
        zones_with_nodes,
    };
    if pool.namespace().is_none() {
        notes.push("the pool is in the namespace default".to_owned());
    }
    Ok((seen, notes))
}

fn source_volume(id: VolumeId, zone: &Zone, size: GiB, tags: crate::domain::cloud::Tags) -> CloudVolume {
    CloudVolume {
        id,
        state: VolumeState::InUse,
        zone: zone.clone(),
        size,
        settings: VolumeSettings::default(),
        snapshot: None,
        tags,
        attachments: Vec::new(),
    }
}

fn source_snapshot(id: crate::domain::SnapshotId, size: GiB, tags: crate::domain::cloud::Tags, now: Timestamp) -> CloudSnapshot {
    CloudSnapshot { id, state: SnapshotState::Completed, volume: VolumeId::new(""), size, progress_percent: 100, started: Some(now), tags }
}
