//! What is derived from the rows, so that no call has to look at all of them: what is due, owed, attached, tagged.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::table::Before;
use super::tokens::Token;
use crate::world::model::{
    Attachment, AttachmentPhase, Hold, Instance, InstancePhase, ModificationPhase, Snapshot, SnapshotPhase, Tags, Volume, VolumePhase,
};
use crate::world::rules::latency::after;
use crate::world::{Kind, VolumeType};

/// Ids by what they have in common.
type Groups = BTreeMap<String, BTreeSet<String>>;

/// How much of a volume type there is, for the quotas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::world) struct Usage {
    pub(in crate::world) gib: u64,
    pub(in crate::world) iops: u64,
}

/// What a row adds to the index.
#[derive(Debug, Default)]
struct Marks<'a> {
    /// The next transition that depends on time alone.
    due: Option<Timestamp>,
    /// When the row itself is forgotten, by time alone.
    expires: Option<Timestamp>,
    /// Since when the data plane owes something, or from when on it will.
    owes_from: Option<Timestamp>,
    /// The volume or snapshot that a file is still to be made from.
    reads: Option<&'a str>,
    /// The instance that a volume is attached to.
    attached: Option<&'a str>,
    /// Whether its attachment waits for a free slot.
    waits: bool,
    /// The volume that a snapshot was taken of.
    snapshot_of: Option<&'a str>,
    /// The volume that a volume is a copy of.
    copy_of: Option<&'a str>,
    /// A snapshot that counts among the pending ones.
    pending: bool,
    usage: Option<(VolumeType, Usage)>,
    tags: Option<&'a Tags>,
}

/// A row that the index can mark.
pub(in crate::world) trait Indexed {
    fn index_into(&self, index: &mut Index, id: &str, change: Change);
}

/// Whether marks come or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::world) enum Change {
    Add,
    Remove,
}

/// Everything derived.
#[derive(Debug, Clone, Default)]
pub(in crate::world) struct Index {
    due: BTreeSet<(Timestamp, String)>,
    expiring: BTreeSet<(Timestamp, String)>,
    owing: BTreeSet<(Timestamp, String)>,
    readers: Groups,
    attached: Groups,
    waiting: Groups,
    snapshots: Groups,
    copies: Groups,
    pending_snapshots: usize,
    usage: BTreeMap<VolumeType, Usage>,
    tagged: BTreeMap<String, Groups>,
}

impl Index {
    /// Follows the rows of a table that were touched.
    pub(in crate::world) fn follow<T: Indexed>(&mut self, rows: &BTreeMap<String, T>, before: &Before<T>) {
        for (id, former) in before {
            if let Some(former) = former {
                former.index_into(self, id, Change::Remove);
            }
            if let Some(row) = rows.get(id) {
                row.index_into(self, id, Change::Add);
            }
        }
    }

    /// Takes in every row of a table, for an index that is empty.
    pub(in crate::world) fn take_in<T: Indexed>(&mut self, rows: &BTreeMap<String, T>) {
        for (id, row) in rows {
            row.index_into(self, id, Change::Add);
        }
    }

    /// What is due at `now`.
    pub(in crate::world) fn due(&self, now: Timestamp) -> Vec<String> {
        until(&self.due, now)
    }

    /// The rows whose time to be forgotten has come at `now`.
    pub(in crate::world) fn expired(&self, now: Timestamp) -> Vec<String> {
        until(&self.expiring, now)
    }

    /// When the next thing is due, or owed by the data plane.
    pub(in crate::world) fn next_due(&self) -> Option<Timestamp> {
        let owed = self.owing.iter().find(|(from, _)| *from != AT_ONCE);
        self.due.first().into_iter().chain(owed).map(|(at, _)| *at).min()
    }

    /// The rows that the data plane owes something at `now`.
    pub(in crate::world) fn owing(&self, now: Timestamp) -> impl Iterator<Item = &str> {
        self.owing.iter().take_while(move |(from, _)| *from <= now).map(|(_, id)| id.as_str())
    }

    /// Whether a file that is still to be made is made from this volume or snapshot.
    pub(in crate::world) fn is_being_read(&self, id: &str) -> bool {
        self.readers.contains_key(id)
    }

    /// The volumes attached to an instance, in whatever phase.
    pub(in crate::world) fn attached(&self, instance_id: &str) -> impl Iterator<Item = &str> {
        members(&self.attached, instance_id)
    }

