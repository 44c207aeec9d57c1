//! The calls that make, end and describe instances.

pub(in crate::world) mod types;

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::world::engine::tokens::Replay;
use crate::world::model::reply::{Placed, StateChange};
use crate::world::model::{Instance, InstancePhase, Volume};
use crate::world::queries::filters::{self, InstanceView};
use crate::world::queries::pages::{PageLimits, page};
use crate::world::queries::{tags, zones};
use crate::world::{ApiError, Describe, Kind, Page, RunInstances, World};
use types::InstanceType;

/// The type of an instance when the call names none.
const DEFAULT_TYPE: &str = "m7i.large";

/// The most instances one call makes.
const MOST_INSTANCES: i64 = 1_000;

const PAGES: PageLimits = PageLimits { least: 5, most: 1_000, ids: "instanceIds" };

/// What a call asks an instance to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::world) enum Wish {
    Start,
    Stop,
    Terminate,
}

impl World {
    pub(in crate::world) fn run_instances(&mut self, now: Timestamp, request: &RunInstances) -> Result<Vec<Placed>, ApiError> {
        let token = request.client_token.as_deref();
        if let Replay::Same(ids) = self.replay("RunInstances", token, request)? {
            return Ok(ids.iter().filter_map(|id| self.instances.get(id)).map(|instance| self.placed(instance)).collect());
        }
        let count = counts(request)?;
        let instance_type = request.instance_type.as_deref().unwrap_or(DEFAULT_TYPE);
        let Some(kind) = InstanceType::find(instance_type) else {
            return Err(ApiError::invalid_value(format!("Invalid value '{instance_type}' for InstanceType.")));
        };
        let interfaces = request.interfaces.max(1);
        if interfaces > kind.most_interfaces() {
            return Err(ApiError::new(
                "NetworkInterfaceLimitExceeded",
                format!("Interface count {interfaces} exceeds the limit for {instance_type}, which is {}.", kind.most_interfaces()),
            ));
        }
        let first = zones::zones(&self.settings.region).into_iter().next();
        let default = first.map(|zone| zone.name);
        let zone = self.zone(request.zone.as_deref().or(default.as_deref()), None)?;
        // A launch may tag volumes and interfaces too; there are none to tag here.
        let also = ["network-interface", "volume"];
        let tags = tags::specified(&request.tag_specifications, Kind::Instance, &also)?;
        let reservation_id = self.next_id("r-");
        let mut ids = Vec::new();
        for launch_index in 0..count {
            let ready_at = self.ready_at(now, |latencies| latencies.start);
            let instance = Instance {
                id: self.next_id(Kind::Instance.prefix()),
                reservation_id: reservation_id.clone(),
                launch_index,
                instance_type: instance_type.to_owned(),
                zone: zone.clone(),
                image_id: request.image_id.clone(),
                client_token: request.client_token.clone(),
                launched: now,
                tags: tags.clone(),
                phase: InstancePhase::Pending { ready_at },
                interfaces,
                held_names: BTreeSet::new(),
                placed: false,
            };
            ids.push(instance.id.clone());
            self.instances.insert(instance.id.clone(), instance);
        }
        self.remember("RunInstances", token, request, ids.clone(), now);
        Ok(ids.iter().filter_map(|id| self.instances.get(id)).map(|instance| self.placed(instance)).collect())
    }

    pub(in crate::world) fn wish(&mut self, now: Timestamp, ids: &[String], wish: Wish) -> Result<Vec<StateChange>, ApiError> {
        if ids.is_empty() {
            return Err(ApiError::missing("InstanceId"));
        }
        // Everything is checked before anything is changed: a call moves all or none.
        for id in ids {
            let phase = self.instance(id)?.phase.clone();
            self.next_phase(now, &phase, wish).map_err(|mut error| {
                error.message = format!("The instance '{id}' {}", error.message);
                error
            })?;
        }
        let mut changes = Vec::new();
        for id in ids {
            let phase = self.instance(id)?.phase.clone();
            let next = self.next_phase(now, &phase, wish)?;
            let instance = self.instance_mut(id)?;
            let previous = instance.phase.state();
            instance.phase = next;
            let current = instance.phase.state();
            if wish == Wish::Terminate {
                self.release_volumes(now, id);
            }
            changes.push(StateChange { instance_id: id.clone(), previous, current });
        }
        Ok(changes)
    }

