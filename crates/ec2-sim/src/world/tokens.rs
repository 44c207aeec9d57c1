//! Client tokens: a repeated call finds what the first one made.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ApiError, World};

/// What a client token was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    /// The parameters of the first call.
    parameters: String,
    /// What it made.
    ids: Vec<String>,
    /// When it was made.
    used: Timestamp,
}

/// What a token says about a call.
pub(super) enum Replay {
    /// The token is new, or there is none.
    Fresh,
    /// The call was made before; these are the ids it made.
    Same(Vec<String>),
}

/// How long a token is remembered after what it made is gone, in hours.
const BURNT_HOURS: i64 = 12;

impl World {
    /// Looks a token up. The same token with other parameters, or for resources
    /// that are gone by now, is refused.
    pub(super) fn replay(&self, action: &str, token: Option<&str>, parameters: &impl Serialize) -> Result<Replay, ApiError> {
        let Some(known) = token.and_then(|t| self.tokens.get(&key(action, t))) else {
            return Ok(Replay::Fresh);
        };
        let alive = known.ids.iter().all(|id| self.exists(id));
        if alive && known.parameters == fingerprint(parameters) {
            return Ok(Replay::Same(known.ids.clone()));
        }
        Err(ApiError::new(
            "IdempotentParameterMismatch",
            "The client token has already been used with different request parameters, or for a resource that no longer exists.",
        ))
    }

    /// Remembers what a call with this token made.
    pub(super) fn remember(&mut self, action: &str, token: Option<&str>, parameters: &impl Serialize, ids: Vec<String>, used: Timestamp) {
        if let Some(token) = token {
            let parameters = fingerprint(parameters);
            let value = Token { parameters, ids, used };
            self.tokens.insert(key(action, token), value);
        }
    }

    /// Forgets the tokens that have burnt out.
    pub(super) fn forget_tokens(&mut self, now: Timestamp) {
        let mut tokens = std::mem::take(&mut self.tokens);
        tokens.retain(|_, token| token.ids.iter().any(|id| self.exists(id)) || now.duration_since(token.used).as_hours() < BURNT_HOURS);
        self.tokens = tokens;
    }

    fn exists(&self, id: &str) -> bool {
        self.volumes.contains_key(id) || self.instances.contains_key(id)
    }
}

fn key(action: &str, token: &str) -> String {
    format!("{action} {token}")
}

fn fingerprint(parameters: &impl Serialize) -> String {
    serde_json::to_string(parameters).expect("request parameters are plain strings and numbers")
}
