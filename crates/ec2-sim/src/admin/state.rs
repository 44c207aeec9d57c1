//! `/_sim/state` and `/_sim/instances`: what the account holds.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use crate::shell::Shell;
use crate::world::World;

/// Everything the account holds, with statuses as EC2 spells them, and the calls per action.
pub(super) async fn state(State(shell): State<Arc<Shell>>) -> Json<Value> {
    let world = shell.world().await;
    Json(view(&world))
}

/// Every instance, with the address of its metadata service when it has one.
pub(super) async fn instances(State(shell): State<Arc<Shell>>) -> Json<Value> {
    let world = shell.world().await;
    let instances = world.instances().values().map(|instance| {
        let imds = shell.endpoints().of(&instance.id).map(|address| format!("http://{address}"));
        json!({
            "id": instance.id,
            "status": instance.phase.state().1,
            "instance_type": instance.instance_type,
            "zone": instance.zone,
            "tags": instance.tags,
            "imds": imds,
        })
    });
    Json(instances.collect())
}

fn view(world: &World) -> Value {
    let volumes = world.volumes().values().map(|volume| {
        let attachment = volume.attachment.as_ref();
        let extra = json!({
            "status": volume.status(),
            "attachment_status": attachment.map(crate::world::Attachment::status),
        });
        merged(json!(volume), extra)
    });
    let snapshots = world.snapshots().values().map(|snapshot| merged(json!(snapshot), json!({"status": snapshot.status()})));
    let instances = world.instances().values().map(|instance| {
        let extra = json!({"status": instance.phase.state().1});
        merged(json!(instance), extra)
    });
    json!({
        "settings": world.settings(),
        "volumes": volumes.collect::<Vec<_>>(),
        "snapshots": snapshots.collect::<Vec<_>>(),
        "instances": instances.collect::<Vec<_>>(),
        "calls": world.calls(),
    })
}

fn merged(resource: Value, extra: Value) -> Value {
    let mut fields = Map::new();
    for value in [resource, extra] {
        if let Value::Object(more) = value {
            fields.extend(more);
        }
    }
    Value::Object(fields)
}
