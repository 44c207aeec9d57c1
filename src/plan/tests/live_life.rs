//! A simulated life of a source: agents that obey late, nodes that die and come back, EC2 that lags. It is never on two nodes,
//! and always published in the end.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::domain::{Attachment, AttachmentState, CloudVolume, NodeName, SyncState, VolumeState};
use crate::plan::{Action, NodeSide, PoolSeen, SourceObject, SourceSeen, supply};

use super::build::{NOW, at};
use super::live::{live_pool, source_object, sync};

/// What happens between two plans.
#[derive(Clone, Debug)]
enum Event {
    /// An agent does its next step.
    AgentSteps(&'static str),
    /// The instance ends: EC2 frees its volumes and its Node object goes, its agent says nothing any more.
    NodeDies(&'static str),
    /// A node of that name joins.
    NodeJoins(&'static str),
    /// Its node takes no new pods, or does again.
    Cordon(&'static str, bool),
    /// Pods of a node wait for the source.
    Request(Option<&'static str>),
}

const NODES: [&str; 2] = ["node-a", "node-d"];

fn event() -> impl Strategy<Value = Event> {
    let node = || prop::sample::select(NODES.to_vec());
    prop_oneof![
        6 => node().prop_map(Event::AgentSteps),
        1 => node().prop_map(Event::NodeDies),
        2 => node().prop_map(Event::NodeJoins),
        1 => (node(), any::<bool>()).prop_map(|(node, cordoned)| Event::Cordon(node, cordoned)),
        1 => prop::option::of(node()).prop_map(Event::Request),
    ]
}

struct World {
    seen: PoolSeen,
    object: Option<SourceObject>,
    ebs: CloudVolume,
    /// Which node has the filesystem mounted.
    mounted: BTreeMap<&'static str, bool>,
}

impl World {
    fn new() -> Self {
        let seen = live_pool().seen();
        let SourceSeen::Volume(ebs) = seen.source.clone() else { unreachable!("the pool has a source volume") };
        Self { seen, object: None, ebs, mounted: BTreeMap::new() }
    }

    fn plan(&mut self) -> usize {
        self.seen.source = SourceSeen::Volume(self.ebs.clone());
        self.seen.source_object = self.object.clone().map(|mut object| {
            object.volume.cloud = Some(self.ebs.clone());
            object
        });
        let plan = supply(&self.seen, at(NOW));
        for action in &plan.actions {
            self.apply(action);
        }
        plan.actions.len()
    }

    fn apply(&mut self, action: &Action) {
        match (action, &mut self.object) {
            (Action::CreateSourceObject(_), none @ None) => *none = Some(source_object()),
            (Action::AssignSource { node, .. }, Some(object)) => {
                assert!(object.volume.is_off_nodes(), "{object:?} is still on a node");
                object.volume.node_name = Some(node.clone());
            }
            (Action::Unassign(_), Some(object)) => object.volume.node_name = None,
            (Action::ForgetNode { .. }, Some(object)) => object.volume.node = None,
            other => panic!("{other:?}"),
        }
    }

    fn agent_steps(&mut self, node: &'static str) {
        let is_alive = self.seen.nodes.contains(&NodeName::from(node));
        let Some(object) = self.object.as_mut().filter(|_| is_alive) else { return };
        let is_wanted = object.volume.node_name.as_ref() == Some(&NodeName::from(node));
        let is_mine = object.volume.node.as_ref().is_some_and(|side| side.node == node);
        let is_here = self.ebs.attachments.iter().any(|attachment| attachment.instance == instance(node));
        let side = |attached, state| NodeSide {
            node: node.to_owned(),
            attached,
            mounted: attached,
            sync: Some(sync(state)),
            ..NodeSide::default()
        };
        if is_wanted && !is_mine {
            // The intent comes before the attachment.
            object.volume.node = Some(side(false, SyncState::Disconnected));
        } else if is_wanted && !is_here && self.ebs.is_free() {
            let attached = Attachment { instance: instance(node), device: String::new(), state: AttachmentState::Attached };
            (self.ebs.state, self.ebs.attachments) = (VolumeState::InUse, vec![attached]);
        } else if is_wanted && is_here {
            self.mounted.insert(node, true);
            object.volume.node = Some(side(true, SyncState::Publishing));
        } else if is_mine && !is_wanted {
            self.mounted.remove(node);
            if is_here {
                (self.ebs.state, self.ebs.attachments) = (VolumeState::Available, Vec::new());
            }
            object.volume.node = None;
        }
        assert!(self.mounted.len() <= 1, "it is mounted on {:?}", self.mounted);
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::AgentSteps(node) => self.agent_steps(node),
            Event::NodeDies(node) => {
                self.seen.nodes.remove(&NodeName::from(*node));
                self.mounted.remove(node);
                if self.ebs.attachments.iter().any(|attachment| attachment.instance == instance(node)) {
                    (self.ebs.state, self.ebs.attachments) = (VolumeState::Available, Vec::new());
                }
            }
            Event::NodeJoins(node) => drop(self.seen.nodes.insert(NodeName::from(*node))),
            Event::Cordon(node, cordoned) => {
                self.seen.agents.get_mut(&NodeName::from(*node)).expect("it is there").is_cordoned = *cordoned;
            }
            Event::Request(node) => {
                if let Some(object) = &mut self.object {
                    object.requested_by = node.map(NodeName::from);
                }
            }
        }
    }

    fn is_published(&self) -> bool {
        let side = self.object.as_ref().and_then(|object| object.volume.node.as_ref());
        side.and_then(|side| side.sync.as_ref()).is_some_and(|sync| sync.state == SyncState::Publishing)
    }
}

fn instance(node: &str) -> crate::domain::InstanceId {
    node.replace("node-", "i-").as_str().into()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_source_is_on_one_node_at_a_time_and_is_published_in_the_end(events in prop::collection::vec(event(), 0..60)) {
        let mut world = World::new();
        for event in &events {
            world.plan();
            world.happen(event);
        }
        for node in NODES {
            world.happen(&Event::NodeJoins(node));
        }
        for _ in 0..20 {
            world.plan();
            for node in NODES {
                world.agent_steps(node);
            }
        }
        prop_assert!(world.is_published(), "{:?}", world.object);
        prop_assert_eq!(world.plan(), 0, "the plan of the wanted state is empty");
    }
}
