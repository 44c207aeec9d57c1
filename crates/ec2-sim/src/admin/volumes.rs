//! `/_sim/volumes`: volumes that are imported while the simulator runs.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{read, refusal};
use crate::import::Import;
use crate::shell::Shell;

/// Makes a volume with the content of a folder, and answers with its id.
pub(super) async fn import(State(shell): State<Arc<Shell>>, body: Bytes) -> Response {
    let import: Import = match read(&body) {
        Ok(import) => import,
        Err(refusal) => return *refusal,
    };
    // A task of its own: a client that hangs up does not leave a mount behind.
    let importing = tokio::spawn(async move { shell.import(import).await });
    match importing.await {
        Ok(Ok(id)) => Json(json!({"volume_id": id})).into_response(),
        Ok(Err(error)) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(broken) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &broken.to_string()),
    }
}
