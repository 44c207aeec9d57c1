//! The errors EC2 answers with: a code, a message and the HTTP status of the code.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// A refusal as EC2 words it. Clients match on `code`, people read `message`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The EC2 error code, such as `InvalidVolume.NotFound`.
    pub code: &'static str,
    /// The sentence that goes with it.
    pub message: String,
}

impl ApiError {
    /// An error of this code with this message.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// `InvalidParameterValue` with this message.
    pub fn invalid_value(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    /// `InvalidParameterCombination` with this message.
    pub fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    /// `IncorrectState` with this message.
    pub fn state(message: impl Into<String>) -> Self {
        Self::new("IncorrectState", message)
    }

    /// `MissingParameter` for the parameter of this name.
    pub fn missing(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
    }

    /// The answer to a `DryRun` call that would have succeeded.
    pub fn dry_run() -> Self {
        Self::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
    }

    /// The HTTP status EC2 sends with this code.
    pub fn http_status(&self) -> u16 {
        match self.code {
            "DryRunOperation" => 412,
            "RequestLimitExceeded" | "Unavailable" | "ServiceUnavailable" => 503,
            "InternalError" | "InternalFailure" | "InsufficientVolumeCapacity" => 500,
            "UnauthorizedOperation" => 403,
            "AuthFailure" => 401,
            _ => 400,
        }
    }
}

/// Codes of injected errors. Each stays for the life of the program, once.
static INTERNED: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The code as a text that lives as long as the program, as the codes of this crate do.
pub(in crate::world) fn intern(code: &str) -> &'static str {
    let mut interned = INTERNED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = interned.get(code) {
        return known;
    }
    let leaked: &'static str = Box::leak(code.to_owned().into_boxed_str());
    interned.insert(leaked);
    leaked
}
