//! A relay from the loopback address of this process's network namespace into the cluster's.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Accepts on a loopback port of this process's namespace and connects to one address inside the cluster's.
/// Dropping it closes the port and all its connections.
///
/// A socket belongs to the namespace of the thread that creates it. So the listener is made first, then a thread of
/// its own moves into the cluster's namespace and connects there.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay to `target` in the namespace that the file `netns` names.
    pub(crate) fn start(netns: &Path, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on loopback")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let namespace = std::fs::File::open(netns);
        let namespace = namespace.with_context(|| format!("cannot open {}", netns.display()))?;
        let (stop, stopped) = oneshot::channel();
        let (entered, has_entered) = mpsc::channel();
        let thread = std::thread::Builder::new().name("relay".into()).spawn(move || {
            let network = Some(LinkNameSpaceType::Network);
            let moved = move_into_link_name_space(rustix::fd::AsFd::as_fd(&namespace), network);
            let failed = moved.is_err();
            let _ = entered.send(moved);
            if !failed {
                // An error here means that the system is out of descriptors: clients see a closed port.
                let _ = serve(listener, target, stopped);
            }
        })?;
        has_entered.recv()?.context("cannot enter the cluster's network namespace")?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The address to connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread is in the cluster's namespace and would keep it alive.
            let _ = thread.join();
        }
    }
}

/// Relays on this thread until `stopped` resolves.
fn serve(listener: TcpListener, target: SocketAddr, stopped: oneshot::Receiver<()>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let accept = async {
            loop {
                match listener.accept().await {
                    Ok((client, _)) => drop(tokio::spawn(forward(client, target))),
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
                }
            }
        };
        tokio::select! {
            () = accept => {}
            _ = stopped => {}
        }
        Ok(())
    })
}

async fn forward(mut client: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    // Requests are small and answers are awaited: waiting to fill packets only adds delay.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn bytes_go_both_ways_and_the_port_closes_with_the_relay() {
        if !rustix::process::geteuid().is_root() {
            std::io::Write::write_all(
                &mut std::io::stderr(),
                b"SKIPPED: bytes_go_both_ways_and_the_port_closes_with_the_relay: entering a network namespace needs root\n",
            )
            .unwrap();
            return;
        }
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Relay::start(Path::new("/proc/self/ns/net"), server.local_addr().unwrap()).unwrap();
        let mut client = std::net::TcpStream::connect(relay.address()).unwrap();
        client.write_all(b"ping").unwrap();
        let (mut accepted, _) = server.accept().unwrap();
        let mut bytes = [0; 4];
        accepted.read_exact(&mut bytes).unwrap();
        accepted.write_all(&bytes).unwrap();
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"ping");
        let address = relay.address();
        drop(relay);
        std::net::TcpStream::connect(address).unwrap_err();
    }

    #[test]
    fn a_missing_namespace_is_named() {
        let error = Relay::start(Path::new("/nonexistent/ns"), "127.0.0.1:1".parse().unwrap());
        assert!(error.unwrap_err().to_string().contains("/nonexistent/ns"));
    }
}
