//! What must not grow with the account: the work that one call makes. Counted, not timed.

use std::collections::BTreeSet;

use ec2_sim::world::{Action, Effect, Profile};

use super::{by_id, seen};
use crate::account::{Account, gp3};

#[test]
fn a_call_says_only_what_it_changed() {
    let mut account = Account::new(Profile::Instant);
    for _ in 0..50 {
        account.volume();
    }
    account.world.track_changes();
    let volume = account.create(gp3(1)).unwrap();
    let text = serde_json::to_string(&account.world.take_changes()).unwrap();
    assert_eq!(text.matches("\"created\"").count(), 1, "{text}");
    assert!(text.contains(&volume));
    assert_eq!(seen(&mut account, by_id(&volume)), [volume]);
    assert!(account.world.take_changes().is_empty(), "a read changes nothing");
}

#[test]
fn a_call_that_could_not_be_stored_is_undone_alone() {
    let mut account = Account::new(Profile::Instant);
    let (kept, deleted) = (account.volume(), account.volume());
    account.world.track_changes();
    let before = account.world.volumes().clone();
    account.call(Action::DeleteVolume(deleted)).unwrap();
    account.world.undo_call();
    assert_eq!(account.world.volumes(), &before);
    account.world.undo_call();
    assert_eq!(account.world.volumes(), &before, "only the last call can be undone, and only once");
    assert_eq!(account.code(Action::DeleteVolume(kept)), "ok");
}

#[test]
fn changes_told_one_by_one_make_the_same_world() {
    let mut account = Account::new(Profile::Fast);
    let start = serde_json::to_string(&account.world).unwrap();
    let mut follower: ec2_sim::World = serde_json::from_str(&start).unwrap();
    account.world.track_changes();
    let mut ids = Vec::new();
    for round in 0..20 {
        ids.push(account.create(gp3(1)).unwrap());
        account.pass(200);
        if round % 3 == 2 {
            account.call(Action::DeleteVolume(ids.remove(0))).unwrap();
        }
        follower.patch(account.world.take_changes());
        assert_eq!(follower, account.world, "round {round}");
    }
    let shown: BTreeSet<&String> = follower.volumes().keys().collect();
    assert!(ids.iter().all(|id| shown.contains(id)));
}

#[test]
fn many_deletions_at_once_are_owed_once_each() {
    let mut account = Account::new(Profile::Instant);
    let ids: Vec<String> = (0..200).map(|_| account.create(gp3(1)).unwrap()).collect();
    account.pass(1);
    for id in &ids {
        account.call(Action::DeleteVolume(id.clone())).unwrap();
    }
    let owed = account.world.advance(account.now);
    let volumes: BTreeSet<&str> = owed.iter().map(Effect::subject).collect();
    assert_eq!((owed.len(), volumes.len()), (200, 200));
    account.pass(1);
    assert!(account.world.volumes().is_empty());
    assert_eq!(account.world.next_due(), None);
}
