//! Resource ids: how they are made (from a seed and a counter) and when they are malformed.

use crate::world::ApiError;

/// A kind of resource that has ids of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `vol-…`
    Volume,
    /// `snap-…`
    Snapshot,
    /// `i-…`
    Instance,
}

impl Kind {
    /// Every kind that can carry tags here.
    pub const ALL: [Self; 3] = [Self::Volume, Self::Snapshot, Self::Instance];

    /// The id's prefix, with its dash.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Volume => "vol-",
            Self::Snapshot => "snap-",
            Self::Instance => "i-",
        }
    }

    /// The resource type as tags and tag specifications spell it.
    pub const fn resource_type(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
            Self::Instance => "instance",
        }
    }

    /// The error for a well-formed id that names nothing.
    pub fn not_found(self, id: &str) -> ApiError {
        match self {
            Self::Volume => ApiError::new("InvalidVolume.NotFound", format!("The volume '{id}' does not exist.")),
            Self::Snapshot => ApiError::new("InvalidSnapshot.NotFound", format!("The snapshot '{id}' does not exist.")),
            Self::Instance => ApiError::new("InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist")),
        }
    }

    /// Refuses an id that cannot be one of this kind.
    ///
    /// EC2 uses two codes: one for a foreign prefix of volumes and snapshots,
    /// another for the right prefix with wrong digits behind it.
    pub fn check(self, id: &str) -> Result<(), ApiError> {
        let prefix = self.prefix();
        let Some(digits) = id.strip_prefix(prefix) else {
            return Err(match self {
                Self::Instance => Self::malformed("InvalidInstanceID.Malformed", id),
                Self::Volume => Self::wrong_prefix(id, "volumeId", prefix),
                Self::Snapshot => Self::wrong_prefix(id, "snapshotId", prefix),
            });
        };
        let hex = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && matches!(digits.len(), SHORT_DIGITS | LONG_DIGITS) {
            return Ok(());
        }
        Err(match self {
            Self::Volume => Self::malformed("InvalidVolumeID.Malformed", id),
            Self::Snapshot => Self::malformed("InvalidSnapshotID.Malformed", id),
            Self::Instance => Self::malformed("InvalidInstanceID.Malformed", id),
        })
    }

    fn wrong_prefix(id: &str, parameter: &str, prefix: &str) -> ApiError {
        ApiError::invalid_value(format!("Value ({id}) for parameter {parameter} is invalid. Expected: '{prefix}...'."))
    }

    fn malformed(code: &'static str, id: &str) -> ApiError {
        ApiError::new(code, format!("Invalid id: \"{id}\""))
    }
}

/// Hexadecimal digits of an id from before 2016, which EC2 still accepts.
const SHORT_DIGITS: usize = 8;
/// Hexadecimal digits of an id of today.
const LONG_DIGITS: usize = 17;

/// The id number `counter` of a world with this seed: `0` and 16 digits that look random.
pub(in crate::world) fn make(prefix: &str, seed: u64, counter: u64) -> String {
    format!("{prefix}0{:016x}", scramble(seed, counter))
}

/// A request id of the shape AWS uses (a UUID).
pub(in crate::world) fn request_id(seed: u64, counter: u64) -> String {
    let (high, low) = (scramble(seed ^ 1, counter), scramble(seed ^ 2, counter));
    format!("{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xfff, low >> 52, low & 0xffff_ffff_ffff)
}

/// A number between 0 and 1, both excluded, that looks random.
pub(in crate::world) fn fraction(seed: u64, counter: u64) -> f64 {
    // 32 bits fit into a float exactly; the half keeps it off both ends.
    let bits = u32::try_from(scramble(seed ^ 3, counter) >> 32).unwrap_or(u32::MAX);
    (f64::from(bits) + 0.5) / 4_294_967_296.0
}

/// The finalizer of splitmix64: a bijection, so two counters never meet.
pub(in crate::world) fn scramble(seed: u64, counter: u64) -> u64 {
    let mut z = seed.wrapping_add(counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_seventeen_digits_and_pass_their_own_check() {
        for counter in 0..1000 {
            let id = make("vol-", 7, counter);
            assert_eq!(id.len(), "vol-".len() + LONG_DIGITS);
            assert_eq!(Kind::Volume.check(&id), Ok(()));
        }
    }

    #[test]
    fn malformed_ids_get_the_code_ec2_uses() {
        let table = [
            (Kind::Volume, "disk-1", "InvalidParameterValue"),
            (Kind::Volume, "vol-xyz", "InvalidVolumeID.Malformed"),
            (Kind::Volume, "vol-0123", "InvalidVolumeID.Malformed"),
            (Kind::Snapshot, "vol-01234567", "InvalidParameterValue"),
            (Kind::Snapshot, "snap-1", "InvalidSnapshotID.Malformed"),
            (Kind::Instance, "node1", "InvalidInstanceID.Malformed"),
            (Kind::Instance, "i-ABCDEF01", "InvalidInstanceID.Malformed"),
        ];
        for (kind, id, code) in table {
            assert_eq!(kind.check(id).unwrap_err().code, code, "{id}");
        }
    }
}
