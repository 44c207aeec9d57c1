//! Faults on request: what goes wrong, for which calls, how often.
//!
//! A [`Fault`] is a value with a JSON form, so that a scripted file, an admin
//! interface and a test in process say the same things in the same words:
//!
//! ```json
//! {"fault": "error", "calls": {"action": "AttachVolume"}, "times": 2, "code": "InternalError"}
//! ```

use serde::{Deserialize, Serialize};

use super::actions::Bucket;

/// Which calls a fault is for: those that every given pattern matches. `*` and `?` are wildcards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// The action's name; any when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// An id that the call names; any call when missing. A call that names no such id does not match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// A tag to set, or a key to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retag {
    /// The key.
    pub key: String,
    /// The new value; the tag is removed when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// How a volume that was accepted fails later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// It shows `error` instead of becoming usable.
    #[default]
    Error,
    /// It disappears, as after a key that cannot be used (ebs #3010).
    Vanish,
}

/// Something that goes wrong.
///
/// The first group waits for calls that match and then happens `times` times (for ever
/// when missing). The second group happens once, at the moment it is injected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The call is refused with this code and changes nothing.
    Error {
        /// For which calls.
        #[serde(default)]
        calls: Calls,
        /// How often; for ever when missing.
        #[serde(default)]
        times: Option<u32>,
        /// Such as `InternalError`; its HTTP status follows from it.
        code: String,
        /// What is said with it.
        #[serde(default)]
        message: Option<String>,
    },
    /// The call is carried out, and the connection closed instead of an answer.
    ReplyLost {
        /// For which calls.
        #[serde(default)]
        calls: Calls,
        /// How often; for ever when missing.
        #[serde(default)]
        times: Option<u32>,
    },
    /// The call is carried out at once and answered late.
    ReplyDelayed {
        /// For which calls.
        #[serde(default)]
        calls: Calls,
        /// How often; for ever when missing.
        #[serde(default)]
        times: Option<u32>,
        /// How late.
        millis: u64,
    },
    /// The call is carried out late, as one that the network kept back.
    RequestDelayed {
        /// For which calls.
        #[serde(default)]
        calls: Calls,
        /// How often; for ever when missing.
        #[serde(default)]
        times: Option<u32>,
        /// How late.
        millis: u64,
    },
    /// The call is carried out twice, as one that was sent again unseen; the second answer is given.
    RequestDuplicated {
        /// For which calls.
        #[serde(default)]
        calls: Calls,
        /// How often; for ever when missing.
        #[serde(default)]
        times: Option<u32>,
    },
    /// Describes show what was true this long ago. Every second one of them when `every` is 2.
    StaleReads {
        /// For which calls.
        #[serde(default)]
        calls: Calls,
        /// How often; for ever when missing.
        #[serde(default)]
        times: Option<u32>,
        /// How old the answer is.
        millis: u64,
        /// One of how many matching reads is stale: all when 1 or missing.
        #[serde(default)]
        every: Option<u32>,
    },
    /// A volume that is created or copied fails after the call was answered.
    VolumeFails {
        /// For which calls.
        #[serde(default)]
        calls: Calls,
        /// How often; for ever when missing.
        #[serde(default)]
        times: Option<u32>,
        /// What becomes of it.
        #[serde(default)]
        failure: Failure,
    },
    /// A snapshot that is taken or copied ends in `error`.
    SnapshotFails {
        /// For which calls.
        #[serde(default)]
        calls: Calls,
        /// How often; for ever when missing.
        #[serde(default)]
        times: Option<u32>,
    },
    /// A modification of a volume ends in `failed` and leaves the volume as it was.
    ModificationFails {
        /// For which calls.
        #[serde(default)]
        calls: Calls,
        /// How often; for ever when missing.
        #[serde(default)]
        times: Option<u32>,
    },
    /// An attachment stays in `attaching` until it is detached (kubernetes #36450, ebs #1801).
    AttachmentSticks {
        /// For which calls.
        #[serde(default)]
        calls: Calls,
        /// How often; for ever when missing.
        #[serde(default)]
        times: Option<u32>,
    },
    /// A zone has no room: creations there are refused with `InsufficientVolumeCapacity`.
    NoCapacity {
        /// The zone by name; every zone when missing.
        #[serde(default)]
        zone: Option<String>,
        /// The volume type; every type when missing.
        #[serde(default)]
        volume_type: Option<String>,
        /// How often; for ever when missing.
        #[serde(default)]
        times: Option<u32>,
    },

    /// The rate limit of an action is this from now on, full at first.
    Throttle {
        /// The action's name, or `*` for every action.
        action: String,
        /// The bucket.
        bucket: Bucket,
    },
    /// An instance is terminated by somebody else, or its host is lost.
    InstanceDies {
        /// The instance.
        instance_id: String,
    },
    /// An instance is stopped by somebody else.
    InstanceStops {
        /// The instance.
        instance_id: String,
    },
    /// A stopped instance is started by somebody else.
    InstanceReturns {
        /// The instance.
        instance_id: String,
    },
    /// A volume goes to `error`, as after the loss of its hardware; an attachment stays.
    VolumeLost {
        /// The volume.
        volume_id: String,
    },
    /// Somebody else detaches a volume.
    ForeignDetach {
        /// The volume.
        volume_id: String,
        /// Whether by force.
        #[serde(default)]
        force: bool,
    },
    /// Somebody else deletes a volume or a snapshot, detaching the volume by force first.
    ForeignDelete {
        /// The volume or snapshot.
        resource_id: String,
    },
    /// Somebody else changes tags.
    ForeignRetag {
        /// A resource of any kind.
        resource_id: String,
        /// What is set and removed.
        tags: Vec<Retag>,
    },
}

