//! Builders of what demand sees.

use crate::domain::{Access, GiB, NodeName, ObjectKey, ReclaimPolicy, Uid};
use crate::plan::{ClaimSeen, DemandAction, DemandSeen, Offer, Origin, PvSeen, demand};

use super::build::{POOL_UID, VolumeBuild, key, node_zones};
use super::words::demand_words;

/// The demand on the pool `web`, which keeps 10 GiB volumes in `a` and `b` and makes more when none is ready.
pub(super) struct DemandBuild(DemandSeen);

pub(super) fn demand_on_web() -> DemandBuild {
    let offer = Offer {
        pool_uid: Uid::new(POOL_UID),
        size: Some(GiB(10)),
        zones: vec!["a".into(), "b".into()],
        access: Access::ReadOnly,
        reclaim: ReclaimPolicy::Recycle,
        restores: false,
        makes_on_demand: true,
        namespaces: Vec::new(),
        origin: Some(Origin { snapshot: "snap-2".into(), generation: 2 }),
        content: None,
        source_claim: None,
        is_closed: false,
    };
    DemandBuild(DemandSeen { offers: [(key("web"), offer)].into(), node_zones: node_zones(), ..DemandSeen::default() })
}

impl DemandBuild {
    /// Claims that wait; they live, as every waiting claim does.
    pub(super) fn claims(mut self, claims: impl IntoIterator<Item = ClaimSeen>) -> Self {
        for claim in claims {
            self.0.live_claims.insert(claim.uid.to_string());
            self.0.claims.push(claim);
        }
        self
    }

    pub(super) fn volumes(mut self, volumes: impl IntoIterator<Item = VolumeBuild>) -> Self {
        self.0.volumes.extend(volumes.into_iter().map(VolumeBuild::seen));
        self
    }

    pub(super) fn pv(mut self, pv: PvSeen) -> Self {
        self.0.pvs.push(pv);
        self
    }

    /// The agent of a node waits for a volume of the pool.
    pub(super) fn wanted_on(mut self, volume: &str, node: &str) -> Self {
        self.0.requests.insert(format!("vol-{volume}").as_str().into(), NodeName::new(node));
        self
    }

    pub(super) fn offer(mut self, change: impl FnOnce(&mut Offer)) -> Self {
        change(self.0.offers.get_mut(&key("web")).unwrap());
        self
    }

    pub(super) fn but(mut self, change: impl FnOnce(&mut DemandSeen)) -> Self {
        change(&mut self.0);
        self
    }

    pub(super) fn seen(self) -> DemandSeen {
        self.0
    }

    pub(super) fn plan(&self) -> Vec<DemandAction> {
        demand(&self.0)
    }

    pub(super) fn words(&self) -> Vec<String> {
        demand_words(&self.plan())
    }
}

/// A claim of 1 GiB of the pool `web`, for whose pod the scheduler chose `node-a`.
pub(super) fn claim(name: &str) -> ClaimSeen {
    ClaimSeen {
        key: key(name),
        uid: Uid::new(format!("uid-{name}")),
        pool: Ok(key("web")),
        requested: GiB(1),
        wants_source: false,
        waits_for_node: true,
        selected_node: Some("node-a".into()),
    }
}

/// A claim of a class that binds at once, before any node is chosen.
pub(super) fn immediate_claim(name: &str) -> ClaimSeen {
    ClaimSeen { waits_for_node: false, selected_node: None, ..claim(name) }
}

pub(super) fn claim_on(name: &str, node: &str) -> ClaimSeen {
    ClaimSeen { selected_node: Some(node.into()), ..claim(name) }
}

pub(super) fn claim_in(namespace: &str, name: &str) -> ClaimSeen {
    ClaimSeen { key: ObjectKey::new(namespace, name), ..claim(name) }
}

/// The `PersistentVolume` of a claim that lives.
pub(super) fn pv_of(claim: &str) -> PvSeen {
    PvSeen {
        name: format!("pvc-uid-{claim}"),
        volume: None,
        claim_uid: format!("uid-{claim}"),
        is_released: false,
        deleting: false,
        is_retained: false,
    }
}

/// The `PersistentVolume` of a claim that is gone.
pub(super) fn released_pv_of(claim: &str) -> PvSeen {
    PvSeen { is_released: true, ..pv_of(claim) }
}

/// A volume as it was seen, to be seen again.
pub(super) fn built(seen: crate::plan::VolumeSeen) -> VolumeBuild {
    super::build::volume("web-0").but(|volume| *volume = seen)
}
