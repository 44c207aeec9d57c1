//! The other end of the service: calls a publisher, and believes nothing of what it answers.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::address::Address;
use super::attached::CopyState;
use super::dial::Dial;
use super::handshake::{VERSION_METADATA, Versions};
use super::receive::{Messages, Reading};
use super::server::{CONNECTION_WINDOW_BYTES, KEEP_ALIVE, KEEP_ALIVE_ANSWER, STREAM_WINDOW_BYTES, causes};
use super::sources::SOURCE_METADATA;
use super::tls::TlsSource;
use crate::model::proto::treesync_client::TreesyncClient;
use crate::model::{DecodeError, Position, TreePath, Wanted, proto};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take that needs no work.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a source may take to look at a path with all below, beside the wait for copies.
const LOOK: Duration = Duration::from_mins(10);

/// Why a call has no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection: nobody listens, or the ends do not trust each other.
    #[error("no connection to {address}: {problem}")]
    Connect {
        /// Where to.
        address: Address,
        /// Why not.
        problem: String,
    },
    /// The publisher says no. Asking again does not help.
    #[error("{address} refuses: {problem}")]
    Refused {
        /// Who.
        address: Address,
        /// Its words.
        problem: String,
    },
    /// The connection broke, or the publisher cannot now. Asking again may help.
    #[error("{address} failed: {problem}")]
    Failed {
        /// Who.
        address: Address,
        /// Why.
        problem: String,
    },
    /// A frame lied. The connection is closed, nothing is used.
    #[error("{address} sent what cannot be: {problem}")]
    Lied {
        /// Who.
        address: Address,
        /// How.
        problem: String,
    },
}

/// Adds the chosen version to each call.
#[derive(Clone, Debug)]
struct Spoken {
    version: MetadataValue<Ascii>,
    source: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Spoken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(VERSION_METADATA, self.version.clone());
        if let Some(source) = &self.source {
            request.metadata_mut().insert(SOURCE_METADATA, source.clone());
        }
        Ok(request)
    }
}

/// A connection to a publisher whose version is agreed. Clones share it. All calls can be cancelled at any await: what
/// was asked may have been done then, and can be asked again.
#[derive(Clone, Debug)]
pub struct Client {
    calls: TreesyncClient<InterceptedService<Channel, Spoken>>,
    address: Address,
}

/// What [`Client::push`] and [`Client::delete`] bring about.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// A copy at it has the change.
    pub position: Position,
    /// What changed or would, in order.
    pub paths: Vec<TreePath>,
    /// Whether more paths changed than are listed.
    pub is_cut_off: bool,
    /// All attached copies, and where they are.
    pub copies: Vec<CopyState>,
    /// Whether all of them have the change, also after a loss of power.
    pub is_complete: bool,
}

/// How a source and its copies are.
#[derive(Clone, Debug)]
pub struct Report {
    /// The newest of the source.
    pub position: Position,
    /// How it learns of changes, in a word.
    pub state: String,
    /// More, each with its name.
    pub details: Vec<(String, String)>,
    /// All attached copies.
    pub copies: Vec<CopyState>,
}

fn with_deadline<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

fn change(path: &TreePath, is_dry_run: bool, wait: Duration) -> Request<proto::ChangeRequest> {
    let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    // A large tree takes its time to be looked at, beyond the wait for copies.
    with_deadline(proto::ChangeRequest { path: path.as_bytes().to_vec().into(), is_dry_run, wait_ms }, wait + LOOK)
}

fn said(address: &Address, status: &Status) -> CallError {
    let cause = std::error::Error::source(status).map(|cause| format!(": {}", causes(cause)));
    let message = if status.message().is_empty() { status.code().description() } else { status.message() };
    let (address, problem) = (address.clone(), format!("{message}{}", cause.unwrap_or_default()));
    match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => {
            CallError::Refused { address, problem }
        }
        Code::OutOfRange | Code::DataLoss => CallError::Lied { address, problem },
        _ => CallError::Failed { address, problem },
    }
}

/// Why the first call failed. An end that does not trust our certificate may close the connection without a word,
/// after ours has trusted its own.
fn unheard(address: &Address, status: &Status) -> CallError {
    match said(address, status) {
        CallError::Failed { address, problem } if matches!(address, Address::Tcp { .. }) => {
            let hint = "when that happens at once, the other end does not trust our certificate";
            CallError::Connect { address, problem: format!("{problem} ({hint})") }
        }
        error => error,
    }
}

