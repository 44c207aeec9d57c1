//! How the data plane reports back: done, busy, failed.

use jiff::Timestamp;

use crate::world::model::{AttachmentPhase, ModificationPhase, SnapshotPhase, Volume, VolumePhase};
use crate::world::{Attachment, Effect, World};

impl World {
    /// The data plane has carried this effect out.
    ///
    /// A report that no longer fits the state (because a later call changed
    /// it) changes nothing that the state does not ask for.
    pub fn confirm(&mut self, effect: &Effect) {
        match effect {
            Effect::FillVolume { volume_id, .. } | Effect::CopyVolume { volume_id, .. } => {
                if let Some(volume) = self.volumes.get_mut(volume_id)
                    && let VolumePhase::Creating { filled, .. } = &mut volume.phase
                {
                    *filled = true;
                }
            }
            Effect::ResizeVolume { volume_id, size_gib } => self.confirm_size(volume_id, *size_gib),
            Effect::CloneVolume { snapshot_id, .. } | Effect::CopySnapshot { snapshot_id, .. } => {
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
            Effect::DetachDevice { .. } => self.confirm_detach(effect),
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
        self.keep_at_last_time();
    }

    fn confirm_size(&mut self, volume_id: &str, size_gib: u32) {
        if let Some(modification) = self.volumes.get_mut(volume_id).and_then(|volume| volume.modification.as_mut())
            && modification.target.size_gib == size_gib
            && let ModificationPhase::Modifying { resized } = &mut modification.phase
        {
            *resized = true;
        }
    }

    fn confirm_detach(&mut self, effect: &Effect) {
        let Some(attachment) = self.attachment_of(effect) else { return };
        let AttachmentPhase::Detaching { hidden, busy, force, .. } = &mut attachment.phase else { return };
        let torn_away = *force && *busy;
        *hidden = true;
        *busy = false;
        let (instance_id, device) = (attachment.instance_id.clone(), attachment.device.clone());
        // The guest never let go of the device, so it still holds the name.
        if torn_away && let Some(instance) = self.instances.get_mut(&instance_id) {
            instance.held_names.insert(device);
        }
    }

    /// The data plane found the device of a [`Effect::DetachDevice`] in use.
    pub fn busy(&mut self, effect: &Effect) {
        if let Some(attachment) = self.attachment_of(effect)
            && let AttachmentPhase::Detaching { busy, .. } = &mut attachment.phase
        {
            *busy = true;
        }
        self.keep_at_last_time();
    }

    /// The data plane cannot carry this effect out.
    ///
    /// A volume or snapshot that cannot be made goes to `error`, and a modification to
    /// `failed`; anything else stays owed, as an attachment that hangs in EC2 does.
    pub fn fail(&mut self, effect: &Effect) {
        match effect {
            Effect::FillVolume { volume_id, .. } | Effect::CopyVolume { volume_id, .. } => {
                if let Some(volume) = self.volumes.get_mut(volume_id) {
                    volume.phase = VolumePhase::Error;
                }
            }
            Effect::ResizeVolume { volume_id, .. } => {
                if let Some(modification) = self.volumes.get_mut(volume_id).and_then(|volume| volume.modification.as_mut()) {
                    modification.phase = ModificationPhase::Failed;
                }
            }
            Effect::CloneVolume { snapshot_id, .. } | Effect::CopySnapshot { snapshot_id, .. } => {
                if let Some(snapshot) = self.snapshots.get_mut(snapshot_id) {
                    snapshot.phase = SnapshotPhase::Error;
                }
            }
            _ => {}
        }
        self.keep_at_last_time();
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
        let shown = |volume: &&Volume| {
            let phase = volume.attachment.as_ref().map(|a| &a.phase);
            matches!(phase, Some(AttachmentPhase::Attached { shown: true }))
        };
        let volumes: Vec<String> = self.volumes.rows().values().filter(shown).map(|volume| volume.id.clone()).collect();
        for id in volumes {
            if let Some(attachment) = self.volumes.get_mut(&id).and_then(|volume| volume.attachment.as_mut()) {
                attachment.phase = AttachmentPhase::Attached { shown: false };
            }
        }
        let instances: Vec<String> = self.instances.rows().keys().cloned().collect();
        for id in instances {
            if let Some(instance) = self.instances.get_mut(&id) {
                let terminated = instance.phase.state().1 == "terminated";
                instance.placed = terminated && instance.placed;
            }
        }
        self.keep_at_last_time();
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
