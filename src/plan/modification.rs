//! Changes of volumes in place, after a change of the template: type, speed, tags, and growth.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::domain::cloud::Tags;
use crate::domain::{CloudVolume, ModificationState, ObjectKey, Phase, VolumeSettings};

use super::action::{Action, VolumeChange};
use super::observation::{Modification, PoolSeen, VolumeSeen};
use super::source::{Judged, Usable};
use super::volumes::{Life, Lives};
use super::{VISIBILITY, age};

/// The shortest time between two changes of a volume. Source: Amazon EBS user guide, "Request modifications to your EBS
/// volumes": four in 24 hours, each after the last is completed; six hours keep both at any time.
const COOL_DOWN: SignedDuration = SignedDuration::from_hours(6);
/// What EC2 gives a gp3 volume for which nothing is said. Source: Amazon EBS user guide, "General Purpose SSD volumes".
const GP3_IOPS: u32 = 3000;
const GP3_THROUGHPUT: u32 = 125;

/// One step for each volume that differs from the template and has no other step in this plan.
///
/// Type, speed and tags of claimed volumes change under their pods, which EC2 supports. Size does not: a claim keeps
/// what it got, and its volume grows when it is free again.
pub(super) fn plan(seen: &PoolSeen, source: &Judged, lives: &Lives<'_>, now: Timestamp, actions: &mut Vec<Action>) {
    let Ok(usable) = source else { return };
    let wanted = complete(&seen.pool.template.settings);
    let busy: BTreeSet<&ObjectKey> = actions.iter().filter_map(Action::volume).collect();
    let of_volume = |life: &Life<'_>| {
        let (volume, phase) = (life.volume, life.phase());
        let is_settled = matches!(phase, Phase::Ready | Phase::Claimed) && !volume.deleting && !volume.retired;
        let cloud = volume.cloud.as_ref().filter(|_| is_settled && !busy.contains(&volume.key))?;
        step((seen, usable, &wanted), (volume, cloud, phase), now)
    };
    let steps: Vec<Action> = lives.iter().filter_map(of_volume).collect();
    actions.extend(steps);
}

fn step(
    (seen, usable, wanted): (&PoolSeen, &Usable, &VolumeSettings),
    (volume, cloud, phase): (&VolumeSeen, &CloudVolume, Phase),
    now: Timestamp,
) -> Option<Action> {
    let key = || volume.key.clone();
    let tags = missing_tags(&seen.pool.template.tags, &cloud.tags);
    if !tags.is_empty() {
        return Some(Action::TagVolume { key: key(), volume: cloud.id.clone(), tags });
    }
    let is_free = phase == Phase::Ready;
    if is_free && cloud.size > volume.size {
        return Some(Action::RecordSize { key: key(), resource_version: volume.resource_version.clone(), size: cloud.size });
    }
    let size = if is_free { usable.copy_size.max(cloud.size) } else { cloud.size };
    let differs = size > cloud.size || !is_as_wanted(wanted, &cloud.settings);
    let may_change = volume.recorded.modification.as_ref().is_none_or(|last| is_over(last, seen.observed, now));
    let change = || VolumeChange { size, settings: wanted.clone() };
    (differs && may_change).then(|| Action::ModifyVolume { key: key(), volume: cloud.id.clone(), change: change() })
}

fn missing_tags(wanted: &Tags, found: &Tags) -> Tags {
    wanted.iter().filter(|(key, value)| found.get(*key) != Some(value)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The settings with what EC2 gives by default, so that a value that is taken out of the template goes back to that.
fn complete(wanted: &VolumeSettings) -> VolumeSettings {
    let is_gp3 = wanted.volume_type == "gp3";
    VolumeSettings {
        volume_type: wanted.volume_type.clone(),
        iops: wanted.iops.or(is_gp3.then_some(GP3_IOPS)),
        throughput: wanted.throughput.or(is_gp3.then_some(GP3_THROUGHPUT)),
    }
}

/// Whether a volume has what is wanted; what EC2 computes by itself, as the IOPS of gp2, is not compared.
fn is_as_wanted(wanted: &VolumeSettings, found: &VolumeSettings) -> bool {
    let has = |wanted: Option<u32>, found: Option<u32>| wanted.is_none() || found.is_none() || wanted == found;
    // What EC2 does not tell is unknown, not different.
    let is_type = found.volume_type.is_empty() || wanted.volume_type == found.volume_type;
    is_type && has(wanted.iops, found.iops) && has(wanted.throughput, found.throughput)
}

/// Whether EC2 takes another change: the last one has ended and is long enough ago, or never showed up.
fn is_over(last: &Modification, observed: Timestamp, now: Timestamp) -> bool {
    match last.state {
        Some(ModificationState::Modifying | ModificationState::Optimizing) => false,
        Some(ModificationState::Completed | ModificationState::Failed) => age(now, last.requested) >= COOL_DOWN,
        None => last.refusal.is_some() || age(observed, last.requested) >= VISIBILITY,
    }
}
