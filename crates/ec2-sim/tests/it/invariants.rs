//! Random calls, random time and a data plane that dawdles: what must hold all the same.

use std::collections::BTreeSet;

use ec2_sim::world::{
    Action, AttachVolume, Call, CreateSnapshot, CreateVolume, DetachVolume, Effect, Profile, RunInstances, Settings, World,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

/// One step; the numbers pick among what there is.
#[derive(Debug, Clone)]
enum Step {
    Run,
    Create {
        from_snapshot: bool,
    },
    Attach(usize, usize, u8),
    Detach(usize, bool),
    Delete(usize),
    Snapshot(usize),
    DeleteSnapshot(usize),
    Terminate(usize),
    Wait(i64),
    /// Report the outcome of one owed effect.
    Report(usize, Outcome),
    Restart,
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Done,
    Busy,
    Failed,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![8 => Just(Outcome::Done), 2 => Just(Outcome::Busy), 1 => Just(Outcome::Failed)];
    prop_oneof![
        1 => Just(Step::Run),
        3 => any::<bool>().prop_map(|from_snapshot| Step::Create { from_snapshot }),
        5 => (any::<usize>(), any::<usize>(), 0..4_u8).prop_map(|(v, i, d)| Step::Attach(v, i, d)),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(v, force)| Step::Detach(v, force)),
        2 => any::<usize>().prop_map(Step::Delete),
        2 => any::<usize>().prop_map(Step::Snapshot),
        1 => any::<usize>().prop_map(Step::DeleteSnapshot),
        1 => any::<usize>().prop_map(Step::Terminate),
        6 => (0..20_000_i64).prop_map(Step::Wait),
        12 => (any::<usize>(), outcome).prop_map(|(n, o)| Step::Report(n, o)),
        1 => Just(Step::Restart),
    ]
}

fn pick<'a>(keys: impl Iterator<Item = &'a String>, n: usize) -> Option<String> {
    let keys: Vec<&String> = keys.collect();
    keys.get(n.checked_rem(keys.len())?).map(|id| (*id).clone())
}

/// The call that a step stands for, if there is anything to call it on.
fn action(world: &World, step: &Step) -> Option<Action> {
    let volume = |n: usize| pick(world.volumes().keys(), n);
    let instance = |n: usize| pick(world.instances().keys(), n);
    Some(match step {
        Step::Run => Action::RunInstances(RunInstances { min_count: 1, max_count: 1, ..RunInstances::default() }),
        Step::Create { from_snapshot } => Action::CreateVolume(CreateVolume {
            size_gib: Some(1),
            zone: Some("us-east-1a".to_owned()),
            snapshot_id: if *from_snapshot { pick(world.snapshots().keys(), 0) } else { None },
            ..CreateVolume::default()
        }),
        Step::Attach(v, i, device) => Action::AttachVolume(AttachVolume {
            volume_id: volume(*v)?,
            instance_id: instance(*i)?,
            device: format!("/dev/sd{}", char::from(b'f' + device)),
        }),
        Step::Detach(v, force) => Action::DetachVolume(DetachVolume { volume_id: volume(*v)?, force: *force, ..DetachVolume::default() }),
        Step::Delete(v) => Action::DeleteVolume(volume(*v)?),
        Step::Snapshot(v) => Action::CreateSnapshot(CreateSnapshot { volume_id: volume(*v)?, ..CreateSnapshot::default() }),
        Step::DeleteSnapshot(n) => Action::DeleteSnapshot(pick(world.snapshots().keys(), *n)?),
        Step::Terminate(i) => Action::TerminateInstances(vec![instance(*i)?]),
        Step::Wait(_) | Step::Report(..) | Step::Restart => return None,
    })
}

/// What the data plane has done so far, as a real one would remember it.
#[derive(Debug, Default)]
struct Plane {
    /// Volume and instance of each device shown.
    shown: BTreeSet<(String, String)>,
    images: BTreeSet<String>,
}

