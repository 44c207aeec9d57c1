//! How often an account may call each action of EC2, as documented or as AWS has raised it for the account.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The part of the account's buckets that we use. A bucket that is emptied at its own rate for hours must not run dry because
/// our clock is the faster one: 1000 ppm are twice what NTP corrects at most (RFC 5905, 500 ppm). Calls whose ways differ are
/// paid for by those that admission keeps for claims.
const SHARE: f64 = 0.999;

/// Size and refill of a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Calls that may be made at once.
    pub burst: f64,
    /// Calls that may be made each second in the long run.
    pub per_second: f64,
}

/// What is documented for an account, by action.
///
/// Source: EC2 developer guide, "Request throttling for the Amazon EC2 API", the tables of resource-intensive
/// and of uncategorised actions; actions that it does not list are in the class of mutating ones, 50 and 5.
const DOCUMENTED: [(&str, u32, u32); 16] = [
    ("AttachVolume", 50, 5),
    ("CopyVolumes", 50, 5),
    ("CreateSnapshot", 100, 5),
    ("CreateTags", 100, 10),
    ("CreateVolume", 100, 5),
    ("DeleteSnapshot", 100, 5),
    ("DeleteTags", 100, 10),
    ("DeleteVolume", 100, 5),
    ("DescribeInstanceTypes", 100, 20),
    ("DescribeInstances", 100, 20),
    ("DescribeSnapshots", 100, 20),
    ("DescribeVolumeStatus", 100, 20),
    ("DescribeVolumes", 100, 20),
    ("DescribeVolumesModifications", 100, 20),
    ("DetachVolume", 50, 5),
    ("ModifyVolume", 50, 5),
];
/// For an action that is not in the table. Source: the same, the smallest class of mutating actions.
const OTHER: Limit = Limit { burst: 50.0, per_second: 5.0 };

/// A limit that AWS has raised for an account: `<action>=<burst>/<calls a second>`. Example: `CreateVolume=200/10`.
#[derive(Clone, Debug, PartialEq)]
pub struct Raised {
    action: &'static str,
    limit: Limit,
}

impl FromStr for Raised {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("{text:?} is not <action>=<burst>/<calls a second>, such as CreateVolume=200/10");
        let (name, numbers) = text.split_once('=').ok_or_else(shape)?;
        let (burst, per_second) = numbers.split_once('/').ok_or_else(shape)?;
        let Some((action, ..)) = DOCUMENTED.iter().find(|(action, ..)| *action == name) else {
            let known: Vec<&str> = DOCUMENTED.iter().map(|(action, ..)| *action).collect();
            return Err(format!("{name:?} is no action that is paced; there are: {}", known.join(", ")));
        };
        let number = |what: &str, text: &str, least: f64| match text.parse::<f64>() {
            Ok(number) if (least..=100_000.0).contains(&number) => Ok(number),
            _ => Err(format!("{action}: the {what} must be a number from {least} to 100000, not {text:?}")),
        };
        Ok(Self { action, limit: Limit { burst: number("burst", burst, 1.0)?, per_second: number("rate", per_second, 0.1)? } })
    }
}

/// The limits that we keep: a part of the account's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    raised: BTreeMap<&'static str, Limit>,
}

impl Limits {
    /// The documented limits, some of them replaced. Of two for one action the last counts.
    pub fn raised(raised: impl IntoIterator<Item = Raised>) -> Self {
        Self { raised: raised.into_iter().map(|raised| (raised.action, raised.limit)).collect() }
    }

    /// What the account allows for an action.
    pub fn of_account(&self, action: &str) -> Limit {
        let documented = DOCUMENTED.iter().find(|(name, ..)| *name == action);
        let documented = documented.map_or(OTHER, |(_, burst, rate)| Limit { burst: f64::from(*burst), per_second: f64::from(*rate) });
        self.raised.get(action).copied().unwrap_or(documented)
    }

    /// What we use of that.
    pub fn ours(&self, action: &str) -> Limit {
        let account = self.of_account(action);
        Limit { burst: (account.burst * SHARE).max(1.0), per_second: account.per_second * SHARE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_what_is_documented_until_it_is_raised() {
        let documented = Limits::default();
        assert_eq!(documented.of_account("CreateVolume"), Limit { burst: 100.0, per_second: 5.0 });
        assert_eq!(documented.of_account("DescribeVolumes"), Limit { burst: 100.0, per_second: 20.0 });
        assert_eq!(documented.of_account("SomethingNew"), OTHER);
        let raised = Limits::raised(["CreateVolume=200/10".parse().unwrap()]);
        assert_eq!(raised.of_account("CreateVolume"), Limit { burst: 200.0, per_second: 10.0 });
        assert_eq!(raised.of_account("DeleteVolume"), documented.of_account("DeleteVolume"));
    }

    #[test]
    fn we_use_a_little_less_than_the_account_allows() {
        for (action, ..) in DOCUMENTED {
            let (account, ours) = (Limits::default().of_account(action), Limits::default().ours(action));
            assert!(ours.burst < account.burst && ours.per_second < account.per_second, "{action}");
            assert!(ours.per_second * 1.05 > account.per_second, "{action} is slower than it must be");
        }
    }

    #[test]
    fn a_limit_that_cannot_be_read_says_what_is_wrong() {
        for (text, words) in [
            ("CreateVolume", "such as CreateVolume=200/10"),
            ("CreateVolume=200", "such as CreateVolume=200/10"),
            ("MakeVolume=1/1", "no action that is paced; there are: AttachVolume"),
            ("CreateVolume=0/5", "the burst must be a number from 1"),
            ("CreateVolume=10/0", "the rate must be a number from 0.1"),
            ("CreateVolume=NaN/5", "the burst must be"),
            ("CreateVolume=inf/5", "the burst must be"),
        ] {
            let error = text.parse::<Raised>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
