//! What a request says about its signature: in the Authorization header, or in the query of a presigned URL.

use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::SignedRequest;
use crate::world::ApiError;

/// The only algorithm of EC2 endpoints.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The end of every scope.
pub(super) const TERMINATOR: &str = "aws4_request";
/// How dates are written in `X-Amz-Date`.
const DATE_TIME: &str = "%Y%m%dT%H%M%SZ";
/// The longest life of a presigned URL: seven days, as the Signature Version 4 documentation says.
const LONGEST_LIFE_S: i64 = 604_800;

/// A signature and what it claims to be made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) access_key_id: String,
    pub(super) scope: Scope,
    /// Lower-case names, as listed.
    pub(super) signed_headers: Vec<String>,
    /// Hexadecimal.
    pub(super) signature: String,
    pub(super) signed_at: Timestamp,
    /// How long a presigned URL is good for; none when the signature is in the header.
    pub(super) expires: Option<SignedDuration>,
    pub(super) session_token: Option<String>,
}

/// What a signing key is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    /// `YYYYMMDD`.
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
}

impl Claim {
    /// Reads the claim of a request.
    pub(super) fn read(request: &SignedRequest<'_>) -> Result<Self, ApiError> {
        if let Some(authorization) = request.header("authorization") {
            return Self::from_header(request, authorization);
        }
        let query = Query::new(request.query);
        if query.text("X-Amz-Algorithm").is_some() || query.text("X-Amz-Signature").is_some() {
            return Self::from_query(&query);
        }
        Err(ApiError::new(
            "MissingAuthenticationToken",
            "Request must contain either a valid (registered) AWS access key ID or X.509 certificate.",
        ))
    }

    fn from_header(request: &SignedRequest<'_>, authorization: &str) -> Result<Self, ApiError> {
        let (algorithm, rest) = authorization.trim().split_once(' ').unwrap_or((authorization, ""));
        check_algorithm(algorithm)?;
        let part = |name: &str| {
            let found = rest.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            found.filter(|value| !value.is_empty()).ok_or_else(|| incomplete(&format!("Authorization header requires '{name}' parameter.")))
        };
        let (access_key_id, scope) = credential(part("Credential")?)?;
        Ok(Self {
            access_key_id,
            scope,
            signed_headers: names(part("SignedHeaders")?),
            signature: part("Signature")?.to_owned(),
            signed_at: header_date(request)?,
            expires: None,
            session_token: request.header("x-amz-security-token").map(str::to_owned),
        })
    }

    fn from_query(query: &Query) -> Result<Self, ApiError> {
        let part = |name: &str| query.text(name).ok_or_else(|| incomplete(&format!("AWS query-string parameters must include '{name}'.")));
        check_algorithm(&part("X-Amz-Algorithm")?)?;
        let (access_key_id, scope) = credential(&part("X-Amz-Credential")?)?;
        let expires = part("X-Amz-Expires")?;
        let seconds = expires.parse().ok().filter(|seconds| (1..=LONGEST_LIFE_S).contains(seconds));
        let seconds =
            seconds.ok_or_else(|| incomplete(&format!("X-Amz-Expires must be between 1 and {LONGEST_LIFE_S}, not '{expires}'.")))?;
        Ok(Self {
            access_key_id,
            scope,
            signed_headers: names(&part("X-Amz-SignedHeaders")?),
            signature: part("X-Amz-Signature")?,
            signed_at: amz_date(&part("X-Amz-Date")?)?,
            expires: Some(SignedDuration::from_secs(seconds)),
            session_token: query.text("X-Amz-Security-Token"),
        })
    }

    /// The day of the signature, as a scope spells it.
    pub(super) fn date(&self) -> String {
        self.signed_at.strftime("%Y%m%d").to_string()
    }

    /// The time of the signature, as `X-Amz-Date` spells it.
    pub(super) fn date_time(&self) -> String {
        self.signed_at.strftime(DATE_TIME).to_string()
    }
}

/// The parameters of a query, decoded.
struct Query(Vec<(String, String)>);

impl Query {
    fn new(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }
}

fn check_algorithm(name: &str) -> Result<(), ApiError> {
    if name == ALGORITHM { Ok(()) } else { Err(incomplete(&format!("Unsupported AWS 'algorithm': '{name}'; it must be {ALGORITHM}."))) }
}

/// `AKID/20150830/us-east-1/ec2/aws4_request`.
fn credential(text: &str) -> Result<(String, Scope), ApiError> {
    let parts: Vec<&str> = text.split('/').collect();
    let [access_key_id, date, region, service, TERMINATOR] = parts[..] else {
        return Err(incomplete(&format!(
            "Credential must have exactly 5 slash-delimited elements that end in {TERMINATOR}, got '{text}'."
        )));
    };
    let scope = Scope { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() };
    Ok((access_key_id.to_owned(), scope))
}

fn names(list: &str) -> Vec<String> {
    list.split(';').map(str::to_owned).collect()
}

fn header_date(request: &SignedRequest<'_>) -> Result<Timestamp, ApiError> {
    if let Some(text) = request.header("x-amz-date") {
        return amz_date(text);
    }
    let Some(text) = request.header("date") else {
        return Err(incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."));
    };
    rfc2822::parse(text)
        .map(|date| date.timestamp())
        .map_err(|_| incomplete(&format!("Date must be in the format of RFC 1123, got '{text}'.")))
}

fn amz_date(text: &str) -> Result<Timestamp, ApiError> {
    let date = DateTime::strptime(DATE_TIME, text).and_then(|date| date.to_zoned(TimeZone::UTC));
    date.map(|date| date.timestamp())
        .map_err(|_| incomplete(&format!("Date must be in ISO-8601 'basic format' (20150830T123600Z), got '{text}'.")))
}

fn incomplete(message: &str) -> ApiError {
    ApiError::new("IncompleteSignature", message)
}
