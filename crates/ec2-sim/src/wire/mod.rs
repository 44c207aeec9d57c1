//! The wire: EC2's Query protocol over HTTP, and an admin path beside it.

mod params;
mod parse;
mod render;
mod request;
mod xml;

use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use crate::admin;
use crate::connection::Cut;
use crate::iam::AccessKey;
use crate::shell::{Answer, Delivered, Shell};
use crate::world::{ApiError, Call};
use request::Incoming;

/// The header that AWS clients log with an error.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The routes of a simulator. Whatever comes in is answered in EC2's XML, below `/_sim` in JSON.
pub(crate) fn router(shell: Arc<Shell>) -> Router {
    Router::new().route("/", any(answer)).nest("/_sim", admin::reading()).fallback(nowhere).with_state(shell)
}

/// Answers one call, in the body of a POST or the query of a GET.
async fn answer(State(shell): State<Arc<Shell>>, ConnectInfo(connection): ConnectInfo<Cut>, request: Request) -> Response {
    // Read before the task starts: a client that hangs up half-way has asked nothing.
    let incoming = Incoming::read(request).await;
    let answering = Arc::clone(&shell);
    // A task of its own: a client that hangs up later does not stop a call half-way.
    let call = tokio::spawn(async move {
        let mut action = String::new();
        let understood = incoming.and_then(|incoming| understand(&answering, &incoming, &mut action));
        let delivered = match understood {
            Ok((key, call)) => answering.carry_out(key.as_deref(), &call).await,
            Err(error) => Delivered::safely(answering.refuse(&action, error).await),
        };
        (action, delivered)
    });
    let (action, Delivered { answer, lost }) = match call.await {
        Ok(answered) => answered,
        Err(broken) => {
            tracing::error!(%broken, "a call was not finished");
            let error = ApiError::new("InternalError", "An internal error has occurred");
            (String::new(), Delivered::safely(shell.refuse("", error).await))
        }
    };
    if lost {
        tracing::info!(action, request = answer.request_id, "an injected fault loses the answer");
        connection.cut();
    }
    respond(&action, &answer)
}

/// Answers a request to a path where EC2 is not.
async fn nowhere(State(shell): State<Arc<Shell>>, request: Request) -> Response {
    let message = format!("There is nothing at the path {}: EC2 is at /.", request.uri().path());
    let answer = shell.refuse("", ApiError::new("InvalidRequest", message)).await;
    respond("", &answer)
}

/// Who asks, and for what. `action` is set as soon as it is known.
fn understand(shell: &Shell, incoming: &Incoming, action: &mut String) -> Result<(Option<Arc<AccessKey>>, Call), ApiError> {
    let params = incoming.params()?;
    *action = params.action();
    let key = shell.authenticate(&incoming.signed())?;
    if action.is_empty() {
        return Err(ApiError::new("MissingAction", "The request must contain the parameter Action"));
    }
    request::check_version(&params)?;
    Ok((key, parse::call(action, &params)?))
}

fn respond(action: &str, answer: &Answer) -> Response {
    match &answer.result {
        Ok(_) => tracing::debug!(action, request = answer.request_id, "answered"),
        Err(error) => tracing::info!(action, request = answer.request_id, %error, "refused"),
    }
    let (status, text) = render::answer(action, answer);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [(CONTENT_TYPE, "text/xml;charset=UTF-8".to_owned()), (REQUEST_ID, answer.request_id.clone())];
    (status, headers, text).into_response()
}
