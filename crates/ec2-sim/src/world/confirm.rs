//! How the data plane reports back: done, busy, failed.

use jiff::Timestamp;

use super::model::{AttachmentPhase, SnapshotPhase, VolumePhase};
use super::{Attachment, Effect, World};

impl World {
    /// The data plane has carried this effect out.
    ///
    /// A report that no longer fits the state (because a later call changed
    /// it) changes nothing that the state does not ask for.
    pub fn confirm(&mut self, effect: &Effect) {
        match effect {
            Effect::FillVolume { volume_id, .. } => {
                if let Some(volume) = self.volumes.get_mut(volume_id)
                    && let VolumePhase::Creating { filled, .. } = &mut volume.phase
                {
                    *filled = true;
                }
            }
            Effect::CloneVolume { snapshot_id, .. } => {
                if let Some(snapshot) = self.snapshots.get_mut(snapshot_id)
                    && let SnapshotPhase::Pending { cloned, .. } = &mut snapshot.phase
                {
                    *cloned = true;
                }
            }
            Effect::AttachDevice { .. } => {
                if let Some(attachment) = self.attachment_of(effect)
                    && !matches!(attachment.phase, AttachmentPhase::Detaching { .. })
                {
                    attachment.phase = AttachmentPhase::Attached { shown: true };
                }
            }
            Effect::DetachDevice { .. } => {
                if let Some(attachment) = self.attachment_of(effect)
                    && let AttachmentPhase::Detaching { hidden, busy, .. } = &mut attachment.phase
                {
                    *hidden = true;
                    *busy = false;
                }
            }
            Effect::DeleteVolume { volume_id } => {
                let gone = |phase: &VolumePhase| matches!(phase, VolumePhase::Deleting { .. });
                if self.volumes.get(volume_id).is_some_and(|v| gone(&v.phase)) {
                    self.volumes.remove(volume_id);
                }
            }
            Effect::DeleteSnapshot { snapshot_id } => {
                if self.snapshots.get(snapshot_id).is_some_and(|s| s.deleted) {
                    self.snapshots.remove(snapshot_id);
                }
            }
            Effect::PlaceInstance { instance_id } => self.set_placed(instance_id, true),
            Effect::RemoveInstance { instance_id } => self.set_placed(instance_id, false),
        }
    }

    /// The data plane found the device of a [`Effect::DetachDevice`] in use.
    pub fn busy(&mut self, effect: &Effect) {
        if let Some(attachment) = self.attachment_of(effect)
            && let AttachmentPhase::Detaching { busy, .. } = &mut attachment.phase
        {
            *busy = true;
        }
    }

    /// The data plane cannot carry this effect out.
    ///
    /// A volume or snapshot that cannot be made goes to `error`; anything else
    /// stays owed, as an attachment that hangs in EC2 does.
    pub fn fail(&mut self, effect: &Effect) {
        match effect {
            Effect::FillVolume { volume_id, .. } => {
                if let Some(volume) = self.volumes.get_mut(volume_id) {
                    volume.phase = VolumePhase::Error;
                }
            }
            Effect::CloneVolume { snapshot_id, .. } => {
                if let Some(snapshot) = self.snapshots.get_mut(snapshot_id) {
                    snapshot.phase = SnapshotPhase::Error;
                }
            }
            _ => {}
        }
    }

    /// Advances and confirms everything: for a world without a data plane.
    pub fn settle(&mut self, now: Timestamp) {
        loop {
            let owed = self.advance(now);
            if owed.is_empty() {
                return;
            }
            for effect in &owed {
                self.confirm(effect);
            }
        }
    }

    /// Forgets which devices and folders the data plane shows, so that it is asked to
    /// make them again: after a restart, of the simulator or of the machine.
    pub fn distrust_devices(&mut self) {
        for volume in self.volumes.values_mut() {
            if let Some(attachment) = &mut volume.attachment
                && let AttachmentPhase::Attached { shown } = &mut attachment.phase
            {
                *shown = false;
            }
        }
        for instance in self.instances.values_mut() {
            let terminated = instance.phase.state().1 == "terminated";
            instance.placed = terminated && instance.placed;
        }
    }

    fn attachment_of(&mut self, effect: &Effect) -> Option<&mut Attachment> {
        let (Effect::AttachDevice { volume_id, instance_id, nvme_index } | Effect::DetachDevice { volume_id, instance_id, nvme_index, .. }) =
            effect
        else {
            return None;
        };
        let attachment = self.volumes.get_mut(volume_id)?.attachment.as_mut()?;
        let same = attachment.instance_id == *instance_id && attachment.nvme_index == *nvme_index;
        same.then_some(attachment)
    }

    fn set_placed(&mut self, instance_id: &str, placed: bool) {
        if let Some(instance) = self.instances.get_mut(instance_id) {
            instance.placed = placed;
        }
    }
}
