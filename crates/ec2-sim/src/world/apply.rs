//! How a call is answered: faults and rate limits first, then the call itself, kept or rolled back as a whole.

use jiff::Timestamp;

use super::instances::Wish;
use super::rules::View;
use super::{Action, ApiError, Call, Reply, World};

impl World {
    /// Answers a call made at `now`.
    ///
    /// A refused call changes nothing but the counters, and so does a dry run.
    pub fn apply(&mut self, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
        self.catch_up(now);
        let answer = self.answer(now, call);
        let throttled = answer.as_ref().is_err_and(|error| error.code == THROTTLED);
        self.count_call(call.action.name(), answer.is_ok(), throttled);
        answer
    }

    fn answer(&mut self, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
        let action = &call.action;
        self.throttled(now, action)?;
        self.refused_by_fault(action)?;
        self.look(now, action);
        let drawn = (self.ids, self.draws);
        let answer = self.dispatch(now, action);
        self.view = View::default();
        match answer {
            Ok(reply) if !call.dry_run => {
                self.afflict(action, &reply);
                let undo = self.keep(now);
                self.last_call = self.dirty.is_some().then_some(undo);
                Ok(reply)
            }
            refused => {
                self.roll_back();
                (self.ids, self.draws) = drawn;
                refused.and_then(|_| Err(ApiError::dry_run()))
            }
        }
    }

    /// Settles what the call sees.
    fn look(&mut self, now: Timestamp, action: &Action) {
        self.answered += 1;
        let reads = action.is_read();
        let stale_ms = if reads { self.staleness(action) } else { None };
        let salt = self.settings.seed ^ self.answered;
        self.view = View::new(now, self.rules.consistency, salt, stale_ms, !reads);
    }

    fn dispatch(&mut self, now: Timestamp, action: &Action) -> Result<Reply, ApiError> {
        match action {
            Action::DescribeInstances(_)
            | Action::DescribeInstanceTypes(_)
            | Action::DescribeTags(_)
            | Action::DescribeAvailabilityZones(_)
            | Action::DescribeRegions(_)
            | Action::RunInstances(_)
            | Action::TerminateInstances(_)
            | Action::StopInstances(_)
            | Action::StartInstances(_)
            | Action::CreateTags(_)
            | Action::DeleteTags(_) => self.dispatch_general(now, action),
            Action::CreateSnapshot(_)
            | Action::CreateSnapshots(_)
            | Action::CopySnapshot(_)
            | Action::DeleteSnapshot(_)
            | Action::DescribeSnapshots(_)
            | Action::LockSnapshot(_)
            | Action::UnlockSnapshot(_)
            | Action::DescribeLockedSnapshots(_)
            | Action::EnableFastSnapshotRestores(_)
            | Action::DisableFastSnapshotRestores(_)
            | Action::DescribeFastSnapshotRestores(_) => self.dispatch_snapshots(now, action),
            _ => self.dispatch_volumes(now, action),
        }
    }

    fn dispatch_general(&mut self, now: Timestamp, action: &Action) -> Result<Reply, ApiError> {
        Ok(match action {
            Action::RunInstances(r) => Reply::Reservation(self.run_instances(now, r)?),
            Action::DescribeInstances(r) => Reply::Instances(self.describe_instances(r)?),
            Action::TerminateInstances(ids) => Reply::StateChanges(self.wish(now, ids, Wish::Terminate)?),
            Action::StopInstances(ids) => Reply::StateChanges(self.wish(now, ids, Wish::Stop)?),
            Action::StartInstances(ids) => Reply::StateChanges(self.wish(now, ids, Wish::Start)?),
            Action::DescribeInstanceTypes(r) => Reply::InstanceTypes(self.describe_instance_types(r)?),
            Action::CreateTags(r) => self.create_tags(r).map(|()| Reply::Done)?,
            Action::DeleteTags(r) => self.delete_tags(r).map(|()| Reply::Done)?,
            Action::DescribeTags(r) => Reply::Tags(self.describe_tags(r)?),
            Action::DescribeAvailabilityZones(r) => Reply::Zones(self.describe_zones(r)?),
            Action::DescribeRegions(r) => Reply::Regions(self.describe_regions(r)?),
            other => return Err(misplaced(other)),
        })
    }

