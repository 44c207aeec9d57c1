//! A client that writes only while this process leads, whatever part of it asks and however long that part was stalled; and
//! never so much at once that the API server has no time for the rest.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::lease::Term;

/// The message of a refused write.
const ENDED: &str = "this process leads no more, so it writes nothing; another replica goes on";

/// Writes that are under way at the same time. An API server of Kubernetes works on 200 writes of all its users at once
/// (`--max-mutating-requests-inflight`); a controller that starts with five hundred pools would ask for thousands, which
/// costs it a connection each, and its lease.
const MOST_WRITES: usize = 32;

/// Asks the term before each request that is more than a read.
#[derive(Clone)]
struct Fenced {
    inner: Client,
    term: Term,
    turns: Arc<Semaphore>,
}

/// The same client for reads; writes fail once the term is over.
pub fn fenced(client: &Client, term: &Term) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Fenced { inner: client.clone(), term: term.clone(), turns: Arc::new(Semaphore::new(MOST_WRITES)) }, namespace)
}

impl Service<Request<Body>> for Fenced {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    /// Always ready: the client inside waits for its own place when it is called.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { inner, term, turns } = self.clone();
        Box::pin(async move {
            if *request.method() == Method::GET {
                return inner.send(request).await;
            }
            let _turn = turns.acquire().await.map_err(|closed| kube::Error::Service(closed.into()))?;
            // Asked after the wait for a turn: the term may have ended meanwhile.
            if !term.lasts() {
                return Err(kube::Error::Service(ENDED.into()));
            }
            inner.send(request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::PostParams;

    use super::*;
    use crate::k8s::lease::boot_time;

    /// An API server that counts requests and has an answer that fits all of them.
    #[derive(Clone, Default)]
    struct Counting(Arc<AtomicUsize>);

    impl Service<Request<Body>> for Counting {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            self.0.fetch_add(1, Ordering::Relaxed);
            let map = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
            std::future::ready(Ok(Response::new(Body::from(map.to_string().into_bytes()))))
        }
    }

    /// An API server that answers nothing: it counts the requests that wait.
    #[derive(Clone, Default)]
    struct Silent(Arc<AtomicUsize>);

    impl Service<Request<Body>> for Silent {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = std::future::Pending<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::future::pending()
        }
    }

    #[tokio::test]
    async fn a_thousand_writes_are_not_made_at_once() {
        let (server, term) = (Silent::default(), Term::default());
        term.extend(boot_time() + Duration::from_mins(1));
        let maps: Api<ConfigMap> = Api::namespaced(fenced(&Client::new(server.clone(), "default"), &term), "default");
        let map = ConfigMap::default();
        let parameters = PostParams::default();
        let all = futures::future::join_all((0..1000).map(|_| maps.create(&parameters, &map)));
        assert!(tokio::time::timeout(Duration::from_millis(200), all).await.is_err(), "nothing is answered");
        assert_eq!(server.0.load(Ordering::Relaxed), MOST_WRITES);
    }

    #[tokio::test]
    async fn after_its_term_a_client_reads_and_does_not_write() {
        let (server, term) = (Counting::default(), Term::default());
        let maps: Api<ConfigMap> = Api::namespaced(fenced(&Client::new(server.clone(), "default"), &term), "default");
        let map = ConfigMap::default();
        assert!(maps.create(&PostParams::default(), &map).await.is_err(), "the term has not begun");
        term.extend(boot_time() + Duration::from_mins(1));
        maps.create(&PostParams::default(), &map).await.unwrap();
        assert_eq!(server.0.load(Ordering::Relaxed), 1);
        term.end();
        let error = maps.create(&PostParams::default(), &map).await.unwrap_err();
        assert!(matches!(&error, kube::Error::Service(cause) if cause.to_string() == ENDED), "{error}");
        maps.get("a").await.unwrap();
        assert_eq!(server.0.load(Ordering::Relaxed), 2, "only the read has arrived");
    }
}
