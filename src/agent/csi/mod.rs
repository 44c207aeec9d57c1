//! The CSI driver on this node: what the kubelet calls when a pod starts and ends.

mod identity;
mod node;
mod registration;

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tracing::info;

use super::state::Agent;
use crate::api::keys::GROUP;
use crate::ec2::Ec2;

/// Code that is generated from the protocol files.
#[expect(clippy::pedantic, reason = "generated")]
pub(crate) mod pb {
    #[expect(clippy::enum_variant_names, reason = "generated")]
    pub(crate) mod csi {
        tonic::include_proto!("csi.v1");
    }
    pub(crate) mod registration {
        tonic::include_proto!("pluginregistration");
    }
}

/// Name of the socket on which the kubelet finds the driver.
///
/// The `@` matters. The kubelet's client sends the percent-encoded path of this socket as the HTTP/2 `:authority`
/// (kubernetes `pkg/kubelet/pluginmanager/operationexecutor`, `dial`), which Rust's HTTP stack refuses as a host name
/// (hyperium/h2 issue 487). What stands before an `@` is user information, in which percent signs are allowed.
const REGISTRATION_SOCKET: &str = "volumedispatcher.io@reg.sock";

/// Serves Identity and Node on the driver's socket, and announces it to the kubelet on the registration socket.
///
/// Returns once both listen; serving goes on in `tasks`. A socket that an earlier process left is replaced.
pub(super) fn serve<E: Ec2>(agent: &Agent<E>, tasks: &mut tokio::task::JoinSet<()>) -> anyhow::Result<()> {
    let socket = driver_socket(&agent.settings.kubelet);
    let driver = Server::builder()
        .add_service(pb::csi::identity_server::IdentityServer::new(identity::Identity))
        .add_service(pb::csi::node_server::NodeServer::new(node::Node::new(agent.clone())))
        .serve_with_incoming(listen(&socket)?);
    tasks.spawn(async move { drop(driver.await) });
    let announcement = agent.settings.kubelet.join("plugins_registry").join(REGISTRATION_SOCKET);
    let registrar = registration::Registrar::new(socket.clone(), agent.admin.clone());
    let registration = Server::builder()
        .add_service(pb::registration::registration_server::RegistrationServer::new(registrar))
        .serve_with_incoming(listen(&announcement)?);
    tasks.spawn(async move { drop(registration.await) });
    info!(socket = %socket.display(), "serving CSI");
    Ok(())
}

fn driver_socket(kubelet: &Path) -> PathBuf {
    kubelet.join("plugins").join(GROUP).join("csi.sock")
}

fn listen(socket: &Path) -> anyhow::Result<UnixListenerStream> {
    let folder = socket.parent().context("a socket is in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let removed = std::fs::remove_file(socket).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) });
    removed.with_context(|| format!("cannot replace {}", socket.display()))?;
    let listener = UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    Ok(UnixListenerStream::new(listener))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_that_the_kubelet_sends_for_our_socket_is_valid() {
        let path = Path::new("/var/lib/kubelet/plugins_registry").join(REGISTRATION_SOCKET);
        let authority = path.to_string_lossy().replace('/', "%2F");
        assert!(axum::http::uri::Authority::from_maybe_shared(authority.into_bytes()).is_ok());
        let plain = b"%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Fvolumedispatcher.io-reg.sock".as_slice();
        assert!(axum::http::uri::Authority::from_maybe_shared(plain).is_err(), "then the trick is no longer needed");
    }
}
