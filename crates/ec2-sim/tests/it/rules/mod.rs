//! The rules of EC2, one file a subject: each call, each limit, each thing that goes wrong.

mod attaching;
mod auditing;
mod consistency;
mod copying;
mod determinism;
mod fast_restores;
mod faults;
mod modifying;
mod quotas;
mod rates;
mod refusals;
mod scale;
mod snapshots;
mod tokens;

use ec2_sim::world::{Action, CopyVolumes, Describe, Filter, ModifyVolume, Reply, Volume};

use crate::account::Account;

fn copy_of(volume_id: &str) -> CopyVolumes {
    CopyVolumes { source_volume_id: volume_id.to_owned(), volume_type: Some("gp3".to_owned()), ..CopyVolumes::default() }
}

fn copy(account: &mut Account, request: CopyVolumes) -> Volume {
    match account.call(Action::CopyVolumes(request)).unwrap() {
        Reply::CopiedVolumes(mut volumes) => volumes.remove(0),
        other => panic!("not a copy: {other:?}"),
    }
}

fn grow(volume_id: &str, size_gib: i64) -> ModifyVolume {
    ModifyVolume { volume_id: volume_id.to_owned(), size_gib: Some(size_gib), ..ModifyVolume::default() }
}

fn filtered(name: &str, value: &str) -> Describe {
    Describe { filters: vec![Filter { name: name.to_owned(), values: vec![value.to_owned()] }], ..Describe::default() }
}

fn by_id(id: &str) -> Describe {
    Describe { ids: vec![id.to_owned()], ..Describe::default() }
}

/// The ids that a describe of volumes shows.
fn seen(account: &mut Account, describe: Describe) -> Vec<String> {
    match account.call(Action::DescribeVolumes(describe)).unwrap() {
        Reply::Volumes(page) => page.items.into_iter().map(|volume| volume.id).collect(),
        other => panic!("not volumes: {other:?}"),
    }
}
