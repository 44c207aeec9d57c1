//! Serves a source at an address until it is told to stop.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::transport::server::Router;

use super::address::Address;
use super::connection::Connection;
use super::handshake::Versions;
use super::incoming::{Newest, incoming};
use super::service::Service;
use super::source::Source;
use super::sources::{Anybody, Authorize, Sources};
use super::tls::{TlsError, TlsSource};
use crate::model::proto::treesync_server::TreesyncServer;

/// How often an idle connection is tried, so that a peer behind a dead link is not waited for.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long the answer to that may take.
pub(super) const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(10);
/// Connections that wait until they are taken in; what the standard library asks for, too.
const WAITING_MAX: u32 = 128;
/// How long streams have to end when the server stops.
const GRACE: Duration = Duration::from_secs(2);
/// Room for frames under way: a megabyte a stream, more for all of a connection.
pub(super) const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Why a source is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {problem}")]
    Listen {
        /// Where.
        address: Address,
        /// Why not.
        problem: String,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server broke.
    #[error("the server on {address} failed: {problem}")]
    Failed {
        /// Where.
        address: Address,
        /// Why.
        problem: String,
    },
}

/// A server that listens already, so that its address can be told before the first peer comes.
pub struct Listening<S> {
    sources: Sources<S>,
    router: Router,
    listener: Listener,
    address: Address,
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener, Newest),
}

impl<S: Source> Listening<S> {
    /// Binds the address. Unix sockets are plain and for their owner only; TCP needs TLS, and peers whose certificate
    /// the authority has signed.
    ///
    /// # Errors
    /// When the address is taken or not ours, certificates are missing or broken, or TCP is asked for without TLS.
    pub async fn bind(source: S, address: Address, tls: Option<&TlsSource>) -> Result<Self, ServeError> {
        let sources = Sources::default();
        sources.add("", source);
        Self::bind_sources(sources, Arc::new(Anybody), address, tls).await
    }

    /// As [`Listening::bind`], for sources that come and go, each call allowed or not by `authorize`.
    ///
    /// # Errors
    /// As [`Listening::bind`].
    pub async fn bind_sources(
        sources: Sources<S>,
        authorize: Arc<dyn Authorize>,
        address: Address,
        tls: Option<&TlsSource>,
    ) -> Result<Self, ServeError> {
        let fail = |problem: String| ServeError::Listen { address: address.clone(), problem };
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_ANSWER))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let (listener, bound) = match (&address, tls) {
            (Address::Unix(path), _) => (Listener::Unix(bind_unix(path).await.map_err(|error| fail(error.to_string()))?), address.clone()),
            (Address::Tcp { .. }, None) => return Err(fail("TCP needs TLS: give a certificate, its key and an authority".to_owned())),
            (Address::Tcp { host, port }, Some(tls)) => {
                let newest = Newest::new(tls)?;
                let listener = TcpListener::bind((host.as_str(), *port)).await.map_err(|error| fail(error.to_string()))?;
                let port = listener.local_addr().map_err(|error| fail(error.to_string()))?.port();
                (Listener::Tcp(listener, newest), Address::Tcp { host: host.clone(), port })
            }
        };
        let router = server.add_service(TreesyncServer::new(Service::new(sources.clone(), authorize, Versions::OURS)));
        Ok(Self { sources, router, listener, address: bound })
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until `stop` is ready; then ends all streams, and gives back the source.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { sources, router, listener, address } = self;
        let (told, listen) = tokio::sync::oneshot::channel::<()>();
        let ended = async { drop(listen.await) };
        let serving = async {
            match listener {
                Listener::Unix(listener) => {
                    let incoming = UnixListenerStream::new(listener).map(|accepted| accepted.map(Connection::plain));
                    router.serve_with_incoming_shutdown(incoming, ended).await
                }
                Listener::Tcp(listener, newest) => router.serve_with_incoming_shutdown(incoming(listener, newest), ended).await,
            }
        };
        tokio::pin!(serving);
        let failed = |error: tonic::transport::Error| ServeError::Failed { address: address.clone(), problem: causes(&error) };
        let served = tokio::select! {
            served = &mut serving => served.map_err(failed),
            () = stop => {
                sources.close();
                drop(told);
                tokio::time::timeout(GRACE, serving).await.unwrap_or(Ok(())).map_err(failed)
            }
        };
        if let Address::Unix(path) = &address {
            drop(fs::remove_file(path));
        }
        served
    }
}

/// Binds a socket for its owner only. A socket that nobody answers is a leftover and is replaced; any other file is not.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
        }
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    // Nobody can connect before it listens (connect(2): ECONNREFUSED), so nobody comes while others may.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(WAITING_MAX)
}

/// An error with all of its causes, since the first says the least.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
