//! A table of resources that can be rolled back, and remembers what it held a while ago.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What rows were before they were touched; none where there was no row.
pub(in crate::world) type Before<T> = BTreeMap<String, Option<T>>;

/// Rows by id. Every change is noted until it is kept or rolled back, so that
/// a call costs what it touches, whatever the size of the account.
#[derive(Debug, Clone)]
pub(in crate::world) struct Table<T> {
    rows: BTreeMap<String, T>,
    before: Before<T>,
    /// What a row was until some time, oldest first. Empty unless somebody wants the past.
    past: BTreeMap<String, VecDeque<(Timestamp, Option<T>)>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), before: BTreeMap::new(), past: BTreeMap::new() }
    }
}

impl<T: PartialEq> PartialEq for Table<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

impl<T: Eq> Eq for Table<T> {}

impl<T: Serialize> Serialize for Table<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rows.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { rows: BTreeMap::deserialize(deserializer)?, ..Self::default() })
    }
}

impl<T: Clone + PartialEq> Table<T> {
    /// The rows as they are.
    pub(in crate::world) fn rows(&self) -> &BTreeMap<String, T> {
        &self.rows
    }

    pub(in crate::world) fn get(&self, id: &str) -> Option<&T> {
        self.rows.get(id)
    }

    /// A row to change. What it was is noted.
    pub(in crate::world) fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        let row = self.rows.get_mut(id)?;
        if !self.before.contains_key(id) {
            self.before.insert(id.to_owned(), Some(row.clone()));
        }
        Some(row)
    }

    pub(in crate::world) fn insert(&mut self, id: String, row: T) {
        let former = self.rows.insert(id.clone(), row);
        self.before.entry(id).or_insert(former);
    }

    pub(in crate::world) fn remove(&mut self, id: &str) {
        if let Some(former) = self.rows.remove(id) {
            self.before.entry(id.to_owned()).or_insert(Some(former));
        }
    }

    /// Ends the changes and returns what the changed rows were; those that only were touched are not among them.
    pub(in crate::world) fn keep(&mut self) -> Before<T> {
        let mut before = std::mem::take(&mut self.before);
        before.retain(|id, former| self.rows.get(id) != former.as_ref());
        before
    }

    /// Undoes changes: those under way, or those that [`Table::keep`] ended.
    pub(in crate::world) fn restore(&mut self, before: Before<T>) {
        for (id, former) in before {
            match former {
                Some(row) => self.rows.insert(id, row),
                None => self.rows.remove(&id),
            };
        }
    }

    pub(in crate::world) fn roll_back(&mut self) {
        let before = self.keep();
        self.restore(before);
    }

    /// Notes what rows were until `now`, for those who read the past.
    pub(in crate::world) fn remember(&mut self, before: &Before<T>, now: Timestamp) {
        for (id, former) in before {
            self.past.entry(id.clone()).or_default().push_back((now, former.clone()));
        }
    }

    /// Forgets what was true until `oldest` only.
    pub(in crate::world) fn forget_past(&mut self, oldest: Timestamp) {
        self.past.retain(|_, versions| {
            while versions.front().is_some_and(|(until, _)| *until <= oldest) {
                versions.pop_front();
            }
            !versions.is_empty()
        });
    }

    /// The row as it was at `at`, as far as is remembered; as it is when none.
    pub(in crate::world) fn see(&self, id: &str, at: Option<Timestamp>) -> Option<&T> {
        let past = at.and_then(|at| self.past.get(id)?.iter().find(|(until, _)| *until > at));
        match past {
            Some((_, version)) => version.as_ref(),
            None => self.rows.get(id),
        }
    }

    /// The ids there are or, as far as is remembered, were.
    pub(in crate::world) fn known_ids(&self) -> BTreeSet<&str> {
        self.rows.keys().chain(self.past.keys()).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_roll_back_leaves_the_table_as_it_was() {
        let mut table = Table::default();
        table.insert("a".to_owned(), 1);
        table.insert("b".to_owned(), 2);
        table.keep();
        let whole = table.clone();
        *table.get_mut("a").unwrap() = 5;
        *table.get_mut("a").unwrap() = 6;
        table.remove("b");
        table.insert("b".to_owned(), 7);
        table.insert("c".to_owned(), 8);
        table.remove("c");
        table.roll_back();
        assert_eq!(table, whole);
    }

    #[test]
    fn the_past_is_seen_as_it_was() {
        let mut table = Table::default();
        table.insert("a".to_owned(), 1);
        let before = table.keep();
        table.remember(&before, at(10));
        *table.get_mut("a").unwrap() = 2;
        let before = table.keep();
        table.remember(&before, at(20));
        let seen = |second| table.see("a", Some(at(second))).copied();
        assert_eq!([seen(5), seen(10), seen(19), seen(20)], [None, Some(1), Some(1), Some(2)]);
        assert_eq!(table.see("a", None), Some(&2));
        table.forget_past(at(20));
        assert_eq!(table.see("a", Some(at(5))), Some(&2));
    }
}
