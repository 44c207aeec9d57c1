//! A session that runs: copies come and go, and the publisher may move, while it follows.

use std::io;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::supervisor::{Notice, Settings, Supervisor};
use super::verifier::{Verdict, Verifier, VerifyError};
use super::worker::Open;
use crate::verify::Finding;
use crate::wire::{Address, Client};

/// Why a session does not do what it is asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionError {
    /// It has another copy of this name.
    #[error("the session has a copy {0:?} already; remove that first, or give this one another name")]
    Taken(String),
    /// It has no copy of this name.
    #[error("the session has no copy {0:?}; add it first")]
    Unknown(String),
    /// The copy is being verified.
    #[error("copy {0:?} is being verified; wait for that to end")]
    Verifying(String),
    /// There is no connection now.
    #[error("there is no connection to {0}; try again when there is")]
    Disconnected(Address),
    /// There is no thread for the copy.
    #[error("no thread for copy {copy:?}: {problem}")]
    Thread {
        /// Which copy.
        copy: String,
        /// Why not.
        problem: String,
    },
    /// It has ended.
    #[error("the session has ended; start another")]
    Ended,
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, SessionError>>;

/// What a session is asked.
pub(super) enum Ask {
    Add {
        name: String,
        open: Open,
        answer: Answer<()>,
    },
    Remove {
        name: String,
        answer: Answer<()>,
    },
    Redirect {
        address: Address,
        server_name: Option<String>,
        answer: Answer<()>,
    },
    /// Close the copy until it is to be resumed; the answer comes when it is closed.
    Pause {
        name: String,
        answer: Answer<Client>,
    },
    Resume {
        name: String,
    },
}

/// The copies of a host that follow one source. All calls can be cancelled; what was asked is done then all the same.
/// Dropping it ends it as well, but tells nobody when each copy is closed: better [`Session::stop`].
pub struct Session {
    asks: mpsc::UnboundedSender<Ask>,
    ended: JoinHandle<io::Result<()>>,
}

impl Session {
    /// Follows the source until it is stopped. Problems of copies and of the connection are told as notices, and tried
    /// again without end. Must be called within a runtime.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn start(settings: Settings, notices: mpsc::UnboundedSender<Notice>) -> io::Result<Self> {
        let (asks, asked) = mpsc::unbounded_channel();
        let supervisor = Supervisor::new(settings, notices)?;
        Ok(Self { asks, ended: tokio::spawn(supervisor.run(asked)) })
    }

    async fn ask<T>(&self, ask: impl FnOnce(Answer<T>) -> Ask) -> Result<T, SessionError> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).map_err(|_| SessionError::Ended)?;
        answered.await.map_err(|_| SessionError::Ended)?
    }

    /// Takes a copy in. It is opened, and follows; notices tell.
    ///
    /// # Errors
    /// When the name is taken, or there is no thread for it.
    pub async fn add(&self, name: &str, open: Open) -> Result<(), SessionError> {
        self.ask(|answer| Ask::Add { name: name.to_owned(), open, answer }).await
    }

    /// Lets a copy finish what it is at, and closes it. When this returns nothing here has a file of the copy open, so
    /// that it can be unmounted. Receipts no longer wait for it.
    ///
    /// # Errors
    /// When there is no such copy, or it is being verified.
    pub async fn remove(&self, name: &str) -> Result<(), SessionError> {
        self.ask(|answer| Ask::Remove { name: name.to_owned(), answer }).await
    }

    /// Follows the source at another publisher from now on: copies stay as they are, and catch up from there. The name is
    /// that in its certificate, where it is not the host of the address.
    ///
    /// # Errors
    /// When the session has ended. That nobody listens there is told as a notice.
    pub async fn redirect(&self, address: Address, server_name: Option<String>) -> Result<(), SessionError> {
        self.ask(|answer| Ask::Redirect { address, server_name, answer }).await
    }

    /// Verifies a copy as [`Verifier::run`] does. Meanwhile the copy serves what it has, and follows on afterwards, so
    /// what the source changes in this time counts as different: the verdict has both positions.
    ///
    /// # Errors
    /// When there is no such copy, no connection, or as [`Verifier::run`].
    pub async fn verify(
        &self,
        name: &str,
        verifier: Verifier,
        repair: bool,
        findings: mpsc::UnboundedSender<Finding>,
    ) -> Result<Verdict, VerifyError> {
        let client = self.ask(|answer| Ask::Pause { name: name.to_owned(), answer }).await?;
        let _resumed = Resumed { asks: &self.asks, name };
        verifier.run(&client, repair, findings).await
    }

    /// Ends all streams and lets each copy finish what it is at. All are closed when it returns.
    ///
    /// # Errors
    /// When a copy does not end in time, or its thread has failed.
    pub async fn stop(self) -> io::Result<()> {
        let Self { asks, ended } = self;
        drop(asks);
        ended.await.map_err(io::Error::other)?
    }
}

/// Has a copy follow again, however its verification ends.
struct Resumed<'a> {
    asks: &'a mpsc::UnboundedSender<Ask>,
    name: &'a str,
}

impl Drop for Resumed<'_> {
    fn drop(&mut self) {
        // A session that has ended has nothing to resume.
        self.asks.send(Ask::Resume { name: self.name.to_owned() }).ok();
    }
}
