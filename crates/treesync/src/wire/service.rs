//! The service of a publisher: what each call of the protocol does.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::attached::CopyState;
use super::comparison::Comparison;
use super::connection::Link;
use super::handshake::{VERSION_METADATA, Versions, program};
use super::hub::Hub;
use super::source::{Source, SourceError, Steps};
use super::sources::{Authorize, Call, Sources};
use crate::model::{Position, TreePath, Wanted, proto};
use crate::publish::{Changed, Limit, Step};

type Stream<T> = ReceiverStream<Result<T, Status>>;

/// How many frames wait for a slow peer before its thread does.
const FRAMES_AHEAD: usize = 4;
/// How often the thread of an idle stream looks whether its peer is still there.
const IDLE: Duration = Duration::from_millis(200);
/// How often an idle stream says that its peer is still in sync: with [`IDLE`], at least once a second.
const HEARTBEAT: Duration = Duration::from_millis(800);
/// A chunk of a file: large enough that its cost does not count, small enough to share a connection.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// How many files one call asks for at most.
pub(super) const WANTED_MAX: usize = 4096;
/// How many paths a receipt lists at most.
const PATHS_MAX: usize = 10_000;
/// The longest that a receipt waits for copies.
const WAIT_MAX: Duration = Duration::from_mins(10);

/// What each call of the protocol does. Shared by all connections.
pub(super) struct Service<S> {
    sources: Sources<S>,
    authorize: Arc<dyn Authorize>,
    versions: Versions,
}

/// The source that a call is for, and the connection that it came by.
struct Asked<S> {
    hub: Arc<Hub<S>>,
    link: Link,
}

impl<S: Source> Service<S> {
    pub(super) fn new(sources: Sources<S>, authorize: Arc<dyn Authorize>, versions: Versions) -> Self {
        Self { sources, authorize, versions }
    }

    /// The message of a call whose peer has shaken hands and may ask that, and the source that it asks.
    fn checked<T>(&self, request: Request<T>, call: Call) -> Result<(T, Asked<S>), Status> {
        let said = request.metadata().get(VERSION_METADATA).and_then(|value| value.to_str().ok()?.parse().ok());
        match said {
            Some(version) if self.versions.contains(version) => {
                let hub = self.sources.of(&request, &*self.authorize, call)?;
                let link = Link::of(&request);
                Ok((request.into_inner(), Asked { hub, link }))
            }
            _ => Err(Status::failed_precondition(format!(
                "the call has no {VERSION_METADATA} that this end ({}) speaks; it speaks {} to {}: say Hello first",
                program(),
                self.versions.min,
                self.versions.max
            ))),
        }
    }
}