    /// Those of them that wait for a free slot.
    pub(in crate::world) fn waiting(&self, instance_id: &str) -> impl Iterator<Item = &str> {
        members(&self.waiting, instance_id)
    }

    /// The snapshots of a volume, deleted ones left out.
    pub(in crate::world) fn snapshots(&self, volume_id: &str) -> impl Iterator<Item = &str> {
        members(&self.snapshots, volume_id)
    }

    /// The copies of a volume.
    pub(in crate::world) fn copies(&self, volume_id: &str) -> impl Iterator<Item = &str> {
        members(&self.copies, volume_id)
    }

    /// Every volume that is a copy.
    pub(in crate::world) fn all_copies(&self) -> impl Iterator<Item = &str> {
        self.copies.values().flatten().map(String::as_str)
    }

    /// How many snapshots are pending.
    pub(in crate::world) fn pending_snapshots(&self) -> usize {
        self.pending_snapshots
    }

    /// How much of a volume type there is.
    pub(in crate::world) fn usage(&self, volume_type: VolumeType) -> Usage {
        self.usage.get(&volume_type).copied().unwrap_or_default()
    }

    /// The resources of every kind that carry this tag.
    pub(in crate::world) fn tagged(&self, key: &str, value: &str) -> impl Iterator<Item = &str> {
        self.tagged.get(key).into_iter().flat_map(move |values| members(values, value))
    }

    fn mark(&mut self, id: &str, marks: &Marks<'_>, change: Change) {
        if let Some(at) = marks.due {
            set(&mut self.due, (at, id.to_owned()), change);
        }
        if let Some(at) = marks.expires {
            set(&mut self.expiring, (at, id.to_owned()), change);
        }
        if let Some(from) = marks.owes_from {
            set(&mut self.owing, (from, id.to_owned()), change);
        }
        let groups = [
            (&mut self.attached, marks.attached),
            (&mut self.waiting, marks.attached.filter(|_| marks.waits)),
            (&mut self.snapshots, marks.snapshot_of),
            (&mut self.copies, marks.copy_of),
            (&mut self.readers, marks.reads),
        ];
        for (groups, of) in groups {
            if let Some(of) = of {
                group(groups, of, id, change);
            }
        }
        if marks.pending {
            match change {
                Change::Add => self.pending_snapshots += 1,
                Change::Remove => self.pending_snapshots -= 1,
            }
        }
        if let Some((volume_type, used)) = marks.usage {
            let usage = self.usage.entry(volume_type).or_default();
            match change {
                Change::Add => (usage.gib, usage.iops) = (usage.gib + used.gib, usage.iops + used.iops),
                Change::Remove => (usage.gib, usage.iops) = (usage.gib - used.gib, usage.iops - used.iops),
            }
        }
        for (key, value) in marks.tags.into_iter().flatten() {
            let values = self.tagged.entry(key.clone()).or_default();
            group(values, value, id, change);
            if values.is_empty() {
                self.tagged.remove(key);
            }
        }
    }
}

fn until(times: &BTreeSet<(Timestamp, String)>, now: Timestamp) -> Vec<String> {
    times.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| id.clone()).collect()
}

fn members<'a>(groups: &'a Groups, of: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    groups.get(of).into_iter().flatten().map(String::as_str)
}

fn set<T: Ord>(set: &mut BTreeSet<T>, member: T, change: Change) {
    match change {
        Change::Add => set.insert(member),
        Change::Remove => set.remove(&member),
    };
}

fn group(groups: &mut Groups, of: &str, id: &str, change: Change) {
    if change == Change::Add {
        groups.entry(of.to_owned()).or_default().insert(id.to_owned());
    } else if let Some(members) = groups.get_mut(of) {
        members.remove(id);
        if members.is_empty() {
            groups.remove(of);
        }
    }
}

/// The earlier of two times, of which each may be missing.
fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

/// The time of what is owed from the start.
const AT_ONCE: Timestamp = Timestamp::MIN;

impl Attachment {
    /// When it goes on by time alone, and from when on the data plane owes it something.
    fn outlook(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        match self.phase {
            AttachmentPhase::Attaching { hold: Some(_), .. } | AttachmentPhase::Attached { shown: true } => (None, None),
            AttachmentPhase::Attaching { ready_at, .. } => (None, Some(ready_at)),
            AttachmentPhase::Attached { shown: false } => (None, Some(AT_ONCE)),
            AttachmentPhase::Detaching { hidden, gone_at, .. } => (hidden.then_some(gone_at), (!hidden).then_some(AT_ONCE)),
        }
    }
}

