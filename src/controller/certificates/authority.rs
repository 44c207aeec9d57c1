//! The authorities that sign agents' certificates: one a year, known everywhere before it signs and until nothing of it is left.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use serde::{Deserialize, Serialize};

use crate::k8s::certificates::{COMMON_NAME, agent_name};

/// How long an authority lasts.
const LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long before its end another is made.
const OVERLAP: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long an authority is published before it signs, so that all agents know it: their watches need seconds, and an hour
/// outlasts an agent that cannot reach the API server for a while.
const KNOWN_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// How far the clocks of nodes may be behind ours.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// An authority with its key.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Authority {
    pub(super) certificate_pem: String,
    key_pem: String,
    created: Timestamp,
    expires: Timestamp,
}

/// An authority or a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unusable(#[from] rcgen::Error);

impl Authority {
    /// A new one, with a key of its own.
    pub(super) fn new(now: Timestamp) -> Result<Self, Unusable> {
        let expires = later(now, LIFE);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        // Authorities of two years must not have one name, lest a chain be built with the wrong one.
        params.distinguished_name.push(DnType::CommonName, format!("volume-dispatcher agents {}", now.as_second()));
        set_validity(&mut params, now, expires);
        let key = KeyPair::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { certificate_pem, key_pem: key.serialize_pem(), created: now, expires })
    }

    /// The certificate of the agent of a node, PEM. Of the request only the key is taken.
    pub(super) fn sign(
        &self,
        request: &CertificateSigningRequestParams,
        node: &str,
        seconds: i32,
        now: Timestamp,
    ) -> Result<String, Unusable> {
        let mut params = CertificateParams::new([agent_name(node)])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, COMMON_NAME);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let end = later(now, SignedDuration::from_secs(i64::from(seconds)));
        set_validity(&mut params, now, end.min(self.expires));
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, KeyPair::from_pem(&self.key_pem)?)?;
        let signed = CertificateSigningRequestParams { params, public_key: request.public_key.clone() };
        Ok(signed.signed_by(&issuer)?.pem())
    }
}

/// What becomes of the authorities at a moment.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Rotation {
    /// Those that stay, by their place in the list.
    pub(super) kept: Vec<usize>,
    /// Whether one more is to be made.
    pub(super) needs_new: bool,
}

/// Those that have ended go; another is made when the newest is near its end.
pub(super) fn rotation(all: &[Authority], now: Timestamp) -> Rotation {
    let kept = (0..all.len()).filter(|index| all[*index].expires > now).collect();
    let newest = all.iter().map(|authority| authority.expires).max();
    Rotation { kept, needs_new: newest.is_none_or(|expires| earlier(expires, OVERLAP) <= now) }
}

/// The one that signs: the newest that all agents know; the oldest while none is known for long, since then it is the first.
pub(super) fn signer(all: &[Authority], now: Timestamp) -> Option<&Authority> {
    let is_known = |authority: &&Authority| later(authority.created, KNOWN_AFTER) <= now;
    let known = all.iter().filter(is_known).max_by_key(|authority| authority.created);
    known.or_else(|| all.iter().min_by_key(|authority| authority.created))
}

fn later(then: Timestamp, by: SignedDuration) -> Timestamp {
    then.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(then: Timestamp, by: SignedDuration) -> Timestamp {
    then.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// Sets from when to when something is valid, clocks that are behind ours allowed for.
fn set_validity(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    let date = |at: Timestamp| date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0));
    (params.not_before, params.not_after) = (date(earlier(from, SKEW)), date(until));
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("created", &self.created).field("expires", &self.expires).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + day * 86_400).expect("a time")
    }

    fn made(days: &[i64]) -> Vec<Authority> {
        days.iter().map(|day| Authority::new(at(*day)).expect("an authority")).collect()
    }

    #[test]
    fn the_first_authority_signs_at_once() {
        assert_eq!(rotation(&[], at(0)), Rotation { kept: vec![], needs_new: true });
        let all = made(&[0]);
        assert_eq!(rotation(&all, at(0)), Rotation { kept: vec![0], needs_new: false });
        assert_eq!(signer(&all, at(0)), Some(&all[0]));
        assert_eq!(signer(&[], at(0)), None);
    }

    #[test]
    fn the_next_is_known_before_it_signs_and_the_last_until_it_ends() {
        assert!(!rotation(&made(&[0]), at(334)).needs_new);
        assert!(rotation(&made(&[0]), at(335)).needs_new);
        let both = made(&[0, 335]);
        assert_eq!(signer(&both, at(335)), Some(&both[0]), "not everybody knows the other yet");
        assert_eq!(signer(&both, later(at(335), KNOWN_AFTER)), Some(&both[1]));
        assert_eq!(rotation(&both, at(364)).kept, [0, 1], "certificates of the first may still be in use");
        assert_eq!(rotation(&both, at(365)).kept, [1]);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_second_authority() {
        let all = made(&[10]);
        assert_eq!(rotation(&all, at(0)), Rotation { kept: vec![0], needs_new: false });
        assert_eq!(signer(&all, at(0)), Some(&all[0]));
    }

    #[test]
    fn nothing_shows_the_key() {
        let shown = format!("{:?}", made(&[0]));
        assert!(!shown.contains("PRIVATE"), "{shown}");
    }
}