impl<S: Source> Asked<S> {
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&S) -> Result<T, SourceError> + Send + 'static) -> Result<T, Status> {
        let hub = self.hub.clone();
        let done = tokio::task::spawn_blocking(move || work(&hub.source)).await;
        done.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| refusal(&error))
    }

    /// Waits until each attached copy has the change or says why not, then says who has it.
    async fn receipt(&self, changed: Changed, request: &proto::ChangeRequest) -> proto::Receipt {
        let wait = Duration::from_millis(request.wait_ms.into()).min(WAIT_MAX);
        if !request.is_dry_run {
            self.hub.settled(&changed.position, Instant::now() + wait).await;
        }
        let copies = self.hub.copies();
        proto::Receipt {
            is_complete: !request.is_dry_run && copies.iter().all(|copy| copy.has(&changed.position)),
            copies: copies.iter().map(Into::into).collect(),
            position: Some((&changed.position).into()),
            is_cut_off: changed.paths.len() > PATHS_MAX,
            paths: changed.paths.iter().take(PATHS_MAX).map(|path| Bytes::copy_from_slice(path.as_bytes())).collect(),
        }
    }

    /// A stream that a thread of its own fills until it is through, or the peer or the server is gone.
    fn stream<T: Send + 'static>(
        &self,
        fill: impl FnOnce(&Hub<S>, &Limit, &Outlet<T>) -> Result<(), Status> + Send + 'static,
    ) -> Result<Response<Stream<T>>, Status> {
        let (outlet, stream) = mpsc::channel(FRAMES_AHEAD);
        let (hub, runtime) = (self.hub.clone(), tokio::runtime::Handle::current());
        let limit = hub.limit(&self.link);
        let thread = std::thread::Builder::new().name("treesync-stream".to_owned());
        let run = move || {
            let outlet = Outlet { peer: outlet, closing: hub.closing(), runtime };
            if let Err(status) = fill(&hub, &limit, &outlet) {
                // What it had of the source is closed by now.
                drop(hub);
                // A peer that is gone needs no reason.
                drop(outlet.peer.blocking_send(Err(status)));
            }
        };
        thread.spawn(run).map_err(|error| Status::resource_exhausted(format!("no thread for the stream: {error}")))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Where a thread puts what its peer shall get.
pub(super) struct Outlet<T> {
    peer: mpsc::Sender<Result<T, Status>>,
    closing: watch::Receiver<bool>,
    runtime: tokio::runtime::Handle,
}

impl<T> Outlet<T> {
    /// Blocks while the peer is slow, until all streams end: one that takes nothing does not hold the source.
    pub(super) fn put(&self, item: T) -> Result<(), Status> {
        let gone = || Status::cancelled("the peer is gone");
        let item = match self.peer.try_send(Ok(item)) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(gone()),
            Err(mpsc::error::TrySendError::Full(item)) => item,
        };
        let mut closing = self.closing.clone();
        self.runtime.block_on(async {
            tokio::select! {
                sent = self.peer.send(item) => sent.map_err(|_| gone()),
                _ = closing.wait_for(|is_closing| *is_closing) => Err(Status::unavailable("the publisher is stopping")),
            }
        })
    }

    fn is_closed(&self) -> bool {
        self.peer.is_closed()
    }
}