/// What the shell does to one call on its way, besides carrying it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// How long the request is kept back before it is carried out.
    pub request_delay_ms: u64,
    /// How often it is carried out: 1, or 2 when it was duplicated.
    pub copies: u32,
    /// How long the answer is kept back.
    pub reply_delay_ms: u64,
    /// Whether the answer is lost.
    pub reply_lost: bool,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { request_delay_ms: 0, copies: 1, reply_delay_ms: 0, reply_lost: false }
    }
}

impl Fault {
    /// For which calls it waits, and how often it happens; none for one that happens at once.
    pub(in crate::world) fn standing(&self) -> Option<(Calls, Option<u32>)> {
        match self {
            Self::Error { calls, times, .. }
            | Self::ReplyLost { calls, times }
            | Self::ReplyDelayed { calls, times, .. }
            | Self::RequestDelayed { calls, times, .. }
            | Self::RequestDuplicated { calls, times }
            | Self::StaleReads { calls, times, .. }
            | Self::VolumeFails { calls, times, .. }
            | Self::SnapshotFails { calls, times }
            | Self::ModificationFails { calls, times }
            | Self::AttachmentSticks { calls, times } => Some((calls.clone(), *times)),
            Self::NoCapacity { times, .. } => Some((Calls::default(), *times)),
            Self::Throttle { .. }
            | Self::InstanceDies { .. }
            | Self::InstanceStops { .. }
            | Self::InstanceReturns { .. }
            | Self::VolumeLost { .. }
            | Self::ForeignDetach { .. }
            | Self::ForeignDelete { .. }
            | Self::ForeignRetag { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_written_in_json_as_it_is_read() {
        let table = [
            r#"{"fault":"error","calls":{"action":"AttachVolume"},"times":2,"code":"InternalError","message":null}"#,
            r#"{"fault":"reply-lost","calls":{},"times":1}"#,
            r#"{"fault":"throttle","action":"*","bucket":{"size":3,"refill_per_second":1}}"#,
            r#"{"fault":"foreign-retag","resource_id":"vol-1","tags":[{"key":"a","value":"b"},{"key":"c"}]}"#,
        ];
        for text in table {
            let fault: Fault = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&fault).unwrap(), text);
        }
    }

    #[test]
    fn a_misspelled_fault_is_refused() {
        for text in [
            r#"{"fault":"eror"}"#,
            r#"{"fault":"error"}"#,
            r#"{"fault":"reply-lost","time":1}"#,
            r#"{"fault":"error","calls":{"verb":"x"},"code":"x"}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(text).is_err(), "{text}");
        }
    }
}
