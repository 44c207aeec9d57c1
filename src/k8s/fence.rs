//! A client that writes only while this process leads, whatever part of it asks and however long that part was stalled.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tower_service::Service;

use super::lease::Term;

/// The message of a refused write.
const ENDED: &str = "this process leads no more, so it writes nothing; another replica goes on";

/// Asks the term before each request that is more than a read.
#[derive(Clone)]
struct Fenced {
    inner: Client,
    term: Term,
}

/// The same client for reads; writes fail once the term is over.
pub fn fenced(client: &Client, term: &Term) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Fenced { inner: client.clone(), term: term.clone() }, namespace)
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
        if *request.method() == Method::GET || self.term.lasts() {
            let client = self.inner.clone();
            return Box::pin(async move { client.send(request).await });
        }
        Box::pin(std::future::ready(Err(kube::Error::Service(ENDED.into()))))
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
