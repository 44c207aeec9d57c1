//! Newtypes for every identity, so that a volume id can never stand where an instance id belongs.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text that the API server or EC2 has already validated.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text as Kubernetes or EC2 spells it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

text_id!(
    /// An EBS volume, `vol-` and 8 or 17 hexadecimal digits.
    VolumeId
);
text_id!(
    /// An EBS snapshot, `snap-` and 8 or 17 hexadecimal digits.
    SnapshotId
);
text_id!(
    /// An EC2 instance, `i-` and 8 or 17 hexadecimal digits.
    InstanceId
);
text_id!(
    /// An availability zone such as `us-east-1a`.
    Zone
);
text_id!(
    /// The name of a Kubernetes node, which is not its instance id.
    NodeName
);
text_id!(
    /// The UID of a Kubernetes object: unlike a name it is never used twice.
    Uid
);

/// The namespace and name of a namespaced Kubernetes object.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectKey {
    /// The namespace.
    pub namespace: String,
    /// The name, unique for its kind in the namespace.
    pub name: String,
}

impl ObjectKey {
    /// Joins a namespace and a name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Parses `<namespace>/<name>`; `None` when either part is missing or there is a third.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        let fits = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
        fits.then(|| Self::new(namespace, name))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl VolumeId {
    /// The serial number that the volume's NVMe device reports: the id without its dash.
    ///
    /// Source: Amazon EBS user guide, "Map NVMe block devices to EBS volumes".
    pub fn nvme_serial(&self) -> String {
        self.0.replacen('-', "", 1)
    }
}

impl InstanceId {
    /// Reads the instance and its zone from a node's `spec.providerID`, `aws:///<zone>/<instance>`.
    ///
    /// Source: cloud-provider-aws, `pkg/providers/v1/instances.go`, `KubernetesInstanceID`.
    pub fn from_provider_id(provider_id: &str) -> Option<(Self, Zone)> {
        let path = provider_id.strip_prefix("aws://")?.trim_start_matches('/');
        let (zone, instance) = path.split_once('/')?;
        instance.starts_with("i-").then(|| (Self::new(instance), Zone::new(zone)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_id_names_the_zone_and_the_instance() {
        let parsed = InstanceId::from_provider_id("aws:///us-east-1a/i-0123456789abcdef0");
        assert_eq!(parsed, Some(("i-0123456789abcdef0".into(), "us-east-1a".into())));
    }

    #[test]
    fn a_provider_id_of_another_cloud_is_refused() {
        for text in ["gce://project/zone/name", "aws:///us-east-1a", "aws:///us-east-1a/fargate-1", ""] {
            assert_eq!(InstanceId::from_provider_id(text), None, "{text}");
        }
    }

    #[test]
    fn the_serial_is_the_volume_id_without_its_dash() {
        assert_eq!(VolumeId::new("vol-0abc").nvme_serial(), "vol0abc");
    }

    #[test]
    fn an_object_key_has_exactly_two_parts() {
        assert_eq!(ObjectKey::parse("shop/web"), Some(ObjectKey::new("shop", "web")));
        for text in ["web", "/web", "shop/", "a/b/c"] {
            assert_eq!(ObjectKey::parse(text), None, "{text}");
        }
    }
}
