//! Signature Version 4: whether a request was signed with the secret that it claims to know.
//!
//! Rules from "AWS Signature Version 4 for API requests" (IAM User Guide); error codes from
//! "Error codes for the Amazon EC2 API". Pure: the time comes in as an argument.

mod canonical;
mod claim;
mod signature;

use jiff::{SignedDuration, Timestamp};

use crate::world::ApiError;
use claim::Claim;

/// How far the clocks of client and service may be apart ("Error codes for the Amazon EC2 API", `RequestExpired`).
const MOST_SKEW: SignedDuration = SignedDuration::from_mins(15);

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub(crate) struct SignedRequest<'a> {
    /// Such as `POST`.
    pub(crate) method: &'a str,
    /// The path without the query, as sent.
    pub(crate) path: &'a str,
    /// The query without its question mark, as sent.
    pub(crate) query: &'a str,
    /// Names in lower case, in the order sent.
    pub(crate) headers: &'a [(String, String)],
    /// The body, as sent.
    pub(crate) body: &'a [u8],
}

impl<'a> SignedRequest<'a> {
    /// The first value of a header.
    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// The secrets of an access key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Secret<'a> {
    /// What signs.
    pub(crate) secret_access_key: &'a str,
    /// What a request with temporary credentials must carry besides; none for lasting ones.
    pub(crate) session_token: Option<&'a str>,
}

/// Checks the signature of a request that arrived at `now` in this region.
///
/// Returns the access key id that signed it. `secret` finds the secret of an access key id.
///
/// # Errors
///
/// `MissingAuthenticationToken` without a signature, `IncompleteSignature` when one
/// cannot be read, `RequestExpired` when it is too old or from the future, and
/// `AuthFailure` for whatever does not fit: EC2 does not say which part. The log does.
pub(crate) fn verify<'s>(
    request: &SignedRequest<'_>,
    region: &str,
    now: Timestamp,
    secret: impl FnOnce(&str) -> Option<Secret<'s>>,
) -> Result<String, ApiError> {
    let claim = Claim::read(request)?;
    check_time(&claim, now)?;
    check_scope(&claim, region)?;
    let Some(secret) = secret(&claim.access_key_id) else {
        return Err(auth_failure(&format!("the access key {} is not configured", claim.access_key_id)));
    };
    if secret.session_token != claim.session_token.as_deref() {
        return Err(auth_failure("the session token is not the one of the access key"));
    }
    let canonical = canonical::request(request, &claim)?;
    let text = signature::text_to_sign(&claim, &canonical);
    if !signature::fits(&claim, secret.secret_access_key, &text) {
        return Err(auth_failure(&format!("the signature does not fit this canonical request:\n{canonical}")));
    }
    Ok(claim.access_key_id)
}

fn check_time(claim: &Claim, now: Timestamp) -> Result<(), ApiError> {
    let age = now.duration_since(claim.signed_at);
    // A presigned URL is good for as long as it says, and for the skew of the clocks.
    let good_for = claim.expires.map_or(MOST_SKEW, |expires| expires.saturating_add(MOST_SKEW));
    if age > good_for || age < -MOST_SKEW {
        tracing::info!(signed = %claim.signed_at, %now, "refused: the request is too old or from the future");
        return Err(ApiError::new("RequestExpired", "Request has expired."));
    }
    Ok(())
}

fn check_scope(claim: &Claim, region: &str) -> Result<(), ApiError> {
    let date = claim.date();
    let scope = &claim.scope;
    if scope.date != date {
        return Err(auth_failure(&format!("the scope is of {}, and the request of {date}", scope.date)));
    }
    if scope.region != region {
        let message = format!("Credential should be scoped to a valid region, not '{}'.", scope.region);
        return Err(ApiError::new("AuthFailure", message));
    }
    if scope.service != "ec2" {
        return Err(ApiError::new(
            "AuthFailure",
            format!("Credential should be scoped to correct service: 'ec2', not '{}'.", scope.service),
        ));
    }
    Ok(())
}

/// The sentence that EC2 has for every credential that does not fit; the reason goes to the log alone.
fn auth_failure(reason: &str) -> ApiError {
    tracing::info!(reason, "refused: AuthFailure");
    ApiError::new("AuthFailure", "AWS was not able to validate the provided access credentials")
}

#[cfg(test)]
mod tests;
