//! Names that the signer in the controller and the agents that ask it agree on.

/// The signer of agents' certificates, as CertificateSigningRequests name it.
pub const SIGNER: &str = "volumedispatcher.io/agent";
/// The Secret of the authorities with their keys, and the ConfigMap of their certificates.
pub const AUTHORITIES: &str = "volume-dispatcher-ca";
/// The key of the ConfigMap.
pub const BUNDLE: &str = "ca.crt";
/// The ServiceAccount of agents, as the chart names it.
pub const AGENT_ACCOUNT: &str = "volume-dispatcher-agent";
/// The common name in each certificate. The node is in the alternative name alone: a common name ends at 64 characters
/// (RFC 5280, `ub-common-name`), and names of nodes are longer.
pub const COMMON_NAME: &str = "volume-dispatcher agent";
/// How long a certificate lasts.
pub const LIFETIME_SECONDS: i32 = 24 * 60 * 60;
/// What a certificate is for.
pub const USAGES: [&str; 3] = ["client auth", "digital signature", "server auth"];

/// What stands behind the node's name in the name of its agent.
const SUFFIX: &str = ".agent.volumedispatcher.io";

/// The name of the agent of a node: the alternative name in its certificate, and what its peers ask for.
pub fn agent_name(node: &str) -> String {
    format!("{node}{SUFFIX}")
}

/// The node of the agent with this name; none of a name that no agent has.
pub fn node_of(name: &str) -> Option<&str> {
    name.strip_suffix(SUFFIX).filter(|node| !node.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_agent_tells_its_node() {
        assert_eq!(node_of(&agent_name("ip-10-0-0-1.ec2.internal")), Some("ip-10-0-0-1.ec2.internal"));
        assert_eq!((node_of("node1"), node_of(SUFFIX)), (None, None));
    }
}
