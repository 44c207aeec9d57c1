//! Keeping and undoing changes, and saying what has changed, so that a store need not write everything.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::index::Index;
use super::table::{Before, Table};
use super::tokens::Token;
use crate::world::{CallCount, Instance, Rules, Snapshot, Volume, World};

/// What rows were before some changes.
#[derive(Debug, Clone, Default)]
pub(in crate::world) struct Undo {
    volumes: Before<Volume>,
    snapshots: Before<Snapshot>,
    instances: Before<Instance>,
    tokens: Before<Token>,
}

/// The ids of rows that have changed since they were asked for last.
#[derive(Debug, Clone, Default)]
pub(in crate::world) struct Dirty {
    volumes: BTreeSet<String>,
    snapshots: BTreeSet<String>,
    instances: BTreeSet<String>,
    tokens: BTreeSet<String>,
    calls: BTreeSet<String>,
    rules: bool,
}

/// What has changed in a world: rows by id, none where a row is gone. Made by
/// [`World::take_changes`] and put into effect by [`World::patch`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Changes {
    ids: u64,
    draws: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, Option<Volume>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    snapshots: BTreeMap<String, Option<Snapshot>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    instances: BTreeMap<String, Option<Instance>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tokens: BTreeMap<String, Option<Token>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    calls: BTreeMap<String, CallCount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Rules>,
}

impl Changes {
    /// Whether nothing that matters has changed: counters of calls alone do not.
    pub fn is_empty(&self) -> bool {
        self.volumes.is_empty() && self.snapshots.is_empty() && self.instances.is_empty() && self.tokens.is_empty() && self.rules.is_none()
    }
}

impl World {
    /// From now on, notes what changes, for [`World::take_changes`] and [`World::undo_call`].
    pub fn track_changes(&mut self) {
        self.dirty = Some(Dirty::default());
    }

    /// What has changed since the last time, or since [`World::track_changes`].
    pub fn take_changes(&mut self) -> Changes {
        let Some(dirty) = &mut self.dirty else { return Changes::default() };
        let dirty = std::mem::take(dirty);
        Changes {
            ids: self.ids,
            draws: self.draws,
            volumes: rows(&self.volumes, dirty.volumes),
            snapshots: rows(&self.snapshots, dirty.snapshots),
            instances: rows(&self.instances, dirty.instances),
            tokens: rows(&self.tokens, dirty.tokens),
            calls: dirty.calls.into_iter().filter_map(|name| Some((name.clone(), *self.calls.get(&name)?))).collect(),
            rules: dirty.rules.then(|| self.rules.clone()),
        }
    }

    /// Puts changes into effect that another world of the same past has told.
    pub fn patch(&mut self, changes: Changes) {
        self.ids = changes.ids;
        self.draws = changes.draws;
        set(&mut self.volumes, changes.volumes);
        set(&mut self.snapshots, changes.snapshots);
        set(&mut self.instances, changes.instances);
        set(&mut self.tokens, changes.tokens);
        self.calls.extend(changes.calls);
        if let Some(rules) = changes.rules {
            self.rules = rules;
        }
        self.keep_at_last_time();
    }

    /// Undoes the last call that succeeded, when nothing has happened since: for a shell that could
    /// not store it. Only a world that tracks its changes can; ids that were given stay used.
    pub fn undo_call(&mut self) {
        let Some(undo) = self.last_call.take() else { return };
        set(&mut self.volumes, undo.volumes);
        set(&mut self.snapshots, undo.snapshots);
        set(&mut self.instances, undo.instances);
        set(&mut self.tokens, undo.tokens);
        self.keep_at_last_time();
    }

    /// Keeps what has been changed: brings the index up to date and notes the past.
    pub(in crate::world) fn keep(&mut self, now: Timestamp) -> Undo {
        let undo = Undo {
            volumes: self.volumes.keep(),
            snapshots: self.snapshots.keep(),
            instances: self.instances.keep(),
            tokens: self.tokens.keep(),
        };
        self.index.follow(self.volumes.rows(), &undo.volumes);
        self.index.follow(self.snapshots.rows(), &undo.snapshots);
        self.index.follow(self.instances.rows(), &undo.instances);
        self.index.follow(self.tokens.rows(), &undo.tokens);
        if self.retention_ms > 0 {
            self.volumes.remember(&undo.volumes, now);
            self.snapshots.remember(&undo.snapshots, now);
            self.instances.remember(&undo.instances, now);
        }
        if let Some(dirty) = &mut self.dirty {
            dirty.volumes.extend(undo.volumes.keys().cloned());
            dirty.snapshots.extend(undo.snapshots.keys().cloned());
            dirty.instances.extend(undo.instances.keys().cloned());
            dirty.tokens.extend(undo.tokens.keys().cloned());
        }
        undo
    }

    /// As [`World::keep`], for what happens between calls.
    pub(in crate::world) fn keep_at_last_time(&mut self) {
        self.keep(self.clock);
    }

    pub(in crate::world) fn roll_back(&mut self) {
        self.volumes.roll_back();
        self.snapshots.roll_back();
        self.instances.roll_back();
        self.tokens.roll_back();
    }

    /// Notes that a counter has changed.
    pub(in crate::world) fn note_call(&mut self, action: &str) {
        if let Some(dirty) = &mut self.dirty
            && !dirty.calls.contains(action)
        {
            dirty.calls.insert(action.to_owned());
        }
    }

    pub(in crate::world) fn note_rules(&mut self) {
        if let Some(dirty) = &mut self.dirty {
            dirty.rules = true;
        }
    }

    /// Works out how far back reads may look.
    pub(in crate::world) fn note_retention(&mut self) {
        let windows = self.rules.consistency;
        self.retention_ms = windows.ids_ms.max(windows.lists_ms).max(self.longest_staleness());
        if self.retention_ms == 0 {
            self.forget_until(Timestamp::MAX);
        }
    }

    /// Forgets what no read can look back to any more. Looks only once in a while, since it looks at all of it.
    pub(in crate::world) fn forget_past(&mut self, now: Timestamp) {
        let age = SignedDuration::from_millis(i64::try_from(self.retention_ms).unwrap_or(i64::MAX));
        if self.retention_ms == 0 || now.duration_since(self.forgot) < age {
            return;
        }
        self.forgot = now;
        self.forget_until(now.checked_sub(age).unwrap_or(Timestamp::MIN));
    }

    fn forget_until(&mut self, oldest: Timestamp) {
        self.volumes.forget_past(oldest);
        self.snapshots.forget_past(oldest);
        self.instances.forget_past(oldest);
    }

    /// Makes the index of rows that came from elsewhere.
    pub(in crate::world) fn make_index(&mut self) {
        let mut index = Index::default();
        index.take_in(self.volumes.rows());
        index.take_in(self.snapshots.rows());
        index.take_in(self.instances.rows());
        index.take_in(self.tokens.rows());
        self.index = index;
    }
}

fn rows<T: Clone + PartialEq>(table: &Table<T>, ids: BTreeSet<String>) -> BTreeMap<String, Option<T>> {
    ids.into_iter().map(|id| (id.clone(), table.get(&id).cloned())).collect()
}

fn set<T: Clone + PartialEq>(table: &mut Table<T>, rows: BTreeMap<String, Option<T>>) {
    for (id, row) in rows {
        match row {
            Some(row) => table.insert(id, row),
            None => table.remove(&id),
        }
    }
}
