//! What time does to a world, and what the data plane still owes it.

use jiff::Timestamp;

use super::model::{AttachmentPhase, InstancePhase, SnapshotPhase, VolumePhase};
use super::{Effect, World};

/// How long a terminated instance stays visible, in milliseconds. EC2 says about an hour.
const TERMINATED_VISIBLE_MS: i64 = 3_600_000;

impl World {
    /// Makes every transition that is due at `now`, and returns what the data plane owes.
    ///
    /// The same effects come back at each call until [`World::confirm`] or
    /// [`World::fail`] settles them.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Effect> {
        for volume in self.volumes.values_mut() {
            if let VolumePhase::Creating { ready_at, filled: true } = volume.phase
                && ready_at <= now
            {
                volume.phase = VolumePhase::Available;
            }
            if let Some(attachment) = &mut volume.attachment {
                match attachment.phase {
                    AttachmentPhase::Detaching { gone_at, hidden: true, .. } if gone_at <= now => volume.attachment = None,
                    _ => {}
                }
            }
        }
        for snapshot in self.snapshots.values_mut() {
            if let SnapshotPhase::Pending { ready_at, cloned: true } = snapshot.phase
                && ready_at <= now
            {
                snapshot.phase = SnapshotPhase::Completed { at: ready_at };
            }
        }
        self.advance_instances(now);
        self.forget_tokens(now);
        self.effects(now)
    }

    fn advance_instances(&mut self, now: Timestamp) {
        for instance in self.instances.values_mut() {
            match instance.phase {
                InstancePhase::Pending { ready_at } if ready_at <= now => {
                    instance.phase = InstancePhase::Running;
                }
                InstancePhase::Stopping { done_at } if done_at <= now => {
                    instance.phase = InstancePhase::Stopped;
                }
                InstancePhase::ShuttingDown { done_at } if done_at <= now => {
                    instance.phase = InstancePhase::Terminated { at: done_at };
                }
                _ => {}
            }
        }
        self.instances.retain(|_, instance| {
            let InstancePhase::Terminated { at } = instance.phase else {
                return true;
            };
            instance.placed || now.as_millisecond() - at.as_millisecond() < TERMINATED_VISIBLE_MS
        });
    }

    /// What the data plane owes at `now`.
    pub fn effects(&self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.instance_effects(&mut effects);
        self.snapshot_effects(&mut effects);
        self.volume_effects(now, &mut effects);
        effects
    }

    fn instance_effects(&self, effects: &mut Vec<Effect>) {
        for instance in self.instances.values() {
            let instance_id = instance.id.clone();
            let terminated = matches!(instance.phase, InstancePhase::Terminated { .. });
            if !terminated && !instance.placed {
                effects.push(Effect::PlaceInstance { instance_id });
            } else if terminated && instance.placed && self.attached_to(&instance_id).count() == 0 {
                effects.push(Effect::RemoveInstance { instance_id });
            }
        }
    }

    fn snapshot_effects(&self, effects: &mut Vec<Effect>) {
        for snapshot in self.snapshots.values() {
            let snapshot_id = snapshot.id.clone();
            match snapshot.phase {
                SnapshotPhase::Pending { cloned: false, .. } => {
                    effects.push(Effect::CloneVolume { snapshot_id, volume_id: snapshot.volume_id.clone() });
                }
                SnapshotPhase::Pending { .. } => {}
                // A volume that is being filled still reads the snapshot.
                _ if snapshot.deleted && !self.is_being_restored(&snapshot_id) => {
                    effects.push(Effect::DeleteSnapshot { snapshot_id });
                }
                _ => {}
            }
        }
    }

    fn is_being_restored(&self, snapshot_id: &str) -> bool {
        self.volumes
            .values()
            .any(|v| matches!(v.phase, VolumePhase::Creating { filled: false, .. }) && v.snapshot_id.as_deref() == Some(snapshot_id))
    }

    fn is_being_cloned(&self, volume_id: &str) -> bool {
        self.snapshots.values().any(|s| matches!(s.phase, SnapshotPhase::Pending { cloned: false, .. }) && s.volume_id == volume_id)
    }

    fn volume_effects(&self, now: Timestamp, effects: &mut Vec<Effect>) {
        for volume in self.volumes.values() {
            let volume_id = volume.id.clone();
            match volume.phase {
                VolumePhase::Creating { filled: false, .. } => {
                    effects.push(Effect::FillVolume { volume_id, size_gib: volume.size_gib, snapshot_id: volume.snapshot_id.clone() });
                }
                VolumePhase::Deleting { gone_at } if gone_at <= now => {
                    // A snapshot that is being cloned still reads the volume.
                    if !self.is_being_cloned(&volume_id) {
                        effects.push(Effect::DeleteVolume { volume_id });
                    }
                }
                _ => {
                    let attachment = volume.attachment.as_ref();
                    effects.extend(attachment.and_then(|a| a.effect(now, volume_id)));
                }
            }
        }
    }

    /// When the next transition is due that depends on time alone; none when all is settled.
    pub fn next_due(&self) -> Option<Timestamp> {
        let volumes = self.volumes.values().filter_map(|v| match v.phase {
            VolumePhase::Creating { ready_at, .. } => Some(ready_at),
            VolumePhase::Deleting { gone_at } => Some(gone_at),
            _ => None,
        });
        let attachments = self.volumes.values().filter_map(|v| match v.attachment.as_ref().map(|a| &a.phase) {
            Some(AttachmentPhase::Attaching { ready_at }) => Some(*ready_at),
            Some(AttachmentPhase::Detaching { gone_at, .. }) => Some(*gone_at),
            _ => None,
        });
        let snapshots = self.snapshots.values().filter_map(|s| match s.phase {
            SnapshotPhase::Pending { ready_at, .. } => Some(ready_at),
            _ => None,
        });
        let instances = self.instances.values().filter_map(|i| match i.phase {
            InstancePhase::Pending { ready_at } => Some(ready_at),
            InstancePhase::Stopping { done_at } | InstancePhase::ShuttingDown { done_at } => Some(done_at),
            _ => None,
        });
        volumes.chain(attachments).chain(snapshots).chain(instances).min()
    }
}

impl super::Attachment {
    /// What the data plane owes this attachment of the volume.
    fn effect(&self, now: Timestamp, volume_id: String) -> Option<Effect> {
        let instance_id = self.instance_id.clone();
        let nvme_index = self.nvme_index;
        match self.phase {
            AttachmentPhase::Attaching { ready_at } if now < ready_at => None,
            AttachmentPhase::Attaching { .. } | AttachmentPhase::Attached { shown: false } => {
                Some(Effect::AttachDevice { volume_id, instance_id, nvme_index })
            }
            AttachmentPhase::Detaching { hidden: false, force, .. } => {
                Some(Effect::DetachDevice { volume_id, instance_id, nvme_index, force })
            }
            _ => None,
        }
    }
}
