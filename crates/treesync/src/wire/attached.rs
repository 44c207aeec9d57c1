//! Which copies follow a source, and where each of them is: what receipts wait for.

use std::collections::BTreeMap;

use crate::model::{DecodeError, Position, proto};

/// Where one copy is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyState {
    /// Where it is mounted, on its host.
    pub name: String,
    /// What its readers see.
    pub visible: Option<Position>,
    /// What it still has after a loss of power.
    pub durable: Option<Position>,
    /// Why it stays behind.
    pub problem: Option<String>,
    /// Paths that another process changed since the copy was opened or compared; none when nobody looks for that.
    pub drift: Option<u64>,
}

impl CopyState {
    /// Whether a loss of power cannot take what the source had at this position.
    pub fn has(&self, position: &Position) -> bool {
        self.durable.is_some_and(|own| own.is_comparable_to(position) && own.generation >= position.generation)
    }
}

/// The copies of all sessions that have a stream open.
#[derive(Default, Debug)]
pub struct Attached {
    sessions: BTreeMap<String, Session>,
}

#[derive(Default, Debug)]
struct Session {
    streams: usize,
    copies: BTreeMap<String, CopyState>,
}

/// Sessions and copies a source keeps note of at most. A peer that names more is wrong.
const COPIES_MAX: usize = 10_000;

impl Attached {
    /// A session has opened a stream.
    pub fn join(&mut self, session: &str) {
        self.sessions.entry(session.to_owned()).or_default().streams += 1;
    }

    /// A session has closed a stream. With its last one, its copies are attached no more.
    pub fn leave(&mut self, session: &str) {
        if let Some(entry) = self.sessions.get_mut(session) {
            entry.streams = entry.streams.saturating_sub(1);
            if entry.streams == 0 {
                self.sessions.remove(session);
            }
        }
    }

    /// Notes where all copies of a session are: those that are not named are attached no more.
    pub fn replace(&mut self, session: &str, copies: Vec<CopyState>) -> bool {
        let Some(known) = self.sessions.get_mut(session) else { return false };
        known.copies.clear();
        self.acknowledge(session, copies)
    }

    /// What the readers of each copy of a session see.
    pub fn visible_of(&self, session: &str) -> BTreeMap<String, Position> {
        let copies = self.sessions.get(session).map(|session| session.copies.values());
        copies.into_iter().flatten().filter_map(|copy| Some((copy.name.clone(), copy.visible?))).collect()
    }

    /// Notes where copies are. False when the session has no stream open, or names too many copies.
    pub fn acknowledge(&mut self, session: &str, copies: Vec<CopyState>) -> bool {
        let Some(session) = self.sessions.get_mut(session) else { return false };
        for copy in copies {
            if session.copies.len() >= COPIES_MAX && !session.copies.contains_key(&copy.name) {
                return false;
            }
            session.copies.insert(copy.name.clone(), copy);
        }
        true
    }

    /// All copies, those of one session together.
    pub fn copies(&self) -> impl Iterator<Item = &CopyState> {
        self.sessions.values().flat_map(|session| session.copies.values())
    }

    /// Whether nothing is to be waited for any more: each copy has it durably, or has a problem.
    pub fn is_settled(&self, position: &Position) -> bool {
        self.copies().all(|copy| copy.has(position) || copy.problem.is_some())
    }
}

impl From<&CopyState> for proto::CopyState {
    fn from(state: &CopyState) -> Self {
        Self {
            name: state.name.clone(),
            visible: state.visible.as_ref().map(Into::into),
            durable: state.durable.as_ref().map(Into::into),
            problem: state.problem.clone().unwrap_or_default(),
            drift: state.drift,
        }
    }
}

impl TryFrom<proto::CopyState> for CopyState {
    type Error = DecodeError;

    fn try_from(state: proto::CopyState) -> Result<Self, DecodeError> {
        Ok(Self {
            name: state.name,
            visible: state.visible.map(TryInto::try_into).transpose()?,
            durable: state.durable.map(TryInto::try_into).transpose()?,
            problem: Some(state.problem).filter(|problem| !problem.is_empty()),
            drift: state.drift,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SourceId;

    fn at(generation: u64) -> Position {
        Position { source: SourceId([1; 16]), epoch: 1, generation }
    }

    fn copy(name: &str, durable: u64) -> CopyState {
        CopyState { name: name.to_owned(), visible: Some(at(durable)), durable: Some(at(durable)), problem: None, drift: Some(3) }
    }

    #[test]
    fn a_receipt_waits_for_each_attached_copy_that_has_no_problem() {
        let mut attached = Attached::default();
        attached.join("host");
        assert!(attached.acknowledge("host", vec![copy("a", 5), copy("b", 4)]));
        assert!(attached.is_settled(&at(4)) && !attached.is_settled(&at(5)));
        let full = CopyState { problem: Some("no space left".to_owned()), ..copy("b", 4) };
        assert!(attached.acknowledge("host", vec![full]));
        assert!(attached.is_settled(&at(5)), "a copy that cannot is reported, not waited for");
        assert_eq!(attached.copies().filter(|copy| copy.has(&at(5))).count(), 1);
    }

    #[test]
    fn a_session_is_attached_while_it_has_a_stream() {
        let mut attached = Attached::default();
        assert!(!attached.acknowledge("host", vec![copy("a", 1)]), "not attached");
        attached.join("host");
        attached.join("host");
        assert!(attached.acknowledge("host", vec![copy("a", 1)]));
        attached.leave("host");
        assert_eq!(attached.copies().count(), 1);
        attached.leave("host");
        assert_eq!(attached.copies().count(), 0);
        assert!(attached.is_settled(&at(9)), "nobody to wait for");
    }

    #[test]
    fn a_position_of_another_history_is_not_the_same() {
        let other = Position { epoch: 2, ..at(5) };
        assert!(!copy("a", 9).has(&other));
    }
}
