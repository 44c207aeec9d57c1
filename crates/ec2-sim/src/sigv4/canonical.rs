//! The canonical form of a request: the same text for client and service, whatever was done to it on the way.

use std::fmt::Write as _;

use super::SignedRequest;
use super::claim::Claim;
use super::signature::digest;
use crate::world::ApiError;

/// The canonical request that the claim's signature is over.
pub(super) fn request(request: &SignedRequest<'_>, claim: &Claim) -> Result<String, ApiError> {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    line(request.method);
    line(&path(request.path));
    line(&query(request.query));
    line(&headers(request, claim)?);
    line(&claim.signed_headers.join(";"));
    text.push_str(&digest(request.body));
    Ok(text)
}

/// Each byte of a path that is not a slash is encoded once more, as for every service but S3.
fn path(path: &str) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    path.split('/').map(|segment| encode(segment.as_bytes())).collect::<Vec<_>>().join("/")
}

/// The parameters, encoded in the one way that the rules allow, and sorted; the signature itself left out.
fn query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| (encode(name.as_bytes()), encode(value.as_bytes())))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// One line for each signed header, in the order listed.
fn headers(request: &SignedRequest<'_>, claim: &Claim) -> Result<String, ApiError> {
    let signed = |name: &str| claim.signed_headers.iter().any(|header| header == name);
    // Who could leave these out could replay a request elsewhere or later.
    for needed in ["host", "x-amz-date", "x-amz-security-token"] {
        let sent = needed == "host" || request.header(needed).is_some();
        if sent && !signed(needed) && claim.expires.is_none() {
            return Err(super::auth_failure(&format!("the header {needed} is not signed")));
        }
    }
    let mut lines = String::new();
    for name in &claim.signed_headers {
        let values: Vec<String> = request.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| trimmed(value)).collect();
        if values.is_empty() {
            return Err(super::auth_failure(&format!("the signed header {name} was not sent")));
        }
        let _ = writeln!(lines, "{name}:{}", values.join(","));
    }
    Ok(lines)
}

/// Without spaces at the ends, and one space for several inside.
fn trimmed(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}
