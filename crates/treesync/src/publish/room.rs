//! What an engine does when the disk of its index is full: it tells so, and goes on when there is room again.
//!
//! A store whose write failed refuses everything from then on, and is as of its last commit when it is opened again. Nothing
//! is told before it is committed, so that copies were told no more than that.

use super::PublishError;
use super::engine::{Engine, Message, Reply, suspects};
use crate::index::Index;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How long it is waited before the index is opened the first time, and at most. Opening it reads all of it, and what comes
/// after compares the whole source.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// There is no room for the index of a source.
pub(super) struct NoRoom<'a> {
    pub path: &'a Path,
    pub error: &'a str,
}

impl NoRoom<'_> {
    fn refuse<T>(&self, reply: &Reply<T>) {
        // Who asked may have gone.
        let _ = reply.send(Err(PublishError::NoRoom { path: self.path.to_owned(), error: self.error.to_owned() }));
    }

    fn answer(&self, message: Message) {
        match message {
            Message::Woken | Message::Stop => {}
            Message::Push { reply, .. } | Message::Delete { reply, .. } => self.refuse(&reply),
            Message::Checkpoint { reply } | Message::Rescan { reply } | Message::Settle { reply } | Message::LetGo { reply } => {
                self.refuse(&reply);
            }
        }
    }
}

impl Engine {
    /// Waits until the index can be written again, and compares the source from then on. False: it is to end.
    pub(super) fn wait_for_room(&mut self, no_room: &NoRoom) -> Result<bool, PublishError> {
        let problem = PublishError::NoRoom { path: no_room.path.to_owned(), error: no_room.error.to_owned() }.to_string();
        tracing::warn!(%problem, "nothing is published until there is room");
        self.comparison = None;
        let closed = self.shared.close_index(&problem)?;
        loop {
            if !self.refuse_until(Instant::now() + self.room_pause, no_room) {
                return Ok(false);
            }
            self.room_pause = (self.room_pause * 2).min(LONGEST_PAUSE);
            if closed.strong_count() > 0 {
                // Somebody is just looking at it; the file is locked as long.
                continue;
            }
            match self.open_again().map_err(|error| error.of_source(no_room.path)) {
                Ok(()) => return Ok(true),
                Err(PublishError::NoRoom { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers that there is no room. False: it is to end.
    fn refuse_until(&self, deadline: Instant, no_room: &NoRoom) -> bool {
        loop {
            match self.messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Ok(message) => {
                    let is_end = matches!(message, Message::LetGo { .. });
                    no_room.answer(message);
                    if is_end {
                        return false;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    fn open_again(&mut self) -> Result<(), PublishError> {
        let (index, _) = Index::open(&self.root, &self.options.index)?;
        self.suspects = suspects(&index)?;
        self.shared.reopen(index)?;
        self.begin_comparison(false);
        Ok(())
    }
}
