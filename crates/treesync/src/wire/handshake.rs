//! Which version of the protocol two ends speak.

use crate::model::proto;

/// The versions that one end speaks, all of them between two bounds.
///
/// Fields of messages are only ever added and mean nothing to an end that does not know them, so a new version is for a
/// change that an older end would get wrong. What is merely new is a capability: used when both ends name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    /// The oldest.
    pub min: u32,
    /// The newest.
    pub max: u32,
}

/// Why two ends do not understand each other.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{theirs} speaks protocol versions {} to {}, and {ours} speaks {} to {}; bring the older one to a newer release",
    their_versions.min, their_versions.max, our_versions.min, our_versions.max
)]
pub struct Refused {
    theirs: String,
    their_versions: Versions,
    ours: String,
    our_versions: Versions,
}

/// The metadata that carries the chosen version with each call.
pub(super) const VERSION_METADATA: &str = "treesync-version";

impl Versions {
    /// Those of this program.
    pub const OURS: Self = Self { min: 1, max: 1 };

    /// The newest version that both speak.
    ///
    /// # Errors
    /// When there is none: names both ends and their versions.
    pub fn choose(self, hello: &proto::HelloRequest) -> Result<u32, Refused> {
        let theirs = Self { min: hello.min_version, max: hello.max_version };
        let newest = self.max.min(theirs.max);
        if newest >= self.min && newest >= theirs.min {
            return Ok(newest);
        }
        let named = if hello.program.is_empty() { "the other end" } else { &hello.program };
        Err(Refused { theirs: named.chars().take(200).collect(), their_versions: theirs, ours: program(), our_versions: self })
    }

    /// What an end with these versions says first.
    pub fn hello(self) -> proto::HelloRequest {
        proto::HelloRequest { min_version: self.min, max_version: self.max, capabilities: Vec::new(), program: program() }
    }

    /// Whether this end speaks it.
    pub fn contains(self, version: u32) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// The name of this program, for people.
pub(super) fn program() -> String {
    format!("treesync {}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(ours: (u32, u32), theirs: (u32, u32)) -> Result<u32, Refused> {
        let versions = |(min, max)| Versions { min, max };
        versions(ours).choose(&versions(theirs).hello())
    }

    #[test]
    fn an_older_and_a_newer_end_speak_the_newest_that_both_know() {
        assert_eq!(choose((1, 3), (2, 5)), Ok(3));
        assert_eq!(choose((2, 5), (1, 3)), Ok(3));
        assert_eq!(choose((1, 1), (1, 1)), Ok(1));
        assert_eq!(choose((1, 9), (4, 4)), Ok(4));
    }

    #[test]
    fn ends_without_a_version_in_both_refuse_and_say_which_is_older() {
        for (ours, theirs) in [((1, 2), (3, 4)), ((3, 4), (1, 2)), ((1, 2), (0, 0)), ((1, 9), (9, 1))] {
            let refused = choose(ours, theirs);
            if theirs == (9, 1) {
                assert!(refused.is_err(), "bounds the wrong way round");
                continue;
            }
            let text = refused.expect_err("no version in both").to_string();
            assert!(text.contains(&format!("{} to {}", theirs.0, theirs.1)) && text.contains("newer release"), "{text}");
        }
    }
}
