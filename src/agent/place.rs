//! Where the agent is: its instance, its zone, and how many volumes the instance can hold.

use anyhow::Context;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

use crate::domain::tags::TAG_CLUSTER;
use crate::domain::{InstanceId, NodeName, Zone};
use crate::ec2::Ec2;

/// The place of an agent.
#[derive(Clone, Debug)]
pub struct Place {
    /// UID of the node object, for ownership.
    pub node_uid: String,
    /// The instance.
    pub instance: InstanceId,
    /// The zone.
    pub zone: Zone,
    /// How many volumes of pools it can hold; 0 until EC2 was asked.
    pub attach_limit: u32,
}

impl Place {
    /// Reads instance and zone from `spec.providerID` of the node.
    pub async fn of_node(client: &Client, name: &NodeName) -> anyhow::Result<Self> {
        let nodes: Api<Node> = Api::all(client.clone());
        let node = nodes.get(name.as_str()).await.with_context(|| format!("cannot read node {name}"))?;
        let provider_id = node.spec.and_then(|spec| spec.provider_id).unwrap_or_default();
        let (instance, zone) = InstanceId::from_provider_id(&provider_id)
            .with_context(|| format!("spec.providerID of node {name} is {provider_id:?}; it must be aws:///<zone>/<instance id>, as the AWS cloud provider sets it"))?;
        Ok(Self { node_uid: node.metadata.uid.unwrap_or_default(), instance, zone, attach_limit: 0 })
    }

    /// The region of the zone: its name without the last letter. Source: EC2 user guide, "Regions and Zones".
    pub fn region(&self) -> String {
        self.zone.as_str().trim_end_matches(|letter: char| letter.is_ascii_lowercase()).to_owned()
    }

    /// Asks EC2 how many volumes the instance can hold, less those of others that are on it now.
    pub async fn with_limit<E: Ec2>(mut self, ec2: &E, cluster: &str) -> anyhow::Result<Self> {
        let limit = ec2.attach_limit(&self.instance).await?;
        let attached = ec2.volumes_of_instance(&self.instance).await?;
        let foreign = attached.iter().filter(|volume| volume.tags.get(TAG_CLUSTER).is_none_or(|owner| owner != cluster)).count();
        // Kubernetes reads 0 as "no limit".
        self.attach_limit = limit.saturating_sub(u32::try_from(foreign).unwrap_or(limit)).max(1);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_the_zone_without_its_letter() {
        let place = Place { node_uid: String::new(), instance: "i-1".into(), zone: "eu-central-1b".into(), attach_limit: 0 };
        assert_eq!(place.region(), "eu-central-1");
    }
}
