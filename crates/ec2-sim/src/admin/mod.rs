//! The admin interface for tests, demos and people: JSON below `/_sim`.
//!
//! What only reads is on EC2's own port too; what changes something is on the admin port alone.

mod clock;
mod faults;
mod rules;
mod state;
mod volumes;

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::audit::audit;
use crate::iam;
use crate::shell::Shell;

/// The routes of the admin port.
pub(crate) fn router(shell: Arc<Shell>) -> Router {
    let changing = reading()
        .route("/clock", get(clock::clock).post(clock::advance))
        .route("/faults", get(faults::list).post(faults::inject).delete(faults::withdraw_all))
        .route("/faults/{id}", delete(faults::withdraw))
        .route("/rules", get(rules::show).post(rules::change))
        .route("/volumes", post(volumes::import));
    Router::new().nest("/_sim", changing).fallback(nothing).with_state(shell)
}

/// The paths that only read.
pub(crate) fn reading() -> Router<Arc<Shell>> {
    Router::new()
        .route("/health", get(health))
        .route("/state", get(state::state))
        .route("/instances", get(state::instances))
        .route("/audit", get(audited))
        .route("/report", get(report))
        .route("/decode", get(decoded).post(decoded))
        .fallback(nothing)
}

/// Says that the simulator answers.
async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// What an audit of the account finds.
async fn audited(State(shell): State<Arc<Shell>>) -> Response {
    let found = audit(&*shell.world().await);
    Json(found).into_response()
}

/// The same, for people.
async fn report(State(shell): State<Arc<Shell>>) -> String {
    audit(&*shell.world().await).to_string()
}

/// Decodes the message of an `UnauthorizedOperation`: in the query as `message=…`, or as the body.
async fn decoded(RawQuery(query): RawQuery, body: String) -> Response {
    let query = query.unwrap_or_default();
    let given = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "message").map(|(_, value)| value.into_owned());
    match iam::decode(&given.unwrap_or(body)) {
        Some(explanation) => Json(explanation).into_response(),
        None => refusal(StatusCode::BAD_REQUEST, "this is no encoded authorization failure message: pass the text behind that label"),
    }
}

async fn nothing() -> Response {
    refusal(StatusCode::NOT_FOUND, "there is nothing at this path on this port; see the README of ec2-sim for those there are")
}

/// Reads a body in JSON, whatever its content type says.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Response>> {
    serde_json::from_slice(body).map_err(|error| Box::new(refusal(StatusCode::BAD_REQUEST, &format!("the body: {error}"))))
}

/// An error in the form of this interface.
fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": message}))).into_response()
}
