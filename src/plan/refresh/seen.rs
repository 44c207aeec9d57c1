//! What is seen of the refreshing of ready volumes: the limits, what a volume has of its source, and its last refresh.

use jiff::{SignedDuration, Timestamp};

use crate::domain::{NodeName, SyncPosition};

use super::super::observation::VolumeSeen;

/// How far ready volumes may fall behind their source. A limit that is none does not count.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RefreshWanted {
    /// How long ago they may last have had all that the source had.
    pub max_age: Option<SignedDuration>,
    /// How many sync generations they may lack.
    pub max_generations: Option<u64>,
}

/// What a volume has of its source, at least.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ContentSeen {
    /// Its position, also after a loss of power; none when nobody knows it.
    pub position: Option<SyncPosition>,
    /// When it last had all that the source had.
    pub time: Option<Timestamp>,
}

/// The last refresh of a volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefreshSeen {
    /// The node that was given the volume for it.
    pub node: NodeName,
    /// When it began.
    pub started: Timestamp,
    /// Where the source was then: what the volume shall have at least.
    pub target: SyncPosition,
    /// How many in a row have failed, this one included.
    pub failures: u32,
    /// When it ended; none while it is under way.
    pub ended: Option<Timestamp>,
    /// Why the volume does not have what it should.
    pub error: Option<String>,
}

/// How a refresh ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RefreshEnd {
    /// The volume has what the source had when it began.
    Done,
    /// It does not, and another try comes later than the last did.
    Failed(String),
    /// Something else is more important, or it is not wanted any more. Nobody failed.
    Stopped(String),
}

impl RefreshEnd {
    /// The word for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::Stopped(_) => "stopped",
        }
    }

    /// How many refreshes in a row have failed then, when there were so many before.
    pub fn failures(&self, before: u32) -> u32 {
        match self {
            Self::Done => 0,
            Self::Failed(_) => before.saturating_add(1),
            Self::Stopped(_) => before,
        }
    }

    /// Why the volume does not have what it should.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Done => None,
            Self::Failed(why) | Self::Stopped(why) => Some(why),
        }
    }
}

impl VolumeSeen {
    /// Whether it is on a node to be refreshed, by the word of the controller, and nobody has claimed it.
    pub fn is_refreshing(&self) -> bool {
        let is_there = |refresh: &RefreshSeen| refresh.ended.is_none() && self.node_name.as_ref() == Some(&refresh.node);
        self.claim.is_none() && self.refresh.as_ref().is_some_and(is_there)
    }

    /// The place of its content among that of others of its pool: what compares more is newer, and what nobody knows least.
    pub(in super::super) fn content_rank(&self) -> Option<(u64, u64)> {
        let position = self.content.as_ref()?.position.as_ref()?;
        Some((position.epoch, position.generation))
    }
}
