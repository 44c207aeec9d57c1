//! Volume sizes in GiB, the only unit in which EBS creates volumes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A whole number of GiB (2^30 bytes).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct GiB(pub u32);

const BYTES_PER_GIB: u128 = 1 << 30;

impl GiB {
    /// Parses a Kubernetes quantity such as `20Gi` or `1500Mi` and rounds up to whole GiB.
    ///
    /// `None` for anything that is not a positive amount of bytes, or more than `u32` GiB.
    pub fn from_quantity(text: &str) -> Option<Self> {
        let bytes = quantity_bytes(text)?;
        let gib = bytes.div_ceil(BYTES_PER_GIB);
        (gib > 0).then_some(())?;
        u32::try_from(gib).ok().map(Self)
    }

    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        u64::from(self.0) << 30
    }
}

impl fmt::Display for GiB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Gi", self.0)
    }
}

/// Suffixes and their factors. Source: Kubernetes API, `resource.Quantity`.
const SUFFIXES: [(&str, u128); 12] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];

/// Parses a Kubernetes quantity into bytes, rounded up. `None` for anything that is not a number with a known suffix.
pub fn quantity_bytes(text: &str) -> Option<u128> {
    let suffixed = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = suffixed.unwrap_or((text, 1));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole_bytes = digits(whole)?.checked_mul(factor)?;
    if fraction.is_empty() {
        return Some(whole_bytes);
    }
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction_bytes = digits(fraction)?.checked_mul(factor)?.div_ceil(scale);
    whole_bytes.checked_add(fraction_bytes)
}

fn digits(text: &str) -> Option<u128> {
    let only_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    only_digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_round_up_to_whole_gib() {
        let cases = [("1Gi", 1), ("1025Mi", 2), ("1.5Gi", 2), ("20G", 19), ("1", 1), ("2Ti", 2048), ("1073741825", 2)];
        for (text, gib) in cases {
            assert_eq!(GiB::from_quantity(text), Some(GiB(gib)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_not_a_size() {
        for text in ["", "Gi", "-1Gi", "0", "1e3Gi", "1 Gi", "99999999999Ei", "1.2.3Gi"] {
            assert_eq!(GiB::from_quantity(text), None, "{text}");
        }
    }
}
