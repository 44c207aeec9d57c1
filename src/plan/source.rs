//! May the source be copied, and how large must a copy be?

use crate::domain::tags::TAG_SOURCE;
use crate::domain::{CloudVolume, GiB, Reason, SnapshotState, VolumeId, VolumeState, Zone};

use super::observation::{ClaimFault, PoolSeen, Source, SourceSeen};

/// A source that may be copied, or why not.
pub(super) type Judged = Result<Usable, Blocked>;

/// A source that may be copied.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Usable {
    /// Its id, for display.
    pub id: String,
    /// The volume that snapshots are taken of; none for a fixed snapshot.
    pub volume: Option<VolumeId>,
    /// Where it is; none for a snapshot, which is regional.
    pub zone: Option<Zone>,
    /// Its size.
    pub source_size: GiB,
    /// The size that copies get.
    pub copy_size: GiB,
}

/// Why nothing may be copied from it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Blocked {
    /// The reason.
    pub reason: Reason,
    /// The field, what is wrong with it, and the fix.
    pub message: String,
}

impl Blocked {
    fn new(reason: Reason, message: String) -> Self {
        Self { reason, message }
    }
}

/// Checks existence, sameness, consent, state and size, in this order: the first that fails is what the user must fix
/// first.
pub(super) fn judge(seen: &PoolSeen) -> Judged {
    let field = field(&seen.pool.source);
    let (id, volume, size) = match &seen.source {
        SourceSeen::Faulty(fault) => return Err(of_claim(&seen.pool.source, fault)),
        SourceSeen::Missing(id) => {
            let message =
                format!("{field}: {id} does not exist in this account and region; check the id, or make a new pool with the right one");
            return Err(Blocked::new(Reason::SourceNotFound, message));
        }
        SourceSeen::Volume(volume) => (volume.id.to_string(), Some(volume), volume.size),
        SourceSeen::Snapshot(snapshot) => (snapshot.id.to_string(), None, snapshot.size),
    };
    is_the_same(seen, field, &id)?;
    has_consent(seen, field, &id)?;
    if !is_usable(&seen.source) {
        let message = format!("{field}: {id} is in a state from which EC2 cannot copy; it is used as soon as that ends");
        return Err(Blocked::new(Reason::SourceNotUsable, message));
    }
    let copy_size = seen.pool.size.unwrap_or(size);
    if copy_size < size {
        let message = format!(
            "spec.template.size: {copy_size} is smaller than the source {id}, which has {size}; use {size} or more, or leave it out"
        );
        return Err(Blocked::new(Reason::SizeBelowSource, message));
    }
    let zone = volume.map(|volume| volume.zone.clone());
    Ok(Usable { id, volume: volume.map(|volume| volume.id.clone()), zone, source_size: size, copy_size })
}

fn field(source: &Source) -> &'static str {
    match source {
        Source::Volume(_) => "spec.source.volumeID",
        Source::Snapshot(_) => "spec.source.snapshotID",
        Source::Claim(_) => "spec.source.persistentVolumeClaim",
    }
}

/// Why a claim names no EBS volume.
fn of_claim(source: &Source, fault: &ClaimFault) -> Blocked {
    let name = if let Source::Claim(name) = source { name.as_str() } else { "" };
    let (field, claim) = ("spec.source.persistentVolumeClaim.name", format!("the PersistentVolumeClaim {name}"));
    match fault {
        ClaimFault::NotFound => {
            let message = format!("{field}: there is no PersistentVolumeClaim {name} in this namespace; make it, or make a new pool");
            Blocked::new(Reason::SourceNotFound, message)
        }
        ClaimFault::NotBound => {
            let message = format!("{field}: {claim} is not bound to a PersistentVolume yet; a pod that uses it may have to run once");
            Blocked::new(Reason::SourceNotBound, message)
        }
        ClaimFault::Raw => {
            let message = format!(
                "{field}: {claim} has volumeMode Block, and nobody can tell when it is written; use one with volumeMode Filesystem, or set \
                 spec.sync.mode to None"
            );
            Blocked::new(Reason::SourceNotUsable, message)
        }
        ClaimFault::NotEbs(what) => {
            let message = format!(
                "{field}: {claim} is not an EBS volume but {what}; the source must be of the driver ebs.csi.aws.com or volumedispatcher.io"
            );
            Blocked::new(Reason::SourceNotEbs, message)
        }
    }
}

/// A claim that was deleted and made again names another volume; its content is another, and its generations too.
fn is_the_same(seen: &PoolSeen, field: &str, id: &str) -> Result<(), Blocked> {
    match &seen.pool.recorded_source {
        Some(before) if before != id => {
            let message = format!("{field}: it was {before} and is now {id}; the source of a pool cannot change, make a new pool for it");
            Err(Blocked::new(Reason::SourceChanged, message))
        }
        _ => Ok(()),
    }
}

/// Who may use a claim may read what is on it: a claim of the pool's own namespace needs no tag.
fn has_consent(seen: &PoolSeen, field: &str, id: &str) -> Result<(), Blocked> {
    let tags = match &seen.source {
        SourceSeen::Volume(CloudVolume { tags, .. }) => tags,
        SourceSeen::Snapshot(snapshot) => &snapshot.tags,
        SourceSeen::Missing(_) | SourceSeen::Faulty(_) => return Ok(()),
    };
    let (consent, pool) = (tags.get(TAG_SOURCE).map(String::as_str), seen.pool.key.to_string());
    let is_given = consent == Some("*") || consent == Some(&pool) || matches!(seen.pool.source, Source::Claim(_));
    if is_given { Ok(()) } else { Err(Blocked::new(Reason::SourceNotShared, not_shared(field, id, consent, &pool))) }
}

fn is_usable(source: &SourceSeen) -> bool {
    match source {
        SourceSeen::Volume(volume) => matches!(volume.state, VolumeState::Available | VolumeState::InUse),
        SourceSeen::Snapshot(snapshot) => snapshot.state == SnapshotState::Completed,
        SourceSeen::Missing(_) | SourceSeen::Faulty(_) => false,
    }
}

fn not_shared(field: &str, id: &str, consent: Option<&str>, pool: &str) -> String {
    let has = consent.map_or_else(|| "is missing".to_owned(), |value| format!("is {value:?}"));
    format!(
        "{field}: the tag {TAG_SOURCE} of {id} {has}; its owner allows this pool with: \
         aws ec2 create-tags --resources {id} --tags Key={TAG_SOURCE},Value={pool}"
    )
}
