//! The faults of a world: those that wait for calls, those that wait for their time, and what they do.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::fault::{Calls, Delivery, Failure, Fault};
use crate::world::instances::Wish;
use crate::world::model::error::intern;
use crate::world::model::{AttachmentPhase, Hold};
use crate::world::queries::filters::glob;
use crate::world::{Action, ActionSpec, ApiError, Call, DetachVolume, Kind, Reply, VolumePhase, World};

/// A fault that waits for calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StandingFault {
    /// Its number, to withdraw it.
    pub id: u64,
    /// What it is.
    pub fault: Fault,
    /// How often it will still happen; for ever when none.
    pub left: Option<u32>,
    /// How many calls it has matched.
    pub matched: u64,
}

/// The faults of a world. They are not stored: a simulator that starts again has none.
#[derive(Debug, Clone, Default)]
pub(in crate::world) struct Faults {
    made: u64,
    standing: Vec<StandingFault>,
    scheduled: BTreeMap<(Timestamp, u64), Fault>,
    /// Scheduled faults that could not happen, and why.
    missed: Vec<String>,
}

impl Faults {
    /// When the next scheduled fault happens.
    pub(in crate::world) fn next_strike(&self) -> Option<Timestamp> {
        self.scheduled.keys().next().map(|(at, _)| *at)
    }

    fn next_id(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// Uses up one occurrence of the first fault that is for this call and that `pick` accepts.
    fn take<T>(&mut self, action: &Action, pick: impl Fn(&Fault, u64) -> Option<T>) -> Option<T> {
        for (place, standing) in self.standing.iter_mut().enumerate() {
            let is_for = standing.fault.standing().is_some_and(|(calls, _)| matches(&calls, action));
            // A kind that `pick` would never accept must not count this call.
            if !is_for || pick(&standing.fault, 0).is_none() {
                continue;
            }
            let found = pick(&standing.fault, standing.matched);
            standing.matched += 1;
            if found.is_some() {
                if let Some(left) = &mut standing.left {
                    *left -= 1;
                    if *left == 0 {
                        self.standing.remove(place);
                    }
                }
                return found;
            }
        }
        None
    }
}

/// Whether a call is meant.
fn matches(calls: &Calls, action: &Action) -> bool {
    let named = calls.action.as_deref().is_none_or(|pattern| glob(pattern, action.name()));
    named && calls.resource.as_deref().is_none_or(|pattern| action.resource_ids().iter().any(|id| glob(pattern, id)))
}

impl World {
    /// Makes a fault stand, or happen now. Returns its number.
    ///
    /// A fault that can match nothing or names what does not exist is refused, and nothing changes.
    pub fn inject(&mut self, now: Timestamp, fault: Fault) -> Result<u64, ApiError> {
        self.catch_up(now);
        check(&fault)?;
        let done = self.happen(now, &fault);
        if let Err(error) = done {
            self.roll_back();
            return Err(error);
        }
        self.keep(now);
        let id = self.faults.next_id();
        if let Some((_, left)) = fault.standing() {
            self.faults.standing.push(StandingFault { id, fault, left, matched: 0 });
        }
        self.note_retention();
        Ok(id)
    }

    /// Injects a fault at a time to come. Returns its number.
    pub fn schedule(&mut self, at: Timestamp, fault: Fault) -> Result<u64, ApiError> {
        check(&fault)?;
        let id = self.faults.next_id();
        self.faults.scheduled.insert((at, id), fault);
        Ok(id)
    }

    /// The faults that wait for calls.
    pub fn faults(&self) -> &[StandingFault] {
        &self.faults.standing
    }

    /// The faults that wait for their time, earliest first.
    pub fn scheduled_faults(&self) -> impl Iterator<Item = (Timestamp, &Fault)> {
        self.faults.scheduled.iter().map(|((at, _), fault)| (*at, fault))
    }

