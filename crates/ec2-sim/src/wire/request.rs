//! A request as it comes over HTTP: read within limits, before anything in it is believed.

use std::borrow::Cow;

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;

use super::params::Params;
use crate::sigv4::SignedRequest;
use crate::world::ApiError;

/// Bytes of a body that are read. EC2 names no limit; its largest request, with user data
/// in full, is far below this.
const LONGEST_BODY: usize = 1 << 20;

/// The API version that every client of today speaks.
const VERSION: &str = "2016-11-15";

/// A request whose body has been read.
#[derive(Debug)]
pub(super) struct Incoming {
    method: Method,
    path: String,
    query: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Incoming {
    /// Reads a request to its end.
    pub(super) async fn read(request: Request) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        if !matches!(parts.method, Method::GET | Method::POST) {
            let message = format!("The HTTP method {} is not supported: use GET or POST.", parts.method);
            return Err(ApiError::new("MethodNotAllowed", message));
        }
        let soap = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| String::from_utf8_lossy(kind.as_bytes()).contains("xml"));
        if soap {
            return Err(ApiError::new("UnsupportedProtocol", "SOAP has been deprecated and is no longer supported."));
        }
        let Ok(body) = to_bytes(body, LONGEST_BODY).await else {
            let message = format!("The request is longer than {LONGEST_BODY} bytes, or it broke off.");
            return Err(ApiError::new("RequestEntityTooLarge", message));
        };
        let headers = parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()).into_owned()));
        Ok(Self {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: headers.collect(),
            body,
        })
    }

    /// What its signature is over.
    pub(super) fn signed(&self) -> SignedRequest<'_> {
        SignedRequest { method: self.method.as_str(), path: &self.path, query: &self.query, headers: &self.headers, body: &self.body }
    }

    /// The parameters of query and body.
    pub(super) fn params(&self) -> Result<Params, ApiError> {
        Params::parse(self.query.as_bytes(), &self.body)
    }
}

/// Checks the API version of a request: the answers are those of one version.
pub(super) fn check_version(params: &Params) -> Result<(), ApiError> {
    let version = params.required("Version")?;
    if version == VERSION {
        return Ok(());
    }
    Err(ApiError::new("NoSuchVersion", format!("The requested version ({version}) of service AmazonEC2 does not exist")))
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
