//! Errors of EC2 calls and what each class means to a caller. Only this module reads AWS code strings.

use std::fmt;

/// A failed EC2 call: what was asked of what, what EC2 answered, and under which request id.
#[derive(Debug, thiserror::Error)]
#[error("{action} {object}: {code}: {message}{}", RequestId(.request_id))]
pub struct Error {
    /// The EC2 action. Example: CreateVolume.
    pub action: &'static str,
    /// The object that it was asked of.
    pub object: String,
    /// The code of EC2, or `Unreachable` when there was no answer.
    pub code: String,
    /// The words of EC2.
    pub message: String,
    /// For a question to AWS support.
    pub request_id: Option<String>,
}

struct RequestId<'a>(&'a Option<String>);

impl fmt::Display for RequestId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, " (request {id})"),
            None => Ok(()),
        }
    }
}

/// What an error means.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// The object is not there, or not visible yet.
    NotFound,
    /// The object is held or named by something else.
    Conflict,
    /// The state of the object does not allow it now.
    WrongState,
    /// The account asks too often.
    Throttled,
    /// The client token was used for other parameters, or for a volume that failed; it will never give one.
    TokenBurnt,
    /// A quota or the zone's capacity is used up.
    Capacity,
    /// The credentials may not do this.
    Denied,
    /// The request can never succeed as it is.
    Invalid,
    /// EC2 or the way to it failed; the outcome is unknown.
    Transient,
}

impl Error {
    /// The words without the request id: the same for the same failure, so that a status changes only with it.
    pub fn lasting(&self) -> String {
        format!("{} {}: {}: {}", self.action, self.object, self.code, self.message)
    }

    /// Whether EC2 refused the call for the rate of the account's calls, and not for what it asks.
    ///
    /// Source: EC2 developer guide, "Request throttling": `RequestLimitExceeded`; the others are those that the SDKs
    /// treat in the same way.
    pub fn is_rate_refusal(&self) -> bool {
        let code = self.code.strip_prefix("Client.").unwrap_or(&self.code);
        matches!(code, "RequestLimitExceeded" | "EC2ThrottledException" | "Throttling" | "ThrottlingException" | "SlowDown")
    }

    /// What the code means. Source: EC2 API reference, "Error codes".
    pub fn class(&self) -> Class {
        if self.is_rate_refusal() {
            return Class::Throttled;
        }
        match self.code.as_str() {
            "VolumeInUse" | "Client.VolumeInUse" => Class::Conflict,
            "InvalidParameterValue" if self.message.contains("already in use") => Class::Conflict,
            "InvalidAttachment.NotFound" | "IncorrectState" | "IncorrectInstanceState" | "IncorrectModificationState" => Class::WrongState,
            "SnapshotCreationPerVolumeRateExceeded" | "ConcurrentSnapshotLimitExceeded" | "VolumeModificationRateExceeded" => {
                Class::Throttled
            }
            "AttachmentLimitExceeded" | "VolumeLimitExceeded" | "InsufficientVolumeCapacity" | "MaxIOPSLimitExceeded" => Class::Capacity,
            "IdempotentParameterMismatch" => Class::TokenBurnt,
            "UnauthorizedOperation" | "AuthFailure" | "NotLeading" => Class::Denied,
            "Unreachable" | "Unavailable" | "InternalError" | "ServiceUnavailable" => Class::Transient,
            code if code.ends_with(".NotFound") => Class::NotFound,
            _ => Class::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, message: &str) -> Error {
        Error { action: "AttachVolume", object: "vol-1".into(), code: code.into(), message: message.into(), request_id: None }
    }

    #[test]
    fn codes_are_sorted_by_what_a_caller_must_do() {
        let cases = [
            ("InvalidVolume.NotFound", "", Class::NotFound),
            ("InvalidAttachment.NotFound", "", Class::WrongState),
            ("VolumeInUse", "", Class::Conflict),
            ("InvalidParameterValue", "Attachment point /dev/xvdba is already in use", Class::Conflict),
            ("InvalidParameterValue", "bad size", Class::Invalid),
            ("RequestLimitExceeded", "", Class::Throttled),
            ("UnauthorizedOperation", "", Class::Denied),
            ("IdempotentParameterMismatch", "", Class::TokenBurnt),
            ("Unreachable", "", Class::Transient),
        ];
        for (code, message, class) in cases {
            assert_eq!(error(code, message).class(), class, "{code} {message}");
        }
    }

    #[test]
    fn an_error_names_action_object_and_code() {
        assert_eq!(error("VolumeInUse", "taken").to_string(), "AttachVolume vol-1: VolumeInUse: taken");
    }
}
