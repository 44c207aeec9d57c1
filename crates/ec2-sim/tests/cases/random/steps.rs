//! One random step of an account: a call, a fault, time, or a report of the data plane.

use ec2_sim::world::fault::{Calls, Failure, Fault, Retag};
use ec2_sim::world::{
    Action, Bucket, Call, CopySnapshot, CopyVolumes, CreateSnapshots, CreateTags, CreateVolume, Describe, DescribeSnapshots,
    FastSnapshotRestores, ModifyVolume, RunInstances, Tag,
};

use super::dice::Dice;
use crate::account::{Account, attach, detach, gp3, snapshot};

/// What is used when there is nothing to choose from.
const NOTHING: [&str; 3] = ["vol-0123456789abcdef0", "snap-0123456789abcdef0", "i-0123456789abcdef0"];
const ACTIONS: [&str; 7] = ["*", "CreateVolume", "AttachVolume", "DetachVolume", "CreateSnapshot", "Describe*", "ModifyVolume"];

/// Does something, and tells what and with which outcome.
pub(crate) fn step(account: &mut Account, dice: &mut Dice) -> String {
    match dice.below(20) {
        0..12 => {
            let call = Call { action: action(account, dice), dry_run: dice.chance(15) };
            let delivery = account.world.deliver(&call);
            let answers: Vec<_> = (0..delivery.copies).map(|_| account.world.apply(account.now, &call)).collect();
            format!("{call:?} -> {delivery:?} {answers:?}")
        }
        12 => {
            let fault = fault(account, dice);
            let answer = account.world.inject(account.now, fault.clone());
            format!("{fault:?} -> {answer:?}")
        }
        13 => format!("withdraw -> {}", account.world.withdraw(dice.roll() % 8)),
        14..17 => {
            let owed = account.wait(i64::try_from(dice.below(60_000)).unwrap());
            format!("wait -> {owed:?}")
        }
        17 => {
            let owed = account.wait(0);
            let Some(effect) = owed.get(dice.below(owed.len())) else { return "nothing is owed".to_owned() };
            match dice.below(4) {
                0 => account.world.busy(effect),
                1 => account.world.fail(effect),
                _ => account.world.confirm(effect),
            }
            format!("report of {effect:?}")
        }
        _ => {
            account.pass(i64::try_from(dice.below(60_000)).unwrap());
            "pass".to_owned()
        }
    }
}

struct Chosen {
    volume: String,
    snapshot: String,
    instance: String,
}

fn choose(account: &Account, dice: &mut Dice) -> Chosen {
    let [volume, snapshot, instance] = NOTHING.map(str::to_owned);
    Chosen {
        volume: dice.pick(account.world.volumes().keys()).unwrap_or(volume),
        snapshot: dice.pick(account.world.snapshots().keys()).unwrap_or(snapshot),
        instance: dice.pick(account.world.instances().keys()).unwrap_or(instance),
    }
}

fn action(account: &Account, dice: &mut Dice) -> Action {
    let Chosen { volume, snapshot: taken, instance } = choose(account, dice);
    let zone = Some(["us-east-1a", "us-east-1b"][dice.below(2)].to_owned());
    let client_token = dice.chance(3).then(|| format!("token-{}", dice.below(5)));
    let device = format!("/dev/xvdb{}", char::from(b'a' + u8::try_from(dice.below(6)).unwrap()));
    match dice.below(24) {
        0 => Action::RunInstances(RunInstances { min_count: 1, max_count: 1, zone, client_token, ..RunInstances::default() }),
        1..4 => Action::CreateVolume(CreateVolume { zone, client_token, ..gp3() }),
        4 => Action::CreateVolume(CreateVolume { zone, snapshot_id: Some(taken), size_gib: None, ..gp3() }),
        5..9 => attach(&volume, &instance, &device),
        9..12 => detach(&volume, dice.chance(4)),
        12 => Action::DeleteVolume(volume),
        13 => snapshot(&volume, Vec::new()),
        14 => Action::DeleteSnapshot(taken),
        15 => Action::CopyVolumes(CopyVolumes { source_volume_id: volume, client_token, ..CopyVolumes::default() }),
        16 => Action::ModifyVolume(ModifyVolume { volume_id: volume, size_gib: Some(2), ..ModifyVolume::default() }),
        17 => Action::CreateSnapshots(CreateSnapshots { instance_id: instance, ..CreateSnapshots::default() }),
        18 => Action::CreateTags(CreateTags { resources: vec![volume, taken], tags: vec![Tag { key: "a".to_owned(), value: device }] }),
        19 => Action::CopySnapshot(CopySnapshot {
            source_region: "us-east-1".to_owned(),
            source_snapshot_id: taken,
            ..CopySnapshot::default()
        }),
        20 => fast_restore(taken, dice),
        21 => on_instances(vec![instance], dice),
        _ => describe(volume, dice),
    }
}

