//! A simulated life of a source that another driver attaches: pods come and go on two nodes, the controller looks when it likes, nodes
//! die and agents are started anew. It is published where pods have it, never held from the driver, and what is said of its content
//! while nobody has it is true.

use proptest::prelude::*;

use crate::domain::{Attachment, AttachmentState, CloudVolume, NodeName, SyncPosition, SyncState, VolumeState};
use crate::plan::{Action, NodeSide, PoolSeen, PublishWanted, Source, SourceObject, SourceSeen, SyncSeen, supply};

use super::build::{NOW, at};
use super::live::{live_pool, publish, source_object, sync};

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    /// The controller looks at everything.
    Plan,
    /// A pod with the claim starts on a node: the driver attaches the volume, unless it is elsewhere, and mounts it.
    PodStarts(&'static str),
    /// That pod writes.
    PodWrites,
    /// It ends, and the kubelet unmounts from it.
    PodEnds,
    /// The driver unmounts and detaches, unless a pod has it or the kernel refuses.
    Detach,
    /// An agent looks without a reason.
    AgentLooks(&'static str),
    /// An agent ends and starts again.
    AgentRestarts(&'static str),
    /// The instance ends with all that ran on it.
    NodeDies(&'static str),
    /// A node of that name joins.
    NodeJoins(&'static str),
}

const NODES: [&str; 2] = ["node-a", "node-d"];

fn event() -> impl Strategy<Value = Event> {
    let node = || prop::sample::select(NODES.to_vec());
    prop_oneof![
        6 => Just(Event::Plan),
        3 => node().prop_map(Event::PodStarts),
        3 => Just(Event::PodWrites),
        3 => Just(Event::PodEnds),
        3 => Just(Event::Detach),
        2 => node().prop_map(Event::AgentLooks),
        1 => node().prop_map(Event::AgentRestarts),
        1 => node().prop_map(Event::NodeDies),
        2 => node().prop_map(Event::NodeJoins),
    ]
}

struct World {
    seen: PoolSeen,
    object: Option<SourceObject>,
    ebs: CloudVolume,
    /// How often pods have written.
    content: u64,
    /// The node of the pod that has it.
    pod: Option<&'static str>,
    /// The node whose agent has it open.
    open: Option<&'static str>,
}

impl World {
    fn new() -> Self {
        let foreign = PublishWanted { attached_by: Some("ebs.csi.aws.com".to_owned()), ..publish() };
        let seen = live_pool().but(|seen| {
            seen.pool.source = Source::Claim("web-src".to_owned());
            seen.pool.live = Some(foreign);
        });
        let seen = seen.seen();
        let SourceSeen::Volume(ebs) = seen.source.clone() else { unreachable!("the pool has a source volume") };
        Self { seen, object: None, ebs, content: 0, pod: None, open: None }
    }

    /// Does what is planned; returns how much that is. Snapshots are of no interest here.
    fn plan(&mut self) -> usize {
        self.seen.source = SourceSeen::Volume(self.ebs.clone());
        self.seen.source_object = self.object.clone().map(|mut object| {
            object.volume.cloud = Some(self.ebs.clone());
            object
        });
        let plan = supply(&self.seen, at(NOW));
        let steps: Vec<&Action> = plan.actions.iter().filter(|action| action.name() != "CreateSnapshot").collect();
        for action in &steps {
            match (action, &mut self.object) {
                (Action::CreateSourceObject(new), none @ None) => {
                    *none = Some(SourceObject { publish: Some(new.publish.clone()), ..source_object() });
                }
                (Action::AssignSource { node, .. }, Some(object)) => {
                    assert!(
                        self.ebs.attachments.iter().any(|one| one.instance == instance(node.as_str())),
                        "EC2 does not show it on {node}"
                    );
                    object.volume.node_name = Some(node.clone());
                }
                (Action::Unassign(_), Some(object)) => object.volume.node_name = None,
                (Action::ForgetNode { .. }, Some(object)) => object.volume.node = None,
                other => panic!("{other:?}"),
            }
        }
        steps.len()
    }

    fn is_alive(&self, node: &str) -> bool {
        self.seen.nodes.contains(&NodeName::from(node))
    }

    fn is_attached_to(&self, node: &str) -> bool {
        self.ebs.attachments.iter().any(|attachment| attachment.instance == instance(node))
    }

    /// One look of an agent; what it says is stored when the object has the label of its node.
    fn agent_looks(&mut self, node: &'static str) {
        let Some(object) = self.object.as_mut().filter(|_| self.seen.nodes.contains(&NodeName::from(node))) else { return };
        let is_used = self.pod == Some(node);
        let is_heard = !object
            .volume
            .node
            .as_ref()
            .is_some_and(|side| side.node != node && side.sync.as_ref().is_some_and(|sync| sync.state == SyncState::NotMounted));
        match (&object.requested_by, is_used) {
            (_, true) => object.requested_by = Some(node.into()),
            // Until the controller has forgotten what another node has said of it.
            (Some(other), false) if *other == node.into() && is_heard => object.requested_by = None,
            _ => {}
        }
        let is_assigned = object.volume.node_name == Some(node.into());
        let is_mine = is_assigned || object.volume.node_name.is_none() && object.volume.node.as_ref().is_some_and(|side| side.node == node);
        let stored = object.volume.node.as_ref().filter(|side| side.node == node).and_then(|side| side.sync.clone());
        let is_said = stored.as_ref().is_some_and(|sync| sync.state == SyncState::NotMounted);
        let was_open = self.open == Some(node);
        let word = |generation: Option<u64>| {
            let position = generation.map(|generation| SyncPosition { source: "src".to_owned(), epoch: 1, generation });
            Some(SyncSeen { position, last_in_sync: Some(at(NOW)), ..sync(SyncState::NotMounted) })
        };
        let (is_open, told) = match (is_used, is_assigned) {
            (true, true) => (true, Some(sync(SyncState::Publishing))),
            (true, false) => (false, None),
            (false, _) if was_open => (false, word(Some(self.content))),
            (false, _) => (false, if is_said { stored } else { word(None) }),
        };
        self.open = if is_open { Some(node) } else { self.open.filter(|open| *open != node) };
        if is_mine {
            object.volume.node = Some(NodeSide { node: node.to_owned(), mounted: is_open, sync: told, ..NodeSide::default() });
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Plan => drop(self.plan()),
            Event::PodStarts(node) => {
                let can_attach = self.ebs.is_free() || self.is_attached_to(node);
                if self.is_alive(node) && self.pod.is_none() && can_attach {
                    let attached = Attachment { instance: instance(node), device: String::new(), state: AttachmentState::Attached };
                    (self.ebs.state, self.ebs.attachments) = (VolumeState::InUse, vec![attached]);
                    self.pod = Some(node);
                    self.agent_looks(node);
                }
            }
            Event::PodWrites => self.content += u64::from(self.pod.is_some()),
            Event::PodEnds => {
                if let Some(node) = self.pod.take() {
                    self.agent_looks(node);
                }
            }
            Event::Detach => {
                if self.pod.is_none() {
                    assert_eq!(self.open, None, "the kernel refuses to unmount");
                    self.free();
                }
            }
            Event::AgentLooks(node) => self.agent_looks(node),
            Event::AgentRestarts(node) => self.agent_restarts(node),
            Event::NodeDies(node) => {
                // Its Node object goes long after it: the controller has looked by then.
                self.plan();
                self.seen.nodes.remove(&NodeName::from(*node));
                self.pod = self.pod.filter(|pod| pod != node);
                self.open = self.open.filter(|open| open != node);
                if let Some(object) = self.object.as_mut().filter(|object| object.requested_by == Some((*node).into())) {
                    object.requested_by = None;
                }
                if self.is_attached_to(node) {
                    self.free();
                }
            }
            Event::NodeJoins(node) => drop(self.seen.nodes.insert(NodeName::from(*node))),
        }
    }

    /// It knows nothing any more, and takes back what was said of a volume that is still there.
    fn agent_restarts(&mut self, node: &'static str) {
        self.open = self.open.filter(|open| *open != node);
        let is_there = self.is_attached_to(node) && self.is_alive(node);
        let side = self.object.as_mut().and_then(|object| object.volume.node.as_mut()).filter(|side| is_there && side.node == node);
        if let Some(sync) = side.and_then(|side| side.sync.as_mut()).filter(|sync| sync.state == SyncState::NotMounted) {
            sync.position = None;
        }
        self.agent_looks(node);
    }

    fn free(&mut self) {
        (self.ebs.state, self.ebs.attachments) = (VolumeState::Available, Vec::new());
    }

    /// Where the agents of copies believe that it rests.
    fn rests_at(&self) -> Option<u64> {
        let volume = &self.object.as_ref()?.volume;
        let side = volume.node.as_ref().filter(|side| volume.node_name.is_none() && !side.mounted)?;
        let sync = side.sync.as_ref().filter(|sync| sync.state == SyncState::NotMounted)?;
        sync.position.as_ref().map(|position| position.generation)
    }
}

fn instance(node: &str) -> crate::domain::InstanceId {
    node.replace("node-", "i-").as_str().into()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_foreign_source_is_published_where_pods_have_it_and_rests_where_they_left_it(events in prop::collection::vec(event(), 0..80)) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
        for node in NODES {
            world.happen(&Event::NodeJoins(node));
        }
        for _ in 0..20 {
            world.plan();
            for node in NODES {
                world.agent_looks(node);
            }
        }
        let object = world.object.as_ref().expect("it was made");
        let published = object.volume.node.as_ref().filter(|side| side.mounted).map(|side| side.node.clone());
        prop_assert_eq!(object.volume.node_name.clone(), world.pod.map(NodeName::from), "{:?}", object);
        prop_assert_eq!(world.open, world.pod);
        if let Some(pod) = world.pod {
            prop_assert_eq!(published, Some(pod.to_owned()));
        }
        if let Some(generation) = world.rests_at() {
            prop_assert_eq!(generation, world.content, "what is said to be all of it is not");
        }
        prop_assert_eq!(world.plan(), 0, "the plan of the wanted state is empty");
    }
}
