//! The instance metadata service, version 2: an endpoint on loopback for each running instance.
//!
//! A client reaches it by `AWS_EC2_METADATA_SERVICE_ENDPOINT`. An instance that does not run has none.

mod tokens;
mod tree;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::shell::Shell;
use crate::world::InstancePhase;
use tokens::Tokens;

/// The header with a token.
const TOKEN: &str = "x-aws-ec2-metadata-token";
/// The header with the life of a token, in seconds.
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// How often to look for instances that came or went by time alone.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Where the endpoint of each instance is.
#[derive(Debug, Default)]
pub(crate) struct Endpoints(Mutex<BTreeMap<String, SocketAddr>>);

impl Endpoints {
    /// The address of an instance's endpoint.
    pub(crate) fn of(&self, instance_id: &str) -> Option<SocketAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(instance_id).copied()
    }

    fn set(&self, open: &BTreeMap<String, Endpoint>) {
        let addresses = open.iter().map(|(id, endpoint)| (id.clone(), endpoint.address)).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }
}

/// An endpoint that listens. Dropping it closes it.
struct Endpoint {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Keeps an endpoint open on this address for each running instance, until `stop`.
///
/// Cancel safe: the endpoints close with it.
pub(crate) async fn serve(shell: Arc<Shell>, ip: IpAddr, mut stop: watch::Receiver<bool>) {
    let mut open: BTreeMap<String, Endpoint> = BTreeMap::new();
    while !*stop.borrow() {
        let running = running(&shell).await;
        open.retain(|id, _| running.contains(id));
        for id in running {
            if open.contains_key(&id) {
                continue;
            }
            match listen(&shell, ip, &id).await {
                Ok(endpoint) => {
                    open.insert(id, endpoint);
                }
                Err(error) => tracing::warn!(instance = id, %error, "no metadata endpoint for an instance"),
            }
        }
        shell.endpoints().set(&open);
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            changed = stop.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

async fn running(shell: &Shell) -> Vec<String> {
    let world = shell.world().await;
    let running = world.instances().values().filter(|instance| matches!(instance.phase, InstancePhase::Running));
    running.map(|instance| instance.id.clone()).collect()
}

async fn listen(shell: &Arc<Shell>, ip: IpAddr, instance_id: &str) -> std::io::Result<Endpoint> {
    let socket = TcpListener::bind((ip, 0)).await?;
    let address = socket.local_addr()?;
    let service = Service { shell: Arc::clone(shell), instance_id: instance_id.to_owned(), tokens: Mutex::default() };
    let router = Router::new().fallback(answer).with_state(Arc::new(service));
    let serving = tokio::spawn(async move {
        if let Err(error) = axum::serve(socket, router).await {
            tracing::warn!(%error, "a metadata endpoint broke");
        }
    });
    Ok(Endpoint { address, serving })
}

/// The service of one instance.
struct Service {
    shell: Arc<Shell>,
    instance_id: String,
    tokens: Mutex<Tokens>,
}

async fn answer(State(service): State<Arc<Service>>, request: Request) -> Response {
    let path = request.uri().path();
    if *request.method() == Method::PUT && path == "/latest/api/token" {
        return service.token(request.headers());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refusal(StatusCode::METHOD_NOT_ALLOWED);
    }
    let token = request.headers().get(TOKEN).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !service.lock().is_good(token, service.shell.now()) {
        return refusal(StatusCode::UNAUTHORIZED);
    }
    match service.text(path).await {
        Some(text) => ([(CONTENT_TYPE, "text/plain")], text).into_response(),
        None => refusal(StatusCode::NOT_FOUND),
    }
}

impl Service {
    fn lock(&self) -> std::sync::MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token(&self, headers: &HeaderMap) -> Response {
        // A proxy that passes requests on must not hand tokens out.
        if headers.contains_key("x-forwarded-for") {
            return refusal(StatusCode::FORBIDDEN);
        }
        let Some(seconds) = tokens::life(headers.get(TTL).and_then(|value| value.to_str().ok())) else {
            return refusal(StatusCode::BAD_REQUEST);
        };
        let token = self.lock().make(&self.instance_id, seconds, self.shell.now());
        ([(CONTENT_TYPE.as_str(), "text/plain".to_owned()), (TTL, seconds.to_string())], token).into_response()
    }

    async fn text(&self, path: &str) -> Option<String> {
        let world = self.shell.world().await;
        let instance = world.instances().get(&self.instance_id)?;
        let attached = |volume: &&crate::world::Volume| volume.attachment.as_ref().is_some_and(|a| a.instance_id == instance.id);
        let volumes: Vec<_> = world.volumes().values().filter(attached).collect();
        tree::text(instance, &volumes, path)
    }
}

/// An error of the service: a status and its name as text.
fn refusal(status: StatusCode) -> Response {
    let text = format!("{} - {}\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    (status, [(CONTENT_TYPE, "text/plain")], text).into_response()
}