    /// Why scheduled faults could not happen; each is told once.
    pub fn missed_faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults.missed)
    }

    /// Takes back a fault that stands or is scheduled; whether there was one of this number.
    pub fn withdraw(&mut self, id: u64) -> bool {
        let count = self.faults.standing.len() + self.faults.scheduled.len();
        self.faults.standing.retain(|standing| standing.id != id);
        self.faults.scheduled.retain(|(_, number), _| *number != id);
        self.note_retention();
        count > self.faults.standing.len() + self.faults.scheduled.len()
    }

    /// Takes back every fault, and every bucket set by one.
    pub fn withdraw_all(&mut self) {
        self.faults = Faults { made: self.faults.made, ..Faults::default() };
        self.throttle.reset();
        self.note_retention();
    }

    /// What happens to a call on its way. Whoever drives the world asks once for each request and obeys.
    pub fn deliver(&mut self, call: &Call) -> Delivery {
        let mut delivery = Delivery::default();
        let action = &call.action;
        let delay = |fault: &Fault, _| match fault {
            Fault::RequestDelayed { millis, .. } => Some(*millis),
            _ => None,
        };
        delivery.request_delay_ms = self.faults.take(action, delay).unwrap_or(0);
        let delay = |fault: &Fault, _| match fault {
            Fault::ReplyDelayed { millis, .. } => Some(*millis),
            _ => None,
        };
        delivery.reply_delay_ms = self.faults.take(action, delay).unwrap_or(0);
        let twice = |fault: &Fault, _| matches!(fault, Fault::RequestDuplicated { .. }).then_some(());
        delivery.copies = if self.faults.take(action, twice).is_some() { 2 } else { 1 };
        let lost = |fault: &Fault, _| matches!(fault, Fault::ReplyLost { .. }).then_some(());
        delivery.reply_lost = self.faults.take(action, lost).is_some();
        delivery
    }

    /// Lets the scheduled faults happen whose time has come.
    pub(in crate::world) fn strike(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.faults.scheduled.keys().next().copied().filter(|(at, _)| *at <= now) {
            let Some(fault) = self.faults.scheduled.remove(&(at, id)) else { return };
            let text = format!("{fault:?}");
            if let Err(error) = self.inject(at, fault) {
                self.faults.missed.push(format!("{text}: {error}"));
            }
        }
    }

    /// The refusal that a fault asks for.
    pub(in crate::world) fn refused_by_fault(&mut self, action: &Action) -> Result<(), ApiError> {
        let error = |fault: &Fault, _| match fault {
            Fault::Error { code, message, .. } => {
                let message = message.clone().unwrap_or_else(|| "An injected fault refused this request.".to_owned());
                Some(ApiError::new(intern(code), message))
            }
            _ => None,
        };
        if let Some(error) = self.faults.take(action, error) {
            return Err(error);
        }
        let Some((zone, volume_type)) = self.room_wanted(action) else { return Ok(()) };
        let full = |fault: &Fault, _| match fault {
            Fault::NoCapacity { zone: z, volume_type: t, .. } => {
                let here = z.as_ref().is_none_or(|z| *z == zone) && t.as_ref().is_none_or(|t| *t == volume_type);
                here.then_some(())
            }
            _ => None,
        };
        match self.faults.take(action, full) {
            None => Ok(()),
            Some(()) => Err(ApiError::new(
                "InsufficientVolumeCapacity",
                format!("There is insufficient capacity for {volume_type} volumes in {zone}. Try again later, or in another zone."),
            )),
        }
    }

    /// The zone and type of the volumes that a call would make.
    fn room_wanted(&self, action: &Action) -> Option<(String, String)> {
        let (zone, volume_type) = match action {
            Action::CreateVolume(r) => (self.zone(r.zone.as_deref(), r.zone_id.as_deref()).ok()?, &r.volume_type),
            Action::CopyVolumes(r) => (self.volumes.get(&r.source_volume_id)?.zone.clone(), &r.volume_type),
            _ => return None,
        };
        Some((zone, volume_type.clone().unwrap_or_else(|| "gp2".to_owned())))
    }

    /// How old the answer to this read is to be.
    pub(in crate::world) fn staleness(&mut self, action: &Action) -> Option<u64> {
        let stale = |fault: &Fault, matched: u64| match fault {
            Fault::StaleReads { millis, every, .. } => matched.is_multiple_of(u64::from(every.unwrap_or(1).max(1))).then_some(*millis),
            _ => None,
        };
        self.faults.take(action, stale)
    }

    /// The longest that a standing fault reads back.
    pub(in crate::world) fn longest_staleness(&self) -> u64 {
        let ages = self.faults.standing.iter().filter_map(|standing| match standing.fault {
            Fault::StaleReads { millis, .. } => Some(millis),
            _ => None,
        });
        ages.max().unwrap_or(0)
    }

    /// Dooms what a call has just made, when a fault asks for that.
    pub(in crate::world) fn afflict(&mut self, action: &Action, reply: &Reply) {
        match reply {
            Reply::Volume(volume) => self.doom_volumes(action, std::slice::from_ref(&volume.id)),
            Reply::CopiedVolumes(volumes) => {
                let ids: Vec<String> = volumes.iter().map(|volume| volume.id.clone()).collect();
                self.doom_volumes(action, &ids);
            }
            Reply::Snapshot(snapshot) | Reply::CopiedSnapshot(snapshot) => self.doom_snapshots(action, std::slice::from_ref(&snapshot.id)),
            Reply::SnapshotSet(snapshots) => {
                let ids: Vec<String> = snapshots.iter().map(|snapshot| snapshot.id.clone()).collect();
                self.doom_snapshots(action, &ids);
            }
            Reply::Modification(volume_id, _) => {
                let fails = |fault: &Fault, _| matches!(fault, Fault::ModificationFails { .. }).then_some(());
                if self.faults.take(action, fails).is_some()
                    && let Some(modification) = self.volumes.get_mut(volume_id).and_then(|volume| volume.modification.as_mut())
                {
                    modification.doomed = true;
                }
            }
            Reply::Attachment(volume_id, _) if matches!(action, Action::AttachVolume(_)) => {
                let sticks = |fault: &Fault, _| matches!(fault, Fault::AttachmentSticks { .. }).then_some(());
                if self.faults.take(action, sticks).is_some()
                    && let Some(attachment) = self.volumes.get_mut(volume_id).and_then(|volume| volume.attachment.as_mut())
                    && let AttachmentPhase::Attaching { hold, .. } = &mut attachment.phase
                {
                    *hold = Some(Hold::Stuck);
                }
            }
            _ => {}
        }
    }

    fn doom_volumes(&mut self, action: &Action, ids: &[String]) {
        let fails = |fault: &Fault, _| match fault {
            Fault::VolumeFails { failure, .. } => Some(*failure),
            _ => None,
        };
        let fresh = ids.iter().any(|id| self.volumes.get(id).is_some_and(|v| matches!(v.phase, VolumePhase::Creating { .. })));
        let Some(failure) = fresh.then(|| self.faults.take(action, fails)).flatten() else { return };
        for id in ids {
            if let Some(volume) = self.volumes.get_mut(id) {
                volume.doom = Some(failure);
            }
        }
    }

    fn doom_snapshots(&mut self, action: &Action, ids: &[String]) {
        let fails = |fault: &Fault, _| matches!(fault, Fault::SnapshotFails { .. }).then_some(());
        if self.faults.take(action, fails).is_none() {
            return;
        }
        for id in ids {
            if let Some(snapshot) = self.snapshots.get_mut(id) {
                snapshot.doomed = true;
            }
        }
    }

    /// Does what a fault does at once; nothing for one that waits for calls.
    fn happen(&mut self, now: Timestamp, fault: &Fault) -> Result<(), ApiError> {
        match fault {
            Fault::Throttle { action, bucket } => self.throttle.set(action, *bucket),
            Fault::InstanceDies { instance_id } => self.wish(now, std::slice::from_ref(instance_id), Wish::Terminate).map(drop)?,
            Fault::InstanceStops { instance_id } => self.wish(now, std::slice::from_ref(instance_id), Wish::Stop).map(drop)?,
            Fault::InstanceReturns { instance_id } => self.wish(now, std::slice::from_ref(instance_id), Wish::Start).map(drop)?,
            Fault::VolumeLost { volume_id } => self.volume_mut(volume_id)?.phase = VolumePhase::Error,
            Fault::ForeignDetach { volume_id, force } => {
                let request = DetachVolume { volume_id: volume_id.clone(), force: *force, ..DetachVolume::default() };
                self.detach_volume(now, &request)?;
            }
            Fault::ForeignDelete { resource_id } => self.foreign_delete(now, resource_id)?,
            Fault::ForeignRetag { resource_id, tags } => {
                let own = self.tags_of(resource_id)?;
                for tag in tags {
                    match &tag.value {
                        Some(value) => own.insert(tag.key.clone(), value.clone()),
                        None => own.remove(&tag.key),
                    };
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn foreign_delete(&mut self, now: Timestamp, id: &str) -> Result<(), ApiError> {
        if id.starts_with(Kind::Snapshot.prefix()) {
            return self.delete_snapshot(now, id);
        }
        if self.volume(id)?.attachment.is_some() {
            let request = DetachVolume { volume_id: id.to_owned(), force: true, ..DetachVolume::default() };
            self.detach_volume(now, &request)?;
            // Gone once the device is, without anybody asking again.
            self.volume_mut(id)?.doom = Some(Failure::Vanish);
            return Ok(());
        }
        self.delete_volume(now, id)
    }
}

/// Refuses what can never match or happen.
fn check(fault: &Fault) -> Result<(), ApiError> {
    let refuse = |field: &str, text: String| Err(ApiError::invalid_value(format!("fault field {field}: {text}")));
    if let Some((calls, times)) = fault.standing() {
        if times == Some(0) {
            return refuse("times", "0 would never happen; leave it out for ever, or name a count from 1 up".to_owned());
        }
        let unknown = |pattern: &&String| !super::actions::ACTIONS.iter().any(|spec| glob(pattern, spec.name));
        if let Some(pattern) = calls.action.as_ref().filter(unknown) {
            return refuse("calls.action", format!("no action here matches '{pattern}'"));
        }
    }
    match fault {
        Fault::Error { code, .. }
            if code.is_empty() || code.len() > 100 || !code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.') =>
        {
            refuse("code", format!("'{code}' is not an error code: letters, digits and dots, up to 100"))
        }
        Fault::Throttle { action, .. } if action != "*" && ActionSpec::find(action).is_none() => {
            refuse("action", format!("there is no action '{action}' here; use its exact name, or *"))
        }
        Fault::ForeignDelete { resource_id } if resource_id.starts_with(Kind::Instance.prefix()) => {
            refuse("resource_id", "an instance dies by the fault instance-dies".to_owned())
        }
        _ => Ok(()),
    }
}