pub(super) fn refusal(error: &SourceError) -> Status {
    match error {
        SourceError::Refused(why) => Status::invalid_argument(why),
        SourceError::Failed(why) => Status::unavailable(why),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err gives")]
fn invalid(error: impl ToString) -> Status {
    Status::invalid_argument(error.to_string())
}

/// Sends steps until the peer or the source ends.
fn follow<S: Source>(hub: &Hub<S>, steps: &mut dyn Steps, outlet: &Outlet<proto::Frame>) -> Result<(), Status> {
    let mut sequence = 0;
    let mut in_sync: Option<(Position, Instant)> = None;
    while !outlet.is_closed() {
        if hub.is_closing() {
            return Err(Status::unavailable("the publisher is stopping"));
        }
        let step = match (steps.next(IDLE).map_err(|error| refusal(&error))?, in_sync) {
            (Some(step), _) => step,
            (None, Some((position, at))) if at.elapsed() >= HEARTBEAT && steps.is_in_sync() => Step::InSync(position),
            (None, _) => continue,
        };
        in_sync = match &step {
            Step::InSync(position) => Some((*position, Instant::now())),
            Step::Ahead(_) => in_sync,
            Step::Batch(_) | Step::Manifest(_) => None,
        };
        for frame in hub.encode(&step).iter() {
            outlet.put(proto::Frame { sequence, ..frame.clone() })?;
            hub.source.sent(frame.payload.len() as u64);
            sequence += 1;
        }
    }
    Ok(())
}

/// The source has other bytes by now.
fn gone(index: u32) -> proto::Chunk {
    proto::Chunk { index, payload: Bytes::new(), digest: Bytes::new(), is_gone: true }
}

/// The file changed, shrank, or was removed on a filesystem that forgets it.
fn is_of_a_change(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, StaleNetworkFileHandle, UnexpectedEof};
    matches!(error.kind(), InvalidData | NotFound | StaleNetworkFileHandle | UnexpectedEof)
}

/// Sends the bytes of one file.
fn send_file(reader: &mut dyn Read, wanted: &Wanted, index: u32, outlet: &Outlet<proto::Chunk>) -> Result<(), Status> {
    let mut hasher = blake3::Hasher::new();
    let mut left = wanted.length_bytes;
    loop {
        let length = left.min(CHUNK_BYTES as u64);
        let mut payload = Vec::with_capacity(usize::try_from(length).map_err(invalid)?);
        let read = Read::take(&mut *reader, length).read_to_end(&mut payload);
        let is_gone = match read {
            Ok(read) => (read as u64) < length,
            Err(error) if is_of_a_change(&error) => true,
            Err(error) => return Err(Status::unavailable(format!("{} cannot be read: {error}", wanted.path))),
        };
        if is_gone {
            return outlet.put(gone(index));
        }
        hasher.update(&payload);
        left -= length;
        // A change within one tick of the clock leaves no other trace.
        if left == 0 && wanted.is_whole() && hasher.finalize().as_bytes() != &wanted.content.0 {
            return outlet.put(gone(index));
        }
        let digest = if left == 0 { Bytes::copy_from_slice(hasher.finalize().as_bytes()) } else { Bytes::new() };
        outlet.put(proto::Chunk { index, payload: payload.into(), digest, is_gone: false })?;
        if left == 0 {
            return Ok(());
        }
    }
}

#[tonic::async_trait]
impl<S: Source> proto::treesync_server::Treesync for Service<S> {
    type SubscribeStream = Stream<proto::Frame>;
    type ReadStream = Stream<proto::Chunk>;
    type CompareStream = Stream<proto::Frame>;

    async fn hello(&self, request: Request<proto::HelloRequest>) -> Result<Response<proto::HelloReply>, Status> {
        let version = self.versions.choose(request.get_ref()).map_err(|refused| Status::failed_precondition(refused.to_string()))?;
        Ok(Response::new(proto::HelloReply { version, capabilities: Vec::new(), program: program() }))
    }

    async fn subscribe(&self, request: Request<proto::SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let (proto::SubscribeRequest { since, session, copies, wants_ahead }, asked) = self.checked(request, Call::Follow)?;
        let since: Option<Position> = since.map(TryInto::try_into).transpose().map_err(invalid)?;
        let copies: Vec<CopyState> = copies.into_iter().map(TryInto::try_into).collect::<Result<_, _>>().map_err(invalid)?;
        let joined = Hub::join(&asked.hub, session, copies);
        asked.stream(move |hub, limit, outlet| {
            let _joined = joined;
            let mut steps = hub.source.subscribe(limit, since).map_err(|error| refusal(&error))?;
            if wants_ahead {
                steps.want_ahead();
            }
            follow(hub, steps.as_mut(), outlet)
        })
    }

    async fn acknowledge(&self, request: Request<proto::AcknowledgeRequest>) -> Result<Response<proto::AcknowledgeReply>, Status> {
        let (proto::AcknowledgeRequest { session, copies }, asked) = self.checked(request, Call::Follow)?;
        let copies: Vec<CopyState> = copies.into_iter().map(TryInto::try_into).collect::<Result<_, _>>().map_err(invalid)?;
        let Some(seen) = asked.hub.acknowledge(&session, copies) else {
            return Err(Status::failed_precondition(format!("session {session:?} has no stream open, or too many copies")));
        };
        for (before, now) in seen {
            asked.hub.source.seen(before, now);
        }
        Ok(Response::new(proto::AcknowledgeReply {}))
    }

    async fn read(&self, request: Request<proto::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let (proto::ReadRequest { wanted }, asked) = self.checked(request, Call::Follow)?;
        if wanted.len() > WANTED_MAX {
            return Err(invalid(format!("{} files are asked for in one call; at most {WANTED_MAX}", wanted.len())));
        }
        let wanted: Vec<Wanted> = wanted.into_iter().map(TryInto::try_into).collect::<Result<_, _>>().map_err(invalid)?;
        asked.stream(move |hub, limit, outlet| {
            for (index, wanted) in (0..).zip(&wanted) {
                match hub.source.open(limit, wanted).map_err(|error| refusal(&error))? {
                    Some(mut reader) => {
                        send_file(reader.as_mut(), wanted, index, outlet)?;
                        hub.source.sent(wanted.length_bytes);
                    }
                    None => outlet.put(gone(index))?,
                }
            }
            Ok(())
        })
    }

    async fn compare(&self, request: Request<proto::CompareRequest>) -> Result<Response<Self::CompareStream>, Status> {
        let (request, asked) = self.checked(request, Call::Follow)?;
        let paths = request.directories.iter().map(|path| TreePath::parse(path.to_vec()));
        let directories = paths.collect::<Result<_, _>>().map_err(invalid)?;
        let mut comparison = Comparison::new(directories, request.with_content);
        asked.stream(move |hub, limit, outlet| {
            let mut steps = hub.source.subscribe(limit, None).map_err(|error| refusal(&error))?;
            while !outlet.is_closed() && !hub.is_closing() {
                match steps.next(IDLE).map_err(|error| refusal(&error))? {
                    Some(Step::Manifest(part)) => {
                        let is_last = part.is_last_part;
                        comparison.take(part, outlet)?;
                        if is_last {
                            return comparison.finish(outlet);
                        }
                    }
                    Some(_) => return Err(Status::unavailable("the list of entries ended early")),
                    None => {}
                }
            }
            Ok(())
        })
    }

    async fn push(&self, request: Request<proto::ChangeRequest>) -> Result<Response<proto::Receipt>, Status> {
        let (request, asked) = self.checked(request, Call::Change)?;
        let (path, is_dry_run) = (TreePath::parse(request.path.to_vec()).map_err(invalid)?, request.is_dry_run);
        let changed = asked.blocking(move |source| source.push(&path, is_dry_run)).await?;
        Ok(Response::new(asked.receipt(changed, &request).await))
    }

    async fn delete(&self, request: Request<proto::ChangeRequest>) -> Result<Response<proto::Receipt>, Status> {
        let (request, asked) = self.checked(request, Call::Change)?;
        let (path, is_dry_run) = (TreePath::parse(request.path.to_vec()).map_err(invalid)?, request.is_dry_run);
        if path.is_root() {
            return Err(invalid("the root of the tree cannot be deleted; name a path in it"));
        }
        let changed = asked.blocking(move |source| source.delete(&path, is_dry_run)).await?;
        Ok(Response::new(asked.receipt(changed, &request).await))
    }

    async fn checkpoint(&self, request: Request<proto::CheckpointRequest>) -> Result<Response<proto::CheckpointReply>, Status> {
        let (_, asked) = self.checked(request, Call::Maintain)?;
        let position = asked.blocking(S::checkpoint).await?;
        Ok(Response::new(proto::CheckpointReply { position: Some((&position).into()) }))
    }

    async fn rescan(&self, request: Request<proto::RescanRequest>) -> Result<Response<proto::RescanReply>, Status> {
        let (_, asked) = self.checked(request, Call::Maintain)?;
        let position = asked.blocking(S::rescan).await?;
        Ok(Response::new(proto::RescanReply { position: Some((&position).into()) }))
    }

    async fn status(&self, request: Request<proto::StatusRequest>) -> Result<Response<proto::StatusReply>, Status> {
        let (_, asked) = self.checked(request, Call::Status)?;
        let status = asked.blocking(|source| Ok(source.status())).await?;
        let details = status.details.into_iter().map(|(name, value)| proto::Field { name, value }).collect();
        let copies = asked.hub.copies().iter().map(Into::into).collect();
        Ok(Response::new(proto::StatusReply { position: Some((&status.position).into()), state: status.state, details, copies }))
    }
}