impl Indexed for Volume {
    fn index_into(&self, index: &mut Index, id: &str, change: Change) {
        let (mut due, mut owes_from) = match self.phase {
            VolumePhase::Creating { ready_at, filled: true } => (Some(ready_at), None),
            VolumePhase::Creating { filled: false, .. } => (None, Some(AT_ONCE)),
            VolumePhase::Deleting { gone_at } => (None, Some(gone_at)),
            VolumePhase::Available | VolumePhase::Error => (None, None),
        };
        if let Some(attachment) = &self.attachment {
            let (at, from) = attachment.outlook();
            due = earlier(due, at);
            owes_from = earlier(owes_from, from);
        }
        if let Some(modification) = &self.modification {
            let (at, from) = match modification.phase {
                ModificationPhase::Modifying { resized: true } => (Some(modification.usable_at), None),
                ModificationPhase::Modifying { resized: false } => (None, Some(AT_ONCE)),
                ModificationPhase::Optimizing => (Some(modification.done_at), None),
                ModificationPhase::Completed | ModificationPhase::Failed => (None, None),
            };
            due = earlier(due, at);
            owes_from = earlier(owes_from, from);
        }
        let unmade = matches!(self.phase, VolumePhase::Creating { filled: false, .. });
        let waits = matches!(self.attachment.as_ref().map(|a| &a.phase), Some(AttachmentPhase::Attaching { hold: Some(Hold::NoSlot), .. }));
        let counts = !matches!(self.phase, VolumePhase::Deleting { .. });
        let usage = Usage { gib: u64::from(self.size_gib), iops: u64::from(self.iops.unwrap_or(0)) };
        let marks = Marks {
            due,
            owes_from,
            reads: self.snapshot_id.as_deref().or(self.source_volume_id.as_deref()).filter(|_| unmade),
            attached: self.attachment.as_ref().map(|a| a.instance_id.as_str()),
            waits,
            copy_of: self.source_volume_id.as_deref(),
            usage: counts.then_some((self.volume_type, usage)),
            tags: Some(&self.tags),
            ..Marks::default()
        };
        index.mark(id, &marks, change);
    }
}

impl Indexed for Snapshot {
    fn index_into(&self, index: &mut Index, id: &str, change: Change) {
        let (due, owes) = match self.phase {
            SnapshotPhase::Pending { ready_at, cloned } => (cloned.then_some(ready_at), !cloned),
            _ => (None, self.deleted),
        };
        let unmade = matches!(self.phase, SnapshotPhase::Pending { cloned: false, .. });
        let pending = matches!(self.phase, SnapshotPhase::Pending { .. });
        let seen = !self.deleted;
        let marks = Marks {
            due,
            owes_from: owes.then_some(AT_ONCE),
            reads: Some(self.source_snapshot_id.as_deref().unwrap_or(&self.volume_id)).filter(|_| unmade),
            snapshot_of: seen.then_some(self.volume_id.as_str()),
            pending: pending && seen,
            tags: seen.then_some(&self.tags),
            ..Marks::default()
        };
        index.mark(id, &marks, change);
    }
}

/// How long a terminated instance stays visible, in milliseconds. EC2 says about an hour.
pub(in crate::world) const TERMINATED_VISIBLE_MS: i64 = 3_600_000;

impl Indexed for Instance {
    fn index_into(&self, index: &mut Index, id: &str, change: Change) {
        let due = match self.phase {
            InstancePhase::Pending { ready_at } => Some(ready_at),
            InstancePhase::Stopping { done_at } | InstancePhase::ShuttingDown { done_at } => Some(done_at),
            _ => None,
        };
        let expires = match self.phase {
            InstancePhase::Terminated { at } if !self.placed => Some(after(at, TERMINATED_VISIBLE_MS)),
            _ => None,
        };
        let terminated = matches!(self.phase, InstancePhase::Terminated { .. });
        let owes_from = (terminated == self.placed).then_some(AT_ONCE);
        let marks = Marks { due, expires, owes_from, tags: Some(&self.tags), ..Marks::default() };
        index.mark(id, &marks, change);
    }
}

impl Indexed for Token {
    fn index_into(&self, index: &mut Index, id: &str, change: Change) {
        index.mark(id, &Marks { expires: Some(self.expires()), ..Marks::default() }, change);
    }
}

/// The kind of an id, by its prefix.
pub(in crate::world) fn kind_of(id: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| id.starts_with(kind.prefix()))
}
