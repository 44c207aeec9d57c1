//! A connection that each of its calls can tell from the others, with who is at the other end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tonic::Request;
use tonic::transport::server::Connected;

use super::sources::Peer;

/// A stream of bytes, and what its calls are told of it.
pub(super) struct Connection<T> {
    stream: T,
    link: Link,
}

/// The other end of one connection. Clones are the same connection; another to the same peer is another.
#[derive(Clone, Default)]
pub(super) struct Link(pub(super) Arc<Peer>);

impl Link {
    /// Of the connection by which a call came.
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }
}

impl Connection<UnixStream> {
    pub(super) fn plain(stream: UnixStream) -> Self {
        Self { stream, link: Link::default() }
    }
}

impl Connection<TlsStream<TcpStream>> {
    /// After the handshake.
    pub(super) fn shaken(stream: TlsStream<TcpStream>) -> Self {
        let leaf = stream.get_ref().1.peer_certificates().and_then(|certificates| certificates.first());
        let leaf = leaf.and_then(|leaf| webpki::EndEntityCert::try_from(leaf).ok());
        let dns_names = leaf.iter().flat_map(|leaf| leaf.valid_dns_names()).map(str::to_owned).collect();
        Self { link: Link(Arc::new(Peer { dns_names })), stream }
    }
}

impl<T> Connected for Connection<T> {
    type ConnectInfo = Link;

    fn connect_info(&self) -> Link {
        self.link.clone()
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
