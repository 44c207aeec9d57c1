//! How agents are named to each other, and which of them may follow which source. Pure.

use std::collections::BTreeSet;

use treesync::wire::Call;

pub(super) use crate::k8s::certificates::agent_name as server_name;
use crate::k8s::certificates::node_of;

/// Whether a peer with these names in its certificate may ask something of the source of a pool; if not, why, in words for
/// both logs. `holders` are the nodes that have volumes of the pool.
pub(super) fn may_ask(names: &[String], pool: &str, holders: &BTreeSet<String>, call: Call) -> Result<(), String> {
    if !matches!(call, Call::Follow | Call::Status) {
        return Err("changes are ordered by a PathOperation, not by agents".to_owned());
    }
    let nodes: Vec<&str> = names.iter().filter_map(|name| node_of(name)).collect();
    if nodes.iter().any(|node| holders.contains(*node)) {
        return Ok(());
    }
    let said = if nodes.is_empty() { format!("{names:?}, which is no agent") } else { format!("node {}", nodes.join(" and ")) };
    Err(format!("the certificate is of {said}; only nodes that hold a volume of the VolumePool {pool} may follow its source"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(name: &str, call: Call) -> Result<(), String> {
        may_ask(&[name.to_owned()], "shop/web", &BTreeSet::from(["node1".to_owned()]), call)
    }

    #[test]
    fn only_the_agent_of_a_node_that_holds_a_volume_may_follow() {
        assert_eq!(asks(&server_name("node1"), Call::Follow), Ok(()));
        assert_eq!(asks(&server_name("node1"), Call::Status), Ok(()));
        for other in [&server_name("node2"), &server_name(""), "node1", "node1.example.org", "*.agent.volumedispatcher.io"] {
            assert!(asks(other, Call::Follow).is_err(), "{other}");
        }
        assert!(may_ask(&[], "shop/web", &BTreeSet::from([String::new()]), Call::Follow).is_err(), "no name at all");
        let words = asks(&server_name("node2"), Call::Follow).expect_err("it holds none");
        assert!(words.contains("node node2") && words.contains("shop/web"), "{words}");
    }

    #[test]
    fn no_agent_may_change_the_source_of_another() {
        for call in [Call::Change, Call::Maintain] {
            assert!(asks(&server_name("node1"), call).is_err(), "{call:?}");
        }
    }
}
