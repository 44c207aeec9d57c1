//! Volume types and the sizes, operations and throughput EC2 allows for each.

use serde::{Deserialize, Serialize};

use crate::world::ApiError;

/// An EBS volume type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the variants are EC2's own names")]
pub enum VolumeType {
    Standard,
    Io1,
    Io2,
    Gp2,
    Gp3,
    Sc1,
    St1,
}

/// A volume type with the performance that a volume gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::world) struct Wanted {
    pub(in crate::world) volume_type: VolumeType,
    pub(in crate::world) iops: Option<u32>,
    pub(in crate::world) throughput: Option<u32>,
}

impl Wanted {
    /// The operations that count against a quota.
    pub(in crate::world) fn quota_iops(self) -> u64 {
        u64::from(self.iops.unwrap_or(0))
    }
}

/// Bounds of provisioned operations: least, most, most per GiB (API reference, `CreateVolume`).
type IopsBounds = (i64, i64, i64);

/// gp3 without any request for more.
const GP3_IOPS: i64 = 3_000;
const GP3_THROUGHPUT: i64 = 125;
/// MiB/s.
const GP3_MOST_THROUGHPUT: i64 = 2_000;

impl VolumeType {
    /// Parses a type; gp2 when missing, which is the API's default.
    pub(in crate::world) fn parse(name: Option<&str>) -> Result<Self, ApiError> {
        Ok(match name.unwrap_or("gp2") {
            "standard" => Self::Standard,
            "io1" => Self::Io1,
            "io2" => Self::Io2,
            "gp2" => Self::Gp2,
            "gp3" => Self::Gp3,
            "sc1" => Self::Sc1,
            "st1" => Self::St1,
            other => {
                return Err(ApiError::invalid_value(format!(
                    "Value ({other}) for parameter volumeType is invalid. Unsupported volume type."
                )));
            }
        })
    }

    /// The type's name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Io1 => "io1",
            Self::Io2 => "io2",
            Self::Gp2 => "gp2",
            Self::Gp3 => "gp3",
            Self::Sc1 => "sc1",
            Self::St1 => "st1",
        }
    }

    /// How many snapshots of one volume may be pending at once.
    pub(in crate::world) const fn pending_snapshots(self) -> usize {
        match self {
            Self::Sc1 | Self::St1 => 1,
            _ => 5,
        }
    }

    /// Smallest and largest size, in GiB.
    const fn sizes(self) -> (i64, i64) {
        match self {
            Self::Standard => (1, 1_024),
            Self::Gp2 => (1, 16_384),
            Self::Gp3 => (1, 65_536),
            Self::Io1 => (4, 16_384),
            Self::Io2 => (4, 65_536),
            Self::Sc1 | Self::St1 => (125, 16_384),
        }
    }

    const fn iops_bounds(self) -> Option<IopsBounds> {
        match self {
            Self::Gp3 => Some((3_000, 80_000, 500)),
            Self::Io1 => Some((100, 64_000, 50)),
            Self::Io2 => Some((100, 256_000, 1_000)),
            _ => None,
        }
    }

    /// Whether operations are provisioned rather than given by the size.
    pub(in crate::world) const fn is_provisioned(self) -> bool {
        self.iops_bounds().is_some()
    }

    /// Checks a size.
    pub(in crate::world) fn check_size(self, size_gib: i64) -> Result<u32, ApiError> {
        let (least, most) = self.sizes();
        if (least..=most).contains(&size_gib) {
            return Ok(u32::try_from(size_gib).unwrap_or(u32::MAX));
        }
        Err(ApiError::invalid_value(format!(
            "Volume of {size_gib}GiB is {}; the {} for volume type {} is {}GiB",
            if size_gib < least { "too small" } else { "too big" },
            if size_gib < least { "minimum" } else { "maximum" },
            self.name(),
            if size_gib < least { least } else { most },
        )))
    }

    /// Checks the requested performance for a volume of this size, and fills in defaults.
    pub(in crate::world) fn performance(self, iops: Option<i64>, throughput: Option<i64>, size_gib: u32) -> Result<Wanted, ApiError> {
        if throughput.is_some() && self != Self::Gp3 {
            return Err(self.unsupported("throughput"));
        }
        let iops = match (self.iops_bounds(), iops) {
            (None, Some(_)) => return Err(self.unsupported("iops")),
            (None, None) => self.baseline_iops(size_gib),
            (Some(_), None) if self == Self::Gp3 => Some(GP3_IOPS),
            (Some(_), None) => {
                return Err(ApiError::new(
                    "MissingParameter",
                    format!("The parameter iops must be specified for {} volumes.", self.name()),
                ));
            }
            (Some(bounds), Some(iops)) => Some(self.check_iops(bounds, iops, size_gib)?),
        };
        let throughput = match self {
            Self::Gp3 => Some(check_throughput(throughput, iops.unwrap_or(GP3_IOPS))?),
            _ => None,
        };
        let narrow = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Wanted { volume_type: self, iops: iops.map(narrow), throughput: throughput.map(narrow) })
    }

    fn baseline_iops(self, size_gib: u32) -> Option<i64> {
        (self == Self::Gp2).then(|| (3 * i64::from(size_gib)).clamp(100, 16_000))
    }

    fn check_iops(self, (least, most, per_gib): IopsBounds, iops: i64, size_gib: u32) -> Result<i64, ApiError> {
        if !(least..=most).contains(&iops) {
            return Err(ApiError::invalid_value(format!(
                "Volume iops of {iops} is out of bounds; it must be between {least} and {most} for volume type {}.",
                self.name()
            )));
        }
        // A gp3 volume of a few GiB may have the baseline, whatever the ratio says.
        let ratio_counts = !(self == Self::Gp3 && iops == GP3_IOPS);
        if ratio_counts && iops > per_gib * i64::from(size_gib) {
            return Err(ApiError::invalid_value(format!(
                "Iops to volume size ratio of {iops}:{size_gib} is too high; maximum is {per_gib} IOPS per GiB."
            )));
        }
        Ok(iops)
    }

    fn unsupported(self, parameter: &str) -> ApiError {
        ApiError::combination(format!("The parameter {parameter} is not supported for {} volumes.", self.name()))
    }
}

fn check_throughput(asked: Option<i64>, iops: i64) -> Result<i64, ApiError> {
    let throughput = asked.unwrap_or(GP3_THROUGHPUT);
    if !(GP3_THROUGHPUT..=GP3_MOST_THROUGHPUT).contains(&throughput) {
        return Err(ApiError::invalid_value(format!(
            "Throughput of {throughput} MiBps is out of bounds; it must be between {GP3_THROUGHPUT} and {GP3_MOST_THROUGHPUT}."
        )));
    }
    // 0.25 MiB/s for each provisioned operation.
    if throughput * 4 > iops {
        return Err(ApiError::invalid_value(format!(
            "Throughput (MiBps) to iops ratio of {throughput}:{iops} is too high; maximum is 0.25 MiBps per iops"
        )));
    }
    Ok(throughput)
}
