//! `/_sim/clock`: the time of the account, to be looked at and put forward.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{read, refusal};
use crate::shell::Shell;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_millis: u64,
}

/// The time, and how far it is ahead of the machine's.
pub(super) async fn clock(State(shell): State<Arc<Shell>>) -> Json<Value> {
    Json(view(&shell))
}

/// Puts the clock forward by `advance_millis`; what is due by then has happened on return, as far as no device is needed for it.
pub(super) async fn advance(State(shell): State<Arc<Shell>>, body: Bytes) -> Response {
    let Advance { advance_millis } = match read(&body) {
        Ok(advance) => advance,
        Err(refusal) => return *refusal,
    };
    match shell.advance_clock(advance_millis).await {
        Ok(true) => Json(view(&shell)).into_response(),
        Ok(false) => refusal(StatusCode::BAD_REQUEST, "advance_millis would put the clock more than a hundred years ahead"),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn view(shell: &Shell) -> Value {
    json!({"now": shell.now().to_string(), "ahead_millis": shell.ahead_ms()})
}
