//! Client tokens: a repeated call finds what the first one made.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::world::rules::latency::after;
use crate::world::{ApiError, VolumePhase, World};

/// What a client token was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::world) struct Token {
    /// The parameters of the first call.
    parameters: String,
    /// What it made.
    ids: Vec<String>,
    /// When it was used, or last found to be of use.
    pub(in crate::world) used: Timestamp,
}

/// What a token says about a call.
pub(in crate::world) enum Replay {
    /// The token is new, or there is none.
    Fresh,
    /// The call was made before; these are the ids it made.
    Same(Vec<String>),
}

/// How long a token is remembered after what it made is gone, in milliseconds: 12 hours.
/// Observed by the authors of the EBS CSI driver (PR #2075).
const BURNT_MS: i64 = 12 * 3_600_000;

/// Characters. Source: EC2 Developer Guide, "Ensuring idempotency in Amazon EC2 API requests".
const LONGEST_TOKEN: usize = 64;

impl Token {
    /// When it is forgotten, unless what it made is still there.
    pub(in crate::world) fn expires(&self) -> Timestamp {
        after(self.used, BURNT_MS)
    }
}

impl World {
    /// Looks a token up. The same token with other parameters, or for resources that
    /// are gone or have failed by now, is refused: such a token is burnt.
    pub(in crate::world) fn replay(&self, action: &str, token: Option<&str>, parameters: &impl Serialize) -> Result<Replay, ApiError> {
        let Some(token) = token else { return Ok(Replay::Fresh) };
        if token.chars().count() > LONGEST_TOKEN || !token.is_ascii() {
            return Err(ApiError::invalid_value(format!(
                "Invalid value '{token}' for parameter ClientToken: it may have up to {LONGEST_TOKEN} ASCII characters"
            )));
        }
        let Some(known) = self.tokens.get(&key(action, token)) else {
            return Ok(Replay::Fresh);
        };
        if self.is_alive(known) && known.parameters == fingerprint(parameters) {
            return Ok(Replay::Same(known.ids.clone()));
        }
        Err(ApiError::new(
            "IdempotentParameterMismatch",
            "The client token has already been used with different request parameters, or for a resource that no longer exists.",
        ))
    }

    /// Remembers what a call with this token made.
    pub(in crate::world) fn remember(
        &mut self,
        action: &str,
        token: Option<&str>,
        parameters: &impl Serialize,
        ids: Vec<String>,
        used: Timestamp,
    ) {
        if let Some(token) = token {
            let parameters = fingerprint(parameters);
            self.tokens.insert(key(action, token), Token { parameters, ids, used });
        }
    }

    /// Forgets a token that has burnt out, or keeps it for as long again.
    pub(in crate::world) fn renew_or_forget_token(&mut self, key: &str, now: Timestamp) {
        let Some(token) = self.tokens.get(key) else { return };
        let exists = token.ids.iter().any(|id| self.exists(id));
        if !exists {
            self.tokens.remove(key);
        } else if let Some(token) = self.tokens.get_mut(key) {
            token.used = now;
        }
    }

    fn is_alive(&self, token: &Token) -> bool {
        let failed = |id: &str| self.volumes.get(id).is_some_and(|volume| volume.phase == VolumePhase::Error);
        token.ids.iter().all(|id| self.exists(id) && !failed(id))
    }

    fn exists(&self, id: &str) -> bool {
        self.volumes.get(id).is_some() || self.instances.get(id).is_some()
    }
}

fn key(action: &str, token: &str) -> String {
    format!("{action} {token}")
}

fn fingerprint(parameters: &impl Serialize) -> String {
    serde_json::to_string(parameters).expect("request parameters are plain strings and numbers")
}