    fn dispatch_volumes(&mut self, now: Timestamp, action: &Action) -> Result<Reply, ApiError> {
        Ok(match action {
            Action::CreateVolume(r) => Reply::Volume(Box::new(self.create_volume(now, r)?)),
            Action::CopyVolumes(r) => Reply::CopiedVolumes(self.copy_volumes(now, r)?),
            Action::ModifyVolume(r) => Reply::Modification(r.volume_id.clone(), Box::new(self.modify_volume(now, r)?)),
            Action::DescribeVolumes(r) => Reply::Volumes(self.describe_volumes(r)?),
            Action::DescribeVolumeStatus(r) => {
                let (page, seen_at) = self.describe_volume_status(now, r)?;
                Reply::VolumeStatuses(page, seen_at)
            }
            Action::DescribeVolumeAttribute(r) => {
                let (volume_id, attribute) = self.describe_volume_attribute(r)?;
                Reply::VolumeAttribute(volume_id, attribute)
            }
            Action::DescribeVolumesModifications(r) => Reply::Modifications(self.describe_volumes_modifications(r)?),
            Action::AttachVolume(r) => Reply::Attachment(r.volume_id.clone(), self.attach_volume(now, r)?),
            Action::DetachVolume(r) => Reply::Attachment(r.volume_id.clone(), self.detach_volume(now, r)?),
            Action::DeleteVolume(id) => self.delete_volume(now, id).map(|()| Reply::Done)?,
            other => return Err(misplaced(other)),
        })
    }

    fn dispatch_snapshots(&mut self, now: Timestamp, action: &Action) -> Result<Reply, ApiError> {
        Ok(match action {
            Action::CreateSnapshot(r) => Reply::Snapshot(Box::new(self.create_snapshot(now, r)?)),
            Action::CreateSnapshots(r) => Reply::SnapshotSet(self.create_snapshots(now, r)?),
            Action::CopySnapshot(r) => Reply::CopiedSnapshot(Box::new(self.copy_snapshot(now, r)?)),
            Action::DescribeSnapshots(r) => Reply::Snapshots(self.describe_snapshots(r)?),
            Action::DeleteSnapshot(id) => self.delete_snapshot(now, id).map(|()| Reply::Done)?,
            Action::LockSnapshot(r) => Reply::Lock(r.snapshot_id.clone(), Box::new(self.lock_snapshot(now, r)?)),
            Action::UnlockSnapshot(id) => self.unlock_snapshot(now, id).map(|()| Reply::Unlocked(id.clone()))?,
            Action::DescribeLockedSnapshots(r) => Reply::LockedSnapshots(self.describe_locked_snapshots(now, r)?),
            Action::EnableFastSnapshotRestores(r) => {
                let (done, refused) = self.enable_fast_restores(now, r)?;
                Reply::FastRestoreChanges(done, refused)
            }
            Action::DisableFastSnapshotRestores(r) => {
                let (done, refused) = self.disable_fast_restores(now, r)?;
                Reply::FastRestoreChanges(done, refused)
            }
            Action::DescribeFastSnapshotRestores(r) => Reply::FastRestores(self.describe_fast_restores(now, r)?),
            other => return Err(misplaced(other)),
        })
    }

    /// Counts a call that never became a [`Call`], such as one of an unknown action.
    pub fn count(&mut self, action: &str, ok: bool) {
        self.count_call(action, ok, false);
    }

    fn count_call(&mut self, action: &str, ok: bool, throttled: bool) {
        if !self.calls.contains_key(action) {
            self.calls.insert(action.to_owned(), super::CallCount::default());
        }
        let Some(count) = self.calls.get_mut(action) else { return };
        if ok {
            count.ok += 1;
        } else {
            count.refused += 1;
        }
        count.throttled += u64::from(throttled);
        self.note_call(action);
    }
}

/// The code of a call for which there is no token.
const THROTTLED: &str = "RequestLimitExceeded";

/// The answer to a call that nobody answers, which the tests of the table rule out.
fn misplaced(action: &Action) -> ApiError {
    ApiError::new("InternalError", format!("{} is not dispatched", action.name()))
}