/// Connects; certificates are the newest, also when the channel connects again.
async fn channel(address: &Address, server_name: Option<&str>, tls: Option<&TlsSource>) -> Result<Channel, CallError> {
    let fail = |problem: String| CallError::Connect { address: address.clone(), problem };
    let broken = |error: tonic::transport::Error| fail(causes(&error));
    let channel = match (address, tls) {
        (Address::Unix(_), _) => endpoint(&address.to_string()).map_err(broken)?.connect().await,
        (Address::Tcp { .. }, None) => return Err(fail("TCP needs TLS: give a certificate, its key and an authority".to_owned())),
        (Address::Tcp { host, port }, Some(tls)) => {
            let dial = Dial::new(host, *port, server_name.unwrap_or(host), tls).map_err(fail)?;
            // With this scheme the channel leaves TLS to the connector.
            endpoint(&format!("http://{address}")).map_err(broken)?.connect_with_connector(dial).await
        }
    };
    channel.map_err(broken)
}

fn endpoint(uri: &str) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(uri.to_owned())?;
    Ok(endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
}

impl Client {
    /// Connects, and agrees on a version.
    ///
    /// # Errors
    /// When nobody listens, certificates are not trusted, or there is no version that both speak.
    pub async fn connect(address: &Address, tls: Option<&TlsSource>) -> Result<Self, CallError> {
        Self::connect_named(address, None, "", tls).await
    }

