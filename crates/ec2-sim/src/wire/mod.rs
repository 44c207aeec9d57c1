//! The wire: EC2's Query protocol over HTTP, and an admin path beside it.

mod admin;
mod params;
mod parse;
mod render;
mod render_instances;
mod xml;

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::shell::Shell;
use params::Params;

/// The header that AWS clients log with an error.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The routes of a simulator.
pub(crate) fn router(shell: Arc<Shell>) -> Router {
    Router::new()
        .route("/", post(answer).get(answer))
        .route("/_sim/health", get(admin::health))
        .route("/_sim/state", get(admin::state))
        .with_state(shell)
}

/// Answers one call, in the body of a POST or the query of a GET.
async fn answer(State(shell): State<Arc<Shell>>, RawQuery(query): RawQuery, body: String) -> Response {
    // A task of its own: a client that hangs up does not stop a call half-way.
    let call = tokio::spawn(async move {
        let params = Params::parse(query.as_deref().unwrap_or_default(), &body);
        let action = params.action();
        let answer = match parse::call(&action, &params) {
            Ok(call) => shell.call(&call).await,
            Err(error) => shell.refuse(&action, error).await,
        };
        match &answer.result {
            Ok(_) => tracing::debug!(action, request = answer.request_id, "answered"),
            Err(error) => tracing::info!(action, request = answer.request_id, %error, "refused"),
        }
        let (status, text) = render::answer(&action, &answer);
        (status, answer.request_id, text)
    });
    let Ok((status, request_id, text)) = call.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [(CONTENT_TYPE, "text/xml;charset=UTF-8".to_owned()), (REQUEST_ID, request_id)];
    (status, headers, text).into_response()
}
