//! Health, readiness and metrics over plain HTTP, for the kubelet and Prometheus.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tracing::info;

use crate::metrics::Metrics;

/// The admin port of a process.
#[derive(Clone, Debug)]
pub struct Admin {
    ready: Arc<AtomicBool>,
    metrics: Metrics,
}

impl Admin {
    /// Serves `/healthz`, `/readyz` and `/metrics` until the process ends.
    pub async fn serve(address: SocketAddr, metrics: Metrics) -> anyhow::Result<Self> {
        let admin = Self { ready: Arc::default(), metrics };
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} for health and metrics"))?;
        info!(address = %listener.local_addr()?, "serving health and metrics");
        let router = Router::new()
            .route("/healthz", get(|| async { "ok" }))
            .route("/readyz", get(readiness))
            .route("/metrics", get(metrics_text))
            .with_state(admin.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(admin)
    }

    /// Says that everything was listed once, or that the driver is registered.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }
}

async fn readiness(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if admin.ready.load(Ordering::Acquire) { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting") }
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], admin.metrics.text())
}