impl Plane {
    /// Carries an effect out and checks that it is safe to.
    fn perform(&mut self, effect: &Effect) {
        match effect {
            Effect::FillVolume { volume_id, snapshot_id, .. } => {
                if let Some(snapshot_id) = snapshot_id {
                    assert!(self.images.contains(snapshot_id), "{volume_id} is filled from a removed snapshot");
                }
                self.images.insert(volume_id.clone());
            }
            Effect::CopyVolume { volume_id, source_volume_id, .. } => {
                assert!(self.images.contains(source_volume_id), "{volume_id} is copied from a removed volume");
                self.images.insert(volume_id.clone());
            }
            Effect::ResizeVolume { volume_id, .. } => {
                assert!(self.images.contains(volume_id), "{volume_id} is resized without an image");
            }
            Effect::CopySnapshot { snapshot_id, source_snapshot_id } => {
                assert!(self.images.contains(source_snapshot_id), "{snapshot_id} is copied from a removed snapshot");
                self.images.insert(snapshot_id.clone());
            }
            Effect::CloneVolume { snapshot_id, volume_id } => {
                assert!(self.images.contains(volume_id), "{snapshot_id} is cloned from a removed volume");
                self.images.insert(snapshot_id.clone());
            }
            Effect::AttachDevice { volume_id, instance_id, .. } => {
                assert!(self.images.contains(volume_id), "{volume_id} is attached without an image");
                self.shown.insert((volume_id.clone(), instance_id.clone()));
                let devices = self.shown.iter().filter(|(v, _)| v == volume_id).count();
                assert_eq!(devices, 1, "{volume_id} is shown to two instances");
            }
            Effect::DetachDevice { volume_id, instance_id, .. } => {
                self.shown.remove(&(volume_id.clone(), instance_id.clone()));
            }
            Effect::DeleteVolume { volume_id } => {
                assert!(!self.shown.iter().any(|(v, _)| v == volume_id), "{volume_id} is removed while shown");
                self.images.remove(volume_id);
            }
            Effect::DeleteSnapshot { snapshot_id } => {
                self.images.remove(snapshot_id);
            }
            Effect::PlaceInstance { .. } => {}
            Effect::RemoveInstance { instance_id } => {
                assert!(!self.shown.iter().any(|(_, i)| i == instance_id), "{instance_id} is removed with devices");
            }
        }
    }
}

fn check(world: &World, plane: &Plane) {
    let audit = ec2_sim::audit(world);
    assert!(audit.is_clean(), "{audit}");
    for volume in world.volumes().values() {
        let shown = plane.shown.iter().any(|(v, _)| *v == volume.id);
        match volume.status() {
            "available" => assert!(!shown, "{} is available with a device", volume.id),
            "in-use" => {}
            other => assert!(volume.attachment.is_none(), "{} is {other} and attached", volume.id),
        }
        if volume.attachment.as_ref().is_some_and(|a| a.status() == "attached") {
            assert!(shown, "{} is attached without a device", volume.id);
        }
    }
    for snapshot in world.snapshots().values().filter(|s| s.status() == "completed") {
        assert!(plane.images.contains(&snapshot.id), "{} is completed without an image", snapshot.id);
    }
}

fn report(world: &mut World, plane: &mut Plane, effect: &Effect, outcome: Outcome) {
    match outcome {
        Outcome::Done => {
            plane.perform(effect);
            world.confirm(effect);
        }
        Outcome::Busy => world.busy(effect),
        Outcome::Failed => world.fail(effect),
    }
}

proptest! {
    #[test]
    fn whatever_is_called_no_volume_is_attached_twice_or_loses_its_image(steps in prop::collection::vec(step(), 1..120)) {
        let settings = Settings { region: "us-east-1".to_owned(), profile: Profile::Fast, seed: 1 };
        let mut world = World::new(settings);
        let mut plane = Plane::default();
        let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for step in steps {
            match &step {
                Step::Wait(millis) => now += SignedDuration::from_millis(*millis),
                Step::Restart => {
                    let text = serde_json::to_string(&world).unwrap();
                    world = serde_json::from_str(&text).unwrap();
                    world.distrust_devices();
                }
                Step::Report(n, outcome) => {
                    let owed = world.advance(now);
                    if let Some(place) = n.checked_rem(owed.len()) {
                        report(&mut world, &mut plane, &owed[place], *outcome);
                    }
                }
                call => {
                    if let Some(action) = action(&world, call) {
                        // Refusals are fine: that nothing wrong is accepted is what counts.
                        let _ = world.apply(now, &Call::from(action));
                    }
                }
            }
            world.advance(now);
            check(&world, &plane);
        }
        // In the end everything settles.
        now += SignedDuration::from_hours(1);
        for _ in 0..1_000 {
            let owed = world.advance(now);
            let Some(effect) = owed.first() else { break };
            report(&mut world, &mut plane, effect, Outcome::Done);
        }
        prop_assert_eq!(world.advance(now), Vec::new());
        prop_assert_eq!(world.next_due(), None);
        check(&world, &plane);
    }
}
