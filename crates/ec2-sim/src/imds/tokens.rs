//! Session tokens of IMDSv2: what a client must fetch before it may read.
//!
//! Rules from "Use the Instance Metadata Service to access instance metadata" (EC2 User Guide).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

/// The longest life of a token: six hours.
const LONGEST_LIFE_S: i64 = 21_600;

/// The tokens of one instance.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// When each ends.
    ends: BTreeMap<String, Timestamp>,
    /// How many were made.
    made: u64,
}

/// The life that a client asks for, in seconds; none when it is not one from 1 to 21600.
pub(super) fn life(header: Option<&str>) -> Option<i64> {
    header?.trim().parse().ok().filter(|seconds| (1..=LONGEST_LIFE_S).contains(seconds))
}

impl Tokens {
    /// A token that is good for so many seconds from `now`. It is bound to the instance.
    pub(super) fn make(&mut self, instance_id: &str, seconds: i64, now: Timestamp) -> String {
        self.ends.retain(|_, end| *end > now);
        self.made += 1;
        // Nobody needs to be kept from guessing it; it must only differ from every other.
        let digest = Sha256::digest(format!("{instance_id} {} {now}", self.made));
        let token = URL_SAFE.encode(digest);
        self.ends.insert(token.clone(), now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now));
        token
    }

    /// Whether a token is good at `now`.
    pub(super) fn is_good(&self, token: &str, now: Timestamp) -> bool {
        self.ends.get(token).is_some_and(|end| *end > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_its_life_is_over_and_for_its_instance_alone() {
        let start: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let (mut ours, mut others) = (Tokens::default(), Tokens::default());
        let token = ours.make("i-1", 60, start);
        let other = others.make("i-2", 60, start);
        assert!(ours.is_good(&token, start + SignedDuration::from_secs(59)));
        assert!(!ours.is_good(&token, start + SignedDuration::from_secs(60)));
        assert!(!ours.is_good(&other, start));
        assert_ne!(token, ours.make("i-1", 60, start));
    }

    #[test]
    fn a_life_is_one_second_to_six_hours() {
        for (header, expected) in [
            (Some("1"), Some(1)),
            (Some("21600"), Some(21_600)),
            (Some("21601"), None),
            (Some("0"), None),
            (Some("-1"), None),
            (Some("x"), None),
            (None, None),
        ] {
            assert_eq!(life(header), expected, "{header:?}");
        }
    }
}
