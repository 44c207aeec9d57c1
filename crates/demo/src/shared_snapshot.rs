//! An account that holds one completed snapshot, made in memory: with the latencies of AWS that takes minutes.

use anyhow::{Result, bail};
use ec2_sim::world::{Action, Call, CreateSnapshot, CreateVolume, Reply, Settings, Tag, TagSpecification};
use ec2_sim::{Profile, World};
use jiff::{SignedDuration, Timestamp};

use crate::account::REGION;
use crate::control_plane::ZONE;

/// The size of the snapshot.
const SIZE_GIB: i64 = 1;
/// Longer than anything takes in any profile.
const LONG: SignedDuration = SignedDuration::from_hours(2);

/// The account as it is at `now`, and the id of a snapshot that is shared with every pool.
pub fn with_snapshot(profile: Profile, now: Timestamp) -> Result<(World, String)> {
    let mut world = World::new(Settings { region: REGION.to_owned(), profile, seed: 1 });
    let made = now - LONG - LONG;
    let request = CreateVolume { size_gib: Some(SIZE_GIB), zone: Some(ZONE.to_owned()), ..CreateVolume::default() };
    let Reply::Volume(source) = apply(&mut world, made, Action::CreateVolume(request))? else { bail!("CreateVolume gave no volume") };
    world.settle(now - LONG);
    let consent = Tag { key: "volumedispatcher.io/source".to_owned(), value: "*".to_owned() };
    let specifications = vec![TagSpecification { resource_type: "snapshot".to_owned(), tags: vec![consent] }];
    let request = CreateSnapshot { volume_id: source.id, tag_specifications: specifications, ..CreateSnapshot::default() };
    let Reply::Snapshot(snapshot) = apply(&mut world, now - LONG, Action::CreateSnapshot(request))? else {
        bail!("CreateSnapshot gave no snapshot")
    };
    world.settle(now);
    Ok((world, snapshot.id.clone()))
}

/// Makes a call of the account at a time.
pub fn apply(world: &mut World, now: Timestamp, action: Action) -> Result<Reply> {
    world.apply(now, &Call::from(action)).map_err(|error| anyhow::anyhow!("the simulator refused a call: {error:?}"))
}
