//! Connections that have shaken hands by mutual TLS, each with the newest certificates of this end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{Stream, unfold};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::connection::Connection;
use super::tls::{TlsError, TlsMaterial, TlsSource, handshake_problem};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at the same time; whoever comes then waits in the kernel's queue.
const HANDSHAKES: usize = 512;
/// How long to wait after the kernel gives no connection, for want of descriptors say.
const PAUSE: Duration = Duration::from_millis(100);

/// The newest certificates that can be used.
pub(super) struct Newest {
    source: TlsSource,
    material: TlsMaterial,
    config: Arc<ServerConfig>,
}

impl Newest {
    pub(super) fn new(source: &TlsSource) -> Result<Self, TlsError> {
        let material = source.material()?;
        Ok(Self { source: source.clone(), config: material.server()?, material })
    }

    /// Those that are there now; the last good ones while these are half written.
    fn config(&mut self) -> Arc<ServerConfig> {
        let newer = self.source.material().and_then(|material| {
            let is_same = material == self.material;
            Ok(if is_same { None } else { Some((material.server()?, material)) })
        });
        match newer {
            Ok(Some((config, material))) => (self.config, self.material) = (config, material),
            Ok(None) => {}
            Err(error) => warn!(%error, "renewed certificates cannot be used; those before stay in use"),
        }
        self.config.clone()
    }
}

struct Accepting {
    listener: TcpListener,
    newest: Newest,
    handshakes: JoinSet<Option<TlsStream<TcpStream>>>,
}

/// All connections whose peers are trusted. A peer that is slow or not trusted holds up no other. Never ends.
pub(super) fn incoming(listener: TcpListener, newest: Newest) -> impl Stream<Item = io::Result<Connection<TlsStream<TcpStream>>>> {
    let accepting = Accepting { listener, newest, handshakes: JoinSet::new() };
    unfold(accepting, |mut accepting| async {
        let stream = accepting.next().await;
        Some((Ok(Connection::shaken(stream)), accepting))
    })
}

impl Accepting {
    async fn next(&mut self) -> TlsStream<TcpStream> {
        loop {
            let has_room = self.handshakes.len() < HANDSHAKES;
            tokio::select! {
                Some(shaken) = self.handshakes.join_next() => {
                    if let Ok(Some(stream)) = shaken {
                        return stream;
                    }
                }
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok((stream, peer)) => drop(self.handshakes.spawn(shake(self.newest.config(), stream, peer))),
                    Err(error) => {
                        warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }
}

async fn shake(config: Arc<ServerConfig>, stream: TcpStream, peer: SocketAddr) -> Option<TlsStream<TcpStream>> {
    stream.set_nodelay(true).ok();
    let accepted = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await;
    match accepted.unwrap_or_else(|late| Err(late.into())) {
        Ok(stream) => Some(stream),
        // Also whoever only looks whether the port is open.
        Err(error) if error.get_ref().is_none_or(|cause| !cause.is::<rustls::Error>()) => {
            debug!(%peer, %error, "a peer went before it had shaken hands");
            None
        }
        Err(error) => {
            warn!(%peer, problem = handshake_problem(&error), "a peer was not let in");
            None
        }
    }
}
