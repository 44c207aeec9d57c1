//! `/_sim/faults`: what goes wrong on request.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{read, refusal};
use crate::shell::Shell;
use crate::world::fault::Fault;

/// The faults that wait for calls, those that wait for their time, and those that could not happen.
pub(super) async fn list(State(shell): State<Arc<Shell>>) -> Json<Value> {
    let world = shell.world().await;
    let scheduled = world.scheduled_faults().map(|(at, fault)| json!({"at": at.to_string(), "fault": fault}));
    let scheduled: Vec<Value> = scheduled.collect();
    Json(json!({"standing": world.faults(), "scheduled": scheduled}))
}

/// Injects a fault, and answers with its number.
pub(super) async fn inject(State(shell): State<Arc<Shell>>, body: Bytes) -> Response {
    let fault: Fault = match read(&body) {
        Ok(fault) => fault,
        Err(refusal) => return *refusal,
    };
    match shell.inject(fault).await {
        Ok(id) => Json(json!({"id": id})).into_response(),
        Err(error) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// Takes a fault back.
pub(super) async fn withdraw(State(shell): State<Arc<Shell>>, Path(id): Path<String>) -> Response {
    let found = match id.parse() {
        Ok(id) => shell.world().await.withdraw(id),
        Err(_) => false,
    };
    if found {
        StatusCode::NO_CONTENT.into_response()
    } else {
        refusal(StatusCode::NOT_FOUND, &format!("no fault {id} stands or is scheduled"))
    }
}

/// Takes every fault back.
pub(super) async fn withdraw_all(State(shell): State<Arc<Shell>>) -> StatusCode {
    shell.world().await.withdraw_all();
    StatusCode::NO_CONTENT
}
