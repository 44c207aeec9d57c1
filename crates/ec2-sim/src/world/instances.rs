//! The calls that make, end and describe instances.

use jiff::Timestamp;

use super::filters::{self, InstanceView};
use super::latency::after;
use super::model::{Instance, InstancePhase};
use super::pages::{PageLimits, page};
use super::reply::{Placed, StateChange};
use super::tokens::Replay;
use super::{ApiError, Describe, InstanceType, Kind, Page, RunInstances, World, tags, zones};

/// The type of an instance when the call names none.
const DEFAULT_TYPE: &str = "m7i.large";

/// The most instances one call makes.
const MOST_INSTANCES: i64 = 1_000;

const PAGES: PageLimits = PageLimits { least: 5, most: 1_000, ids: "instanceIds" };

/// What a call asks an instance to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Start,
    Stop,
    Terminate,
}

impl World {
    pub(super) fn run_instances(&mut self, now: Timestamp, request: &RunInstances) -> Result<Vec<Placed>, ApiError> {
        let token = request.client_token.as_deref();
        if let Replay::Same(ids) = self.replay("RunInstances", token, request)? {
            return Ok(ids.iter().filter_map(|id| self.placed(id)).collect());
        }
        let count = counts(request)?;
        let instance_type = request.instance_type.as_deref().unwrap_or(DEFAULT_TYPE);
        if InstanceType::find(instance_type).is_none() {
            return Err(ApiError::invalid_value(format!("Invalid value '{instance_type}' for InstanceType.")));
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
                phase: InstancePhase::Pending { ready_at: after(now, self.latencies().start_ms) },
                placed: false,
            };
            ids.push(instance.id.clone());
            self.instances.insert(instance.id.clone(), instance);
        }
        self.remember("RunInstances", token, request, ids.clone(), now);
        Ok(ids.iter().filter_map(|id| self.placed(id)).collect())
    }

    pub(super) fn wish(&mut self, now: Timestamp, ids: &[String], wish: Wish) -> Result<Vec<StateChange>, ApiError> {
        if ids.is_empty() {
            return Err(ApiError::missing("InstanceId"));
        }
        // Everything is checked before anything is changed: a call moves all or none.
        for id in ids {
            let phase = &self.instance(id)?.phase;
            self.next_phase(now, phase, wish).map_err(|mut error| {
                error.message = format!("The instance '{id}' {}", error.message);
                error
            })?;
        }
        let mut changes = Vec::new();
        for id in ids {
            let next = self.next_phase(now, &self.instance(id)?.phase, wish)?;
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

    fn next_phase(&self, now: Timestamp, phase: &InstancePhase, wish: Wish) -> Result<InstancePhase, ApiError> {
        use InstancePhase as P;
        let latencies = self.latencies();
        let done_at = after(now, latencies.stop_ms);
        match (wish, phase) {
            (Wish::Terminate, P::ShuttingDown { .. } | P::Terminated { .. })
            | (Wish::Stop, P::Stopping { .. } | P::Stopped)
            | (Wish::Start, P::Pending { .. } | P::Running) => Ok(phase.clone()),
            (Wish::Terminate, _) => Ok(P::ShuttingDown { done_at }),
            (Wish::Stop, P::Running) => Ok(P::Stopping { done_at }),
            (Wish::Start, P::Stopped) => Ok(P::Pending { ready_at: after(now, latencies.start_ms) }),
            (_, other) => Err(ApiError::new(
                "IncorrectInstanceState",
                format!("is not in a state from which it can be changed: it is '{}'.", other.state().1),
            )),
        }
    }

    /// The machine is gone, and with it everything that used its volumes.
    fn release_volumes(&mut self, now: Timestamp, instance_id: &str) {
        let gone_at = after(now, self.latencies().detach_ms);
        for volume in self.volumes.values_mut() {
            if let Some(attachment) = &mut volume.attachment
                && attachment.instance_id == instance_id
            {
                attachment.detach(gone_at, true);
            }
        }
    }

    pub(super) fn describe_instances(&self, request: &Describe) -> Result<Page<Placed>, ApiError> {
        filters::check::<InstanceView<'_>>(&request.filters)?;
        for id in &request.ids {
            self.instance(id)?;
        }
        let found = self
            .instances
            .values()
            .filter(|i| request.ids.is_empty() || request.ids.contains(&i.id))
            .filter(|instance| {
                let view = InstanceView { instance, volumes: self.attached_to(&instance.id).collect() };
                filters::matches(&view, &request.filters)
            })
            .filter_map(|i| self.placed(&i.id))
            .collect();
        page(found, |p| &p.instance.id, request, PAGES)
    }

    fn placed(&self, id: &str) -> Option<Placed> {
        Some(Placed { instance: self.instances.get(id)?.clone(), volumes: self.attached_to(id).cloned().collect() })
    }

    /// The instance of this id, or the error EC2 gives instead.
    pub(super) fn instance(&self, id: &str) -> Result<&Instance, ApiError> {
        Kind::Instance.check(id)?;
        self.instances.get(id).ok_or_else(|| Kind::Instance.not_found(id))
    }

    /// As [`World::instance`], to change it.
    pub(super) fn instance_mut(&mut self, id: &str) -> Result<&mut Instance, ApiError> {
        Kind::Instance.check(id)?;
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