    fn next_phase(&mut self, now: Timestamp, phase: &InstancePhase, wish: Wish) -> Result<InstancePhase, ApiError> {
        use InstancePhase as P;
        match (wish, phase) {
            (Wish::Terminate, P::ShuttingDown { .. } | P::Terminated { .. })
            | (Wish::Stop, P::Stopping { .. } | P::Stopped)
            | (Wish::Start, P::Pending { .. } | P::Running) => Ok(phase.clone()),
            (Wish::Terminate, _) => Ok(P::ShuttingDown { done_at: self.ready_at(now, |latencies| latencies.stop) }),
            (Wish::Stop, P::Running) => Ok(P::Stopping { done_at: self.ready_at(now, |latencies| latencies.stop) }),
            (Wish::Start, P::Stopped) => Ok(P::Pending { ready_at: self.ready_at(now, |latencies| latencies.start) }),
            (_, other) => Err(ApiError::new(
                "IncorrectInstanceState",
                format!("is not in a state from which it can be changed: it is '{}'.", other.state().1),
            )),
        }
    }

    /// The machine is gone, and with it everything that used its volumes.
    fn release_volumes(&mut self, now: Timestamp, instance_id: &str) {
        let attached: Vec<String> = self.index.attached(instance_id).map(str::to_owned).collect();
        for id in attached {
            let gone_at = self.ready_at(now, |latencies| latencies.detach);
            if let Some(attachment) = self.volumes.get_mut(&id).and_then(|volume| volume.attachment.as_mut()) {
                attachment.detach(gone_at, true);
            }
        }
    }

    pub(in crate::world) fn describe_instances(&self, request: &Describe) -> Result<Page<Placed>, ApiError> {
        filters::check::<InstanceView<'_>>(&request.filters)?;
        for id in &request.ids {
            self.instance(id)?;
        }
        let asked = |instance: &&Instance| request.ids.is_empty() || request.ids.contains(&instance.id);
        let matching = self.instances_seen(request).into_iter().filter(asked).filter(|instance| {
            let volumes = self.volumes_seen_on(&instance.id, request);
            filters::matches(&InstanceView { instance, volumes }, &request.filters)
        });
        let page = page(matching, |instance| &instance.id, request, PAGES)?;
        Ok(page.map(|instance| Placed {
            instance: instance.clone(),
            volumes: self.volumes_seen_on(&instance.id, request).into_iter().cloned().collect(),
        }))
    }

    /// The instances as this call sees them, in the order of their ids.
    fn instances_seen(&self, request: &Describe) -> Vec<&Instance> {
        if !request.ids.is_empty() {
            let ids: BTreeSet<&str> = request.ids.iter().map(String::as_str).collect();
            return ids.into_iter().filter_map(|id| self.instances.see(id, self.view.of_ids())).collect();
        }
        if self.view.is_late() {
            return self.instances.known_ids().into_iter().filter_map(|id| self.instances.see(id, self.view.of_item(id))).collect();
        }
        match self.candidates(Kind::Instance, &request.filters) {
            Some(ids) => ids.iter().filter_map(|id| self.instances.get(id)).collect(),
            None => self.instances.rows().values().collect(),
        }
    }

    /// The volumes that this call sees on an instance.
    fn volumes_seen_on<'a>(&'a self, instance_id: &'a str, request: &Describe) -> Vec<&'a Volume> {
        if !self.view.is_late() {
            return self.attached_to(instance_id).collect();
        }
        // One moment for the instance and all that hangs on it.
        let at = if request.ids.is_empty() { self.view.of_item(instance_id) } else { self.view.of_ids() };
        let volumes = self.volumes.known_ids().into_iter().filter_map(|id| self.volumes.see(id, at));
        volumes.filter(|volume| volume.attachment.as_ref().is_some_and(|a| a.instance_id == instance_id)).collect()
    }

    fn placed(&self, instance: &Instance) -> Placed {
        Placed { instance: instance.clone(), volumes: self.attached_to(&instance.id).cloned().collect() }
    }

    /// The instance of this id as the call sees it, or the error EC2 gives instead. A call
    /// that changes something may miss a new instance, but works on what is.
    pub(in crate::world) fn instance(&self, id: &str) -> Result<&Instance, ApiError> {
        Kind::Instance.check(id)?;
        let seen = self.instances.see(id, self.view.of_ids());
        let found = if self.view.writes() { seen.and_then(|_| self.instances.get(id)) } else { seen };
        found.ok_or_else(|| Kind::Instance.not_found(id))
    }

    /// As [`World::instance`], to change it.
    pub(in crate::world) fn instance_mut(&mut self, id: &str) -> Result<&mut Instance, ApiError> {
        self.instance(id)?;
        self.instances.get_mut(id).ok_or_else(|| Kind::Instance.not_found(id))
    }
}

fn counts(request: &RunInstances) -> Result<u32, ApiError> {
    let (least, most) = (request.min_count, request.max_count);
    if least < 1 || most < least || most > MOST_INSTANCES {
        return Err(ApiError::invalid_value(format!(
            "Invalid value for MinCount ({least}) or MaxCount ({most}): 1 <= MinCount <= MaxCount <= {MOST_INSTANCES}"
        )));
    }
    Ok(u32::try_from(most).unwrap_or(1))
}
