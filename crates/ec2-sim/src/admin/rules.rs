//! `/_sim/rules`: how strict and how late the account is.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{read, refusal};
use crate::shell::Shell;

/// The rules that hold.
pub(super) async fn show(State(shell): State<Arc<Shell>>) -> Json<Value> {
    Json(json!(shell.world().await.rules()))
}

/// Changes the rules that the body names, and leaves the others as they are.
pub(super) async fn change(State(shell): State<Arc<Shell>>, body: Bytes) -> Response {
    let wanted: Value = match read(&body) {
        Ok(wanted) => wanted,
        Err(refusal) => return *refusal,
    };
    match shell.change_rules(&wanted).await {
        Ok(rules) => Json(json!(rules)).into_response(),
        Err(error) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}