    /// As [`Client::connect`], to an end whose certificate is for `server_name` instead of the host of its address, for
    /// one of several sources that it serves; the only one of an end that serves one has no name.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_named(
        address: &Address,
        server_name: Option<&str>,
        source: &str,
        tls: Option<&TlsSource>,
    ) -> Result<Self, CallError> {
        Self::greet(address, channel(address, server_name, tls).await?, source, Versions::OURS).await
    }

    /// As [`Client::connect`], for an end that speaks other versions than this program.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_speaking(address: &Address, tls: Option<&TlsSource>, versions: Versions) -> Result<Self, CallError> {
        Self::greet(address, channel(address, None, tls).await?, "", versions).await
    }

    async fn greet(address: &Address, channel: Channel, source: &str, versions: Versions) -> Result<Self, CallError> {
        let fail = |problem: String| CallError::Connect { address: address.clone(), problem };
        let named = |source: &str| source.parse().map_err(|_| fail(format!("the name of source {source:?} is no plain text")));
        let source = Some(source).filter(|source| !source.is_empty()).map(named).transpose()?;
        let hello = with_deadline(versions.hello(), ANSWER);
        let reply = TreesyncClient::new(channel.clone()).hello(hello).await.map_err(|status| unheard(address, &status))?.into_inner();
        if !versions.contains(reply.version) {
            let problem = format!("it chose version {}, which this end does not speak", reply.version);
            return Err(CallError::Refused { address: address.clone(), problem });
        }
        let calls = TreesyncClient::with_interceptor(channel, Spoken { version: MetadataValue::from(reply.version), source });
        Ok(Self { calls, address: address.clone() })
    }

    pub(super) fn said(&self, status: &Status) -> CallError {
        said(&self.address, status)
    }

    #[expect(clippy::needless_pass_by_value, reason = "what map_err gives")]
    pub(super) fn lied(&self, problem: impl ToString) -> CallError {
        CallError::Lied { address: self.address.clone(), problem: problem.to_string() }
    }

    /// For a stream that ended without a reason.
    pub(crate) fn ended(&self) -> CallError {
        CallError::Failed { address: self.address.clone(), problem: "the stream ended".to_owned() }
    }

    fn position(&self, position: Option<proto::Position>) -> Result<Position, CallError> {
        let position = position.ok_or_else(|| self.lied("the answer has no position"))?;
        position.try_into().map_err(|error: DecodeError| self.lied(error))
    }

    /// What happens after a position, without end; with none, first a manifest. `session` names this end in
    /// acknowledgements, `copies` are those that will follow, and where they are.
    ///
    /// # Errors
    /// The publisher refuses, or the connection broke. What comes later on the stream has its own errors.
    pub async fn subscribe(&self, since: Option<Position>, session: &str, copies: &[CopyState]) -> Result<Messages, CallError> {
        self.subscribe_with(since, session, copies, false).await
    }

    /// As [`Client::subscribe`], with files that are likely to change next ([`super::Message::Ahead`]) among it.
    ///
    /// # Errors
    /// As [`Client::subscribe`].
    pub async fn subscribe_ahead(&self, since: Option<Position>, session: &str, copies: &[CopyState]) -> Result<Messages, CallError> {
        self.subscribe_with(since, session, copies, true).await
    }

    async fn subscribe_with(
        &self,
        since: Option<Position>,
        session: &str,
        copies: &[CopyState],
        wants_ahead: bool,
    ) -> Result<Messages, CallError> {
        let (since, copies) = (since.as_ref().map(Into::into), copies.iter().map(Into::into).collect());
        let request = proto::SubscribeRequest { since, session: session.to_owned(), copies, wants_ahead };
        let frames = self.calls.clone().subscribe(request).await.map_err(|status| self.said(&status))?.into_inner();
        Ok(Messages::new(self.clone(), frames))
    }

    /// Digests of all directories; or, when some are named, these with what is directly in them, and all hard links.
    ///
    /// # Errors
    /// As [`Client::subscribe`].
    pub async fn compare(&self, directories: &[TreePath], with_content: bool) -> Result<Messages, CallError> {
        let directories = directories.iter().map(|path| path.as_bytes().to_vec().into()).collect();
        let request = proto::CompareRequest { directories, with_content };
        let frames = self.calls.clone().compare(request).await.map_err(|status| self.said(&status))?.into_inner();
        Ok(Messages::new(self.clone(), frames))
    }

    /// Says where copies are.
    ///
    /// # Errors
    /// The session has no stream open, or the connection broke.
    pub async fn acknowledge(&self, session: &str, copies: &[CopyState]) -> Result<(), CallError> {
        let request = proto::AcknowledgeRequest { session: session.to_owned(), copies: copies.iter().map(Into::into).collect() };
        self.calls.clone().acknowledge(with_deadline(request, ANSWER)).await.map_err(|status| self.said(&status))?;
        Ok(())
    }

    /// Bytes of files, in the order asked; at most 4,096 files a call.
    ///
    /// # Errors
    /// As [`Client::subscribe`]. Files that the source no longer has are no error: [`Piece::Gone`](super::Piece::Gone).
    pub async fn read(&self, wanted: Vec<Wanted>) -> Result<Reading, CallError> {
        let request = proto::ReadRequest { wanted: wanted.iter().map(Into::into).collect() };
        let chunks = self.calls.clone().read(request).await.map_err(|status| self.said(&status))?.into_inner();
        Ok(Reading::new(self.clone(), chunks, wanted))
    }

    /// Looks at a path of the source at once, and waits until copies have what stands there.
    ///
    /// # Errors
    /// Nothing is there or it does not travel, this end may not ask for it, or the connection broke. A copy that has not
    /// followed in time is no error: the receipt names it.
    pub async fn push(&self, path: &TreePath, is_dry_run: bool, wait: Duration) -> Result<Receipt, CallError> {
        let request = change(path, is_dry_run, wait);
        let receipt = self.calls.clone().push(request).await.map_err(|status| self.said(&status))?.into_inner();
        self.receipt(receipt)
    }

    /// Removes a path from the source, and waits until copies have followed.
    ///
    /// # Errors
    /// As [`Client::push`]; or the source cannot remove it, or not all of it.
    pub async fn delete(&self, path: &TreePath, is_dry_run: bool, wait: Duration) -> Result<Receipt, CallError> {
        let request = change(path, is_dry_run, wait);
        let receipt = self.calls.clone().delete(request).await.map_err(|status| self.said(&status))?.into_inner();
        self.receipt(receipt)
    }

    fn receipt(&self, receipt: proto::Receipt) -> Result<Receipt, CallError> {
        let paths = receipt.paths.into_iter().map(|path| TreePath::parse(path.to_vec()));
        Ok(Receipt {
            position: self.position(receipt.position)?,
            paths: paths.collect::<Result<_, _>>().map_err(|error| self.lied(error))?,
            is_cut_off: receipt.is_cut_off,
            copies: self.copies(receipt.copies)?,
            is_complete: receipt.is_complete,
        })
    }

    fn copies(&self, copies: Vec<proto::CopyState>) -> Result<Vec<CopyState>, CallError> {
        copies.into_iter().map(TryInto::try_into).collect::<Result<_, DecodeError>>().map_err(|error| self.lied(error))
    }

    /// Makes what the source is now durable, and tells where that is.
    ///
    /// # Errors
    /// The source cannot be read or synced, this end may not ask for it, or the connection broke.
    pub async fn checkpoint(&self) -> Result<Position, CallError> {
        let reply = self.calls.clone().checkpoint(proto::CheckpointRequest {}).await.map_err(|status| self.said(&status))?;
        self.position(reply.into_inner().position)
    }

    /// Has the source compared with its index, and tells where it is then.
    ///
    /// # Errors
    /// As [`Client::checkpoint`].
    pub async fn rescan(&self) -> Result<Position, CallError> {
        let reply = self.calls.clone().rescan(proto::RescanRequest {}).await.map_err(|status| self.said(&status))?;
        self.position(reply.into_inner().position)
    }

    /// How the source and its copies are.
    ///
    /// # Errors
    /// This end may not ask for it, or the connection broke.
    pub async fn status(&self) -> Result<Report, CallError> {
        let request = with_deadline(proto::StatusRequest {}, ANSWER);
        let reply = self.calls.clone().status(request).await.map_err(|status| self.said(&status))?.into_inner();
        let details = reply.details.into_iter().map(|field| (field.name, field.value)).collect();
        Ok(Report { position: self.position(reply.position)?, state: reply.state, details, copies: self.copies(reply.copies)? })
    }
}
