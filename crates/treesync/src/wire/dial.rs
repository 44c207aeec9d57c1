//! Makes connections to a publisher by mutual TLS, each with the newest certificates of this end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::tls::{TlsSource, handshake_problem};

/// Connects to one place.
#[derive(Clone)]
pub(super) struct Dial {
    host: String,
    port: u16,
    server_name: ServerName<'static>,
    tls: TlsSource,
}

impl Dial {
    /// To an end whose certificate is for `server_name`.
    pub(super) fn new(host: &str, port: u16, server_name: &str, tls: &TlsSource) -> Result<Self, String> {
        let name = ServerName::try_from(server_name.to_owned()).map_err(|error| format!("{server_name:?}: {error}"))?;
        Ok(Self { host: host.to_owned(), port, server_name: name, tls: tls.clone() })
    }

    async fn connect(self) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let config = self.tls.material().and_then(|material| material.client()).map_err(io::Error::other)?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let shaken = TlsConnector::from(config).connect(self.server_name, stream).await;
        Ok(TokioIo::new(shaken.map_err(|error| io::Error::new(error.kind(), handshake_problem(&error)))?))
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The address is the one that is known already.
    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}