fn fast_restore(snapshot: String, dice: &mut Dice) -> Action {
    let zones = vec!["us-east-1a".to_owned()];
    let request = FastSnapshotRestores { snapshot_ids: vec![snapshot], zones, ..FastSnapshotRestores::default() };
    if dice.chance(2) { Action::EnableFastSnapshotRestores(request) } else { Action::DisableFastSnapshotRestores(request) }
}

fn on_instances(ids: Vec<String>, dice: &mut Dice) -> Action {
    match dice.below(3) {
        0 => Action::StopInstances(ids),
        1 => Action::StartInstances(ids),
        _ => Action::TerminateInstances(ids),
    }
}

fn describe(id: String, dice: &mut Dice) -> Action {
    let ids = if dice.chance(2) { vec![id] } else { Vec::new() };
    let describe = Describe { ids, ..Describe::default() };
    match dice.below(5) {
        0 => Action::DescribeSnapshots(DescribeSnapshots::default()),
        1 => Action::DescribeInstances(Describe::default()),
        2 => Action::DescribeVolumeStatus(describe),
        3 => Action::DescribeVolumesModifications(describe),
        _ => Action::DescribeVolumes(describe),
    }
}

fn fault(account: &Account, dice: &mut Dice) -> Fault {
    let Chosen { volume, snapshot, instance } = choose(account, dice);
    let calls = Calls { action: Some(ACTIONS[dice.below(ACTIONS.len())].to_owned()), resource: None };
    let times = Some(1 + u32::try_from(dice.below(3)).unwrap());
    let millis = u64::try_from(dice.below(30_000)).unwrap();
    match dice.below(17) {
        0 => Fault::Error { calls, times, code: "InternalError".to_owned(), message: None },
        1 => Fault::ReplyLost { calls, times },
        2 => Fault::RequestDuplicated { calls, times },
        3 => Fault::StaleReads { calls, times, millis, every: None },
        4 => Fault::VolumeFails { calls, times, failure: if dice.chance(2) { Failure::Error } else { Failure::Vanish } },
        5 => Fault::SnapshotFails { calls, times },
        6 => Fault::ModificationFails { calls, times },
        7 => Fault::AttachmentSticks { calls, times },
        8 => Fault::NoCapacity { zone: None, volume_type: None, times },
        9 => Fault::Throttle { action: "CreateVolume".to_owned(), bucket: Bucket::new(2, 1) },
        10 => Fault::InstanceDies { instance_id: instance },
        11 => Fault::InstanceStops { instance_id: instance },
        12 => Fault::InstanceReturns { instance_id: instance },
        13 => Fault::VolumeLost { volume_id: volume },
        14 => Fault::ForeignDetach { volume_id: volume, force: dice.chance(2) },
        15 => Fault::ForeignDelete { resource_id: if dice.chance(2) { volume } else { snapshot } },
        _ => Fault::ForeignRetag { resource_id: volume, tags: vec![Retag { key: "a".to_owned(), value: None }] },
    }
}
