//! What time does to a world, and what the data plane still owes it.

use jiff::Timestamp;

use super::index::kind_of;
use crate::world::model::{Attachment, AttachmentPhase, Hold, InstancePhase, ModificationPhase, SnapshotPhase, Volume, VolumePhase};
use crate::world::rules::fault::Failure;
use crate::world::{Effect, InstanceType, Kind, World};

impl World {
    /// Makes every transition that is due at `now`, and returns what the data plane owes.
    ///
    /// The same effects come back at each call until [`World::confirm`] or
    /// [`World::fail`] settles them.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Effect> {
        self.catch_up(now);
        self.effects(now)
    }

    /// Makes every transition that is due at `now`.
    pub(in crate::world) fn catch_up(&mut self, now: Timestamp) {
        self.clock = self.clock.max(now);
        self.strike(now);
        self.forget_past(now);
        loop {
            let changed = self.index.due(now).iter().fold(false, |changed, id| self.transition(id, now) | changed);
            self.keep(now);
            if !changed {
                break;
            }
        }
        for id in self.index.expired(now) {
            match kind_of(&id) {
                Some(Kind::Instance) => self.instances.remove(&id),
                _ => self.renew_or_forget_token(&id, now),
            }
        }
        self.keep(now);
    }

    /// The transition of one row, if it has one; whether it had.
    fn transition(&mut self, id: &str, now: Timestamp) -> bool {
        match kind_of(id) {
            Some(Kind::Volume) => self.advance_volume(id, now),
            Some(Kind::Snapshot) => self.advance_snapshot(id, now),
            Some(Kind::Instance) => self.advance_instance(id, now),
            None => false,
        }
    }

    fn advance_volume(&mut self, id: &str, now: Timestamp) -> bool {
        let Some(volume) = self.volumes.get(id) else { return false };
        if let VolumePhase::Creating { ready_at, filled: true } = volume.phase
            && ready_at <= now
        {
            self.finish_creation(id, now);
            return true;
        }
        if let Some(Attachment { phase: AttachmentPhase::Detaching { gone_at, hidden: true, .. }, .. }) = volume.attachment
            && gone_at <= now
        {
            let freed = self.volumes.get_mut(id).and_then(|volume| {
                // Somebody else wants it deleted as soon as it is free.
                if volume.doom.take().is_some() {
                    volume.phase = VolumePhase::Deleting { gone_at: now };
                }
                volume.attachment.take()
            });
            if let Some(attachment) = freed {
                self.release_slot(&attachment.instance_id, now);
            }
            return true;
        }
        let modifying = volume.modification.as_ref().map(|m| (m.phase.clone(), m.usable_at, m.done_at));
        match modifying {
            Some((ModificationPhase::Modifying { resized: true }, usable_at, _)) if usable_at <= now => self.apply_modification(id),
            Some((ModificationPhase::Optimizing, _, done_at)) if done_at <= now => self.set_modification(id, ModificationPhase::Completed),
            _ => return false,
        }
        true
    }

    fn finish_creation(&mut self, id: &str, now: Timestamp) {
        let Some(volume) = self.volumes.get_mut(id) else { return };
        match volume.doom.take() {
            None => volume.phase = VolumePhase::Available,
            Some(Failure::Error) => volume.phase = VolumePhase::Error,
            Some(Failure::Vanish) => volume.phase = VolumePhase::Deleting { gone_at: now },
        }
    }

    fn set_modification(&mut self, id: &str, phase: ModificationPhase) {
        if let Some(modification) = self.volumes.get_mut(id).and_then(|volume| volume.modification.as_mut()) {
            modification.phase = phase;
        }
    }

    fn advance_snapshot(&mut self, id: &str, now: Timestamp) -> bool {
        let Some(SnapshotPhase::Pending { ready_at, cloned: true }) = self.snapshots.get(id).map(|s| s.phase.clone()) else {
            return false;
        };
        if ready_at > now {
            return false;
        }
        if let Some(snapshot) = self.snapshots.get_mut(id) {
            snapshot.phase = if snapshot.doomed { SnapshotPhase::Error } else { SnapshotPhase::Completed { at: ready_at } };
            // The time of a lock begins when the snapshot is complete.
            if let Some(lock) = &mut snapshot.lock {
                lock.started.get_or_insert(ready_at);
            }
        }
        true
    }

    fn advance_instance(&mut self, id: &str, now: Timestamp) -> bool {
        let next = match self.instances.get(id).map(|instance| &instance.phase) {
            Some(InstancePhase::Pending { ready_at }) if *ready_at <= now => InstancePhase::Running,
            Some(InstancePhase::Stopping { done_at }) if *done_at <= now => InstancePhase::Stopped,
            Some(InstancePhase::ShuttingDown { done_at }) if *done_at <= now => InstancePhase::Terminated { at: *done_at },
            _ => return false,
        };
        if let Some(instance) = self.instances.get_mut(id) {
            if matches!(next, InstancePhase::Stopped) {
                instance.held_names.clear();
            }
            instance.phase = next;
        }
        true
    }

    /// What the data plane owes at `now`.
    pub fn effects(&self, now: Timestamp) -> Vec<Effect> {
        self.index.owing(now).filter_map(|id| self.owed_for(id, now)).collect()
    }

    fn owed_for(&self, id: &str, now: Timestamp) -> Option<Effect> {
        match kind_of(id)? {
            Kind::Volume => self.owed_for_volume(self.volumes.get(id)?, now),
            Kind::Snapshot => self.owed_for_snapshot(id),
            Kind::Instance => self.owed_for_instance(id),
        }
    }

    fn owed_for_instance(&self, id: &str) -> Option<Effect> {
        let instance = self.instances.get(id)?;
        let instance_id = id.to_owned();
        let terminated = matches!(instance.phase, InstancePhase::Terminated { .. });
        match (terminated, instance.placed) {
            (false, false) => Some(Effect::PlaceInstance { instance_id }),
            (true, true) if self.index.attached(id).next().is_none() => Some(Effect::RemoveInstance { instance_id }),
            _ => None,
        }
    }

    fn owed_for_snapshot(&self, id: &str) -> Option<Effect> {
        let snapshot = self.snapshots.get(id)?;
        let snapshot_id = id.to_owned();
        match (&snapshot.phase, &snapshot.source_snapshot_id) {
            (SnapshotPhase::Pending { cloned: false, .. }, Some(source)) => {
                Some(Effect::CopySnapshot { snapshot_id, source_snapshot_id: source.clone() })
            }
            (SnapshotPhase::Pending { cloned: false, .. }, None) => {
                Some(Effect::CloneVolume { snapshot_id, volume_id: snapshot.volume_id.clone() })
            }
            (SnapshotPhase::Pending { .. }, _) => None,
            // What is being filled from it still reads the snapshot.
            _ if snapshot.deleted && !self.index.is_being_read(id) => Some(Effect::DeleteSnapshot { snapshot_id }),
            _ => None,
        }
    }

    fn owed_for_volume(&self, volume: &Volume, now: Timestamp) -> Option<Effect> {
        let (volume_id, size_gib) = (volume.id.clone(), volume.size_gib);
        match volume.phase {
            VolumePhase::Creating { filled: false, .. } => Some(match &volume.source_volume_id {
                Some(source) => Effect::CopyVolume { volume_id, size_gib, source_volume_id: source.clone() },
                None => Effect::FillVolume { volume_id, size_gib, snapshot_id: volume.snapshot_id.clone() },
            }),
            // What is being cloned from it still reads the volume.
            VolumePhase::Deleting { gone_at } if gone_at <= now && !self.index.is_being_read(&volume.id) => {
                Some(Effect::DeleteVolume { volume_id })
            }
            VolumePhase::Deleting { .. } => None,
            _ => {
                // One effect at a time: the size first, since a device is made with it.
                let resize = volume.modification.as_ref().filter(|m| m.phase == ModificationPhase::Modifying { resized: false });
                match resize {
                    Some(modification) => Some(Effect::ResizeVolume { volume_id, size_gib: modification.target.size_gib }),
                    None => volume.attachment.as_ref().and_then(|a| a.effect(now, volume_id)),
                }
            }
        }
    }

    /// Gives a slot that has become free to the attachment that has waited longest.
    pub(in crate::world) fn release_slot(&mut self, instance_id: &str, now: Timestamp) {
        let waited = |id: &&str| self.volumes.get(id).and_then(|volume| Some((volume.attachment.as_ref()?.attached, volume.id.clone())));
        let Some(next) = self.index.waiting(instance_id).min_by_key(waited).map(str::to_owned) else { return };
        let holds = |volume: &&Volume| {
            let attachment = volume.attachment.as_ref().filter(|a| a.instance_id == instance_id);
            attachment.is_some_and(|a| !matches!(a.phase, AttachmentPhase::Attaching { hold: Some(Hold::NoSlot), .. }))
        };
        let most = self.instances.get(instance_id).and_then(|instance| {
            let kind = InstanceType::find(&instance.instance_type)?;
            Some(kind.most_volumes(instance.interfaces))
        });
        if most.is_some_and(|most| self.attached_to(instance_id).filter(holds).count() >= most) {
            return;
        }
        let ready = self.ready_at(now, |latencies| latencies.attach);
        if let Some(AttachmentPhase::Attaching { ready_at, hold }) =
            self.volumes.get_mut(&next).and_then(|volume| volume.attachment.as_mut()).map(|attachment| &mut attachment.phase)
            && *hold == Some(Hold::NoSlot)
        {
            *hold = None;
            *ready_at = ready;
        }
    }

    /// When the next transition is due that depends on time alone; none when all is settled.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.index.next_due().into_iter().chain(self.faults.next_strike()).min()
    }
}

impl Attachment {
    /// What the data plane owes this attachment of the volume.
    fn effect(&self, now: Timestamp, volume_id: String) -> Option<Effect> {
        let instance_id = self.instance_id.clone();
        let nvme_index = self.nvme_index;
        match self.phase {
            AttachmentPhase::Attaching { hold: Some(_), .. } => None,
            AttachmentPhase::Attaching { ready_at, .. } if now < ready_at => None,
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
