//! The signature: a chain of keyed hashes from the secret, over the digest of the canonical request.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::claim::{ALGORITHM, Claim, TERMINATOR};

/// SHA-256 in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What is signed: algorithm, time, scope, and the digest of the canonical request.
pub(super) fn text_to_sign(claim: &Claim, canonical: &str) -> String {
    let scope = &claim.scope;
    let scope = format!("{}/{}/{}/{TERMINATOR}", scope.date, scope.region, scope.service);
    format!("{ALGORITHM}\n{}\n{scope}\n{}", claim.date_time(), digest(canonical.as_bytes()))
}

/// Whether the claim's signature is the one that this secret makes of the text. Compares in constant time.
pub(super) fn fits(claim: &Claim, secret_access_key: &str, text: &str) -> bool {
    let Ok(signature) = hex::decode(&claim.signature) else {
        return false;
    };
    mac(&signing_key(claim, secret_access_key), text).verify_slice(&signature).is_ok()
}

/// The key of one day, region and service.
fn signing_key(claim: &Claim, secret_access_key: &str) -> Vec<u8> {
    let scope = &claim.scope;
    let first = format!("AWS4{secret_access_key}").into_bytes();
    let parts = [scope.date.as_str(), scope.region.as_str(), scope.service.as_str(), TERMINATOR];
    parts.iter().fold(first, |key, part| mac(&key, part).finalize().into_bytes().to_vec())
}

fn mac(key: &[u8], text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac
}

/// The signature that a client with this secret would send.
#[cfg(test)]
pub(super) fn sign(claim: &Claim, secret_access_key: &str, text: &str) -> String {
    hex::encode(mac(&signing_key(claim, secret_access_key), text).finalize().into_bytes())
}
