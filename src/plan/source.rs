//! May the source be copied, and how large must a copy be?

use crate::domain::tags::TAG_SOURCE;
use crate::domain::{GiB, Reason, SnapshotState, VolumeState, Zone};

use super::observation::{PoolSeen, Source, SourceSeen};

/// A source that may be copied, or why not.
pub(super) type Judged = Result<Usable, Blocked>;

/// A source that may be copied.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Usable {
    /// Its id, for display.
    pub id: String,
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

/// Checks existence, consent, state and size, in this order: the first that fails is what the user must fix first.
pub(super) fn judge(seen: &PoolSeen) -> Judged {
    let (field, id) = match &seen.pool.source {
        Source::Volume(id) => ("spec.source.volumeID", id.to_string()),
        Source::Snapshot(id) => ("spec.source.snapshotID", id.to_string()),
    };
    let (tags, size, zone, usable) = match &seen.source {
        SourceSeen::Missing => {
            let message =
                format!("{field}: {id} does not exist in this account and region; check the id, or make a new pool with the right one");
            return Err(Blocked { reason: Reason::SourceNotFound, message });
        }
        SourceSeen::Volume(volume) => {
            let usable = matches!(volume.state, VolumeState::Available | VolumeState::InUse);
            (&volume.tags, volume.size, Some(volume.zone.clone()), usable)
        }
        SourceSeen::Snapshot(snapshot) => (&snapshot.tags, snapshot.size, None, snapshot.state == SnapshotState::Completed),
    };
    let consent = tags.get(TAG_SOURCE).map(String::as_str);
    if consent != Some("*") && consent != Some(&seen.pool.key.to_string()) {
        return Err(Blocked { reason: Reason::SourceNotShared, message: not_shared(field, &id, consent, &seen.pool.key.to_string()) });
    }
    if !usable {
        let message = format!("{field}: {id} is in a state from which EC2 cannot copy; it is used as soon as that ends");
        return Err(Blocked { reason: Reason::SourceNotUsable, message });
    }
    let copy_size = seen.pool.size.unwrap_or(size);
    if copy_size < size {
        let message = format!(
            "spec.template.size: {copy_size} is smaller than the source {id}, which has {size}; use {size} or more, or leave it out"
        );
        return Err(Blocked { reason: Reason::SizeBelowSource, message });
    }
    Ok(Usable { id, zone, source_size: size, copy_size })
}

fn not_shared(field: &str, id: &str, consent: Option<&str>, pool: &str) -> String {
    let has = consent.map_or_else(|| "is missing".to_owned(), |value| format!("is {value:?}"));
    format!(
        "{field}: the tag {TAG_SOURCE} of {id} {has}; its owner allows this pool with: \
         aws ec2 create-tags --resources {id} --tags Key={TAG_SOURCE},Value={pool}"
    )
}
